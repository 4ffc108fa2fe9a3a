//! The flags of the access log.

use std::path::PathBuf;

use super::flags::Flags;
use super::{needless, one_of, value};
use crate::config::{AccessLog, LogFormat};

/// What the flags say over what the file said.
pub(super) fn access_log(flags: &Flags, base: Option<AccessLog>) -> Result<Option<AccessLog>, String> {
    let path = value("--access-log", &flags.access_log, place)?;
    let format = value("--access-log-format", &flags.access_log_format, format)?;
    if path.is_none() && base.is_none() {
        let given = [("--access-log-format", format.is_some())];
        needless(&given, "has no effect: there is no --access-log; give one, or leave it out")?;
        return Ok(None);
    }
    let base_format = base.as_ref().map(|log| log.format).unwrap_or_default();
    let path = path.unwrap_or_else(|| base.and_then(|log| log.path));
    Ok(Some(AccessLog { path, format: format.unwrap_or(base_format) }))
}

/// A file, or `None` for standard output.
fn place(text: &str) -> Result<Option<PathBuf>, String> {
    match text {
        "-" => Ok(None),
        "" => Err("must be a file, or - for standard output".to_owned()),
        // What stands in for bytes that are no text would be another file than was meant.
        _ if text.contains(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER) => {
            Err("must be text, without control characters".to_owned())
        }
        _ => Ok(Some(text.into())),
    }
}

fn format(text: &str) -> Result<LogFormat, String> {
    one_of(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_refused, run_of};
    use super::*;

    #[test]
    fn a_file_or_standard_output_in_either_format() {
        let (text, json) = (LogFormat::Text, LogFormat::Json);
        let file = Some(PathBuf::from("logs/a.log"));
        for (line, right) in [
            ("--demo", None),
            ("--access-log -", Some((None, text))),
            ("--access-log logs/a.log", Some((file.clone(), text))),
            ("--access-log=logs/a.log --access-log-format JSON", Some((file, json))),
        ] {
            let right = right.map(|(path, format)| AccessLog { path, format });
            assert_eq!(run_of(line).access_log, right, "{line}");
        }
        assert_refused(&[
            ("--access-log=", "--access-log \"\": must be a file, or - for standard output"),
            ("--access-log - --access-log-format xml", "--access-log-format \"xml\": must be text or json"),
            (
                "--access-log-format json",
                "--access-log-format has no effect: there is no --access-log; give one, or leave it out",
            ),
        ]);
    }

    #[test]
    fn each_flag_goes_before_the_file() {
        let base = Some(AccessLog { path: Some("file.log".into()), format: LogFormat::Json });
        let flags = |log: Option<&str>, format: Option<&str>| Flags {
            access_log: log.map(str::to_owned),
            access_log_format: format.map(str::to_owned),
            ..Flags::default()
        };
        let of = |flags: &Flags| access_log(flags, base.clone()).expect("an access log");
        assert_eq!(of(&flags(None, None)), base);
        let on_stdout = of(&flags(Some("-"), None)).expect("one");
        assert_eq!((on_stdout.path, on_stdout.format), (None, LogFormat::Json));
        let as_text = of(&flags(None, Some("text"))).expect("one");
        assert_eq!((as_text.path, as_text.format), (Some("file.log".into()), LogFormat::Text));
    }
}
