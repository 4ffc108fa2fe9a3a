//! The command line: arguments, file and environment in, a checked configuration or clear words out.

mod access;
mod admin;
mod arguments;
mod balancing;
mod bounds;
mod clients;
mod flags;
mod mode;
mod over;
mod trust;

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use log::LevelFilter;

use crate::config::file::{self, Report};
use crate::config::{self, digits, quoted};
use arguments::Asked;
use flags::Flags;
use over::Wrong;
pub use over::{Reader, Setup};

/// The clocks of poll and the log go by the millisecond; probes at less would be a busy loop.
const DURATION_MIN: Duration = Duration::from_millis(1);

/// What the command line asks of the process.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "made once in the life of a process")]
pub enum Outcome {
    /// Balance.
    Run {
        /// Everything checked; with `demo` the first pool's backends are to be replaced.
        setup: Setup,
        /// Start backends of our own and balance over them.
        demo: bool,
        /// Reads the file again; `None` without one.
        reader: Option<Reader>,
    },
    /// Print this on stdout, without a line break at its end, and exit with 0.
    Print(String),
    /// Print this one line on stderr, without a line break at its end, and exit with 2.
    Refuse(String),
    /// Print what is wrong with the file on stderr, as it is, and exit with 2.
    Report(Report),
}

/// Reads the arguments (without the program's name) and looks up what it needs in the environment.
///
/// Any bytes may come in; what cannot be used is refused by a line that names the flag and the value, what was
/// wrong and what would be right. What is wrong with the file of `--config` is told all at once.
pub fn parse<A: AsRef<OsStr>>(arguments: &[A], environment: &dyn Fn(&str) -> Option<OsString>) -> Outcome {
    match try_parse(arguments, environment) {
        Ok(outcome) => outcome,
        Err(Wrong::Line(line)) => Outcome::Refuse(line),
        Err(Wrong::File(report)) => Outcome::Report(report),
    }
}

fn try_parse<A: AsRef<OsStr>>(
    arguments: &[A],
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Outcome, Wrong> {
    // No flag or value takes the character that stands in for bad bytes: it is refused with its flag named.
    let arguments: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_string_lossy()).collect();
    let arguments: Vec<&str> = arguments.iter().map(|argument| &**argument).collect();
    let flags = match arguments::read(&arguments)? {
        Asked::Help(text) => return Ok(Outcome::Print(text)),
        Asked::Run(flags) if flags.version => return Ok(Outcome::Print(arguments::version())),
        Asked::Run(flags) if flags.print_config => {
            return Ok(Outcome::Print(file::print_config().trim_end().to_owned()));
        }
        Asked::Run(flags) => *flags,
    };
    if flags.demo {
        let given = [("--backends", flags.backends.is_some()), ("--backup", flags.backup.is_some())];
        let reason = "and --demo exclude each other: --demo brings its own backends; give one or the other";
        needless(&given, reason)?;
    }
    let reader = Reader::new(flags, environment);
    let (loaded, warnings) = reader.load()?;
    let Flags { check, demo, .. } = reader.flags;
    let mut said = Vec::new();
    if check {
        said.push(file::summary(&loaded, &warnings));
    }
    if let Some(request) = &reader.flags.explain {
        let explained = file::explain(&loaded, request).map_err(|line| format!("--explain: {line}"))?;
        said.push(explained.trim_end().to_owned());
    }
    if !said.is_empty() {
        return Ok(Outcome::Print(said.join("\n\n")));
    }
    let setup = Setup::new(loaded, warnings);
    Ok(Outcome::Run { setup, demo, reader: reader.has_file().then_some(reader) })
}

fn positive(text: &str) -> Result<Duration, String> {
    match config::parse_duration(text)? {
        duration if duration < DURATION_MIN => Err("too short; it must be at least 1ms".to_owned()),
        duration => Ok(duration),
    }
}

fn port(text: &str) -> Result<u16, String> {
    digits(text).ok_or_else(|| "must be a whole number from 0 to 65535 (0 takes a free port)".to_owned())
}

fn log_level(text: &str) -> Result<LevelFilter, String> {
    use LevelFilter::{Debug, Error, Info, Warn};
    one_of(text, &[("error", Error), ("warn", Warn), ("info", Info), ("debug", Debug)])
}

/// Reads one of these words, in upper or lower case.
fn one_of<T: Clone>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, choice)) = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
        return Ok(choice.clone());
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    match words.split_last() {
        Some((last, others)) => Err(format!("must be {} or {last}", others.join(", "))),
        None => Err("must be left out".to_owned()),
    }
}

/// Refuses the first of these flags that was given, as without effect for that reason.
fn needless(flags: &[(&str, bool)], reason: &str) -> Result<(), String> {
    match flags.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(format!("{flag} {reason}")),
        None => Ok(()),
    }
}

/// Reads a flag's value if the flag was given.
fn value<T>(
    flag: &str,
    given: &Option<String>,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    given.as_deref().map(|text| named(flag, text, read(text))).transpose()
}

/// Puts the flag and the value before what was wrong with it.
fn named<T>(flag: &str, text: &str, result: Result<T, String>) -> Result<T, String> {
    result.map_err(|reason| format!("{flag} {}: {reason}", quoted(text)))
}

#[cfg(test)]
mod tests;
