//! Arguments matched to flags: what is no flag, or lacks its value, is said in one line.

use argh::{ArgsInfo, FlagInfo, FlagInfoKind, FromArgs, Optionality};

use super::flags::Flags;
use crate::config::quoted;

const NAME: &str = env!("CARGO_PKG_NAME");
const HELP: [&str; 3] = ["--help", "-h", "help"];
/// A misspelt flag is at most this many letters from the one meant.
const NEAR: usize = 2;

/// What the arguments ask for, before any value is looked at.
#[derive(Debug)]
pub(super) enum Asked {
    Help(String),
    Run(Box<Flags>),
}

/// Matches arguments to flags; the first `--help` ends the reading.
///
/// argh's own messages are prose of several shapes, so every argument it could complain of is found before it
/// sees them: it then only fills in the fields.
pub(super) fn read(arguments: &[&str]) -> Result<Asked, String> {
    let known = Flags::get_args_info().flags;
    let mut words: Vec<&str> = Vec::with_capacity(arguments.len());
    let mut given: Vec<&str> = Vec::new();
    let mut rest = arguments.iter().copied();
    while let Some(argument) = rest.next() {
        if HELP.contains(&argument) {
            return Ok(Asked::Help(help()));
        }
        let (name, attached) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (argument, None),
        };
        let flag = known.iter().find(|flag| is(flag, name)).ok_or_else(|| unknown(argument, name, known))?;
        let FlagInfoKind::Option { arg_name } = flag.kind else {
            match attached {
                Some(value) => return Err(format!("{} takes no value, not {}", flag.long, quoted(value))),
                None => words.push(flag.long),
            }
            continue;
        };
        if given.contains(&flag.long) && flag.optionality != Optionality::Repeating {
            return Err(format!("{} is given twice; give it once", flag.long));
        }
        given.push(flag.long);
        let value = attached.or_else(|| rest.next()).ok_or_else(|| needs(flag, arg_name, "nothing"))?;
        if attached.is_none() && known.iter().any(|other| is(other, value.split('=').next().unwrap_or(value)))
        {
            return Err(needs(flag, arg_name, value));
        }
        words.extend([flag.long, value]);
    }
    Flags::from_args(&[NAME], &words)
        .map(|flags| Asked::Run(Box::new(flags)))
        .map_err(|exit| one_line(&exit.output))
}

fn is(flag: &FlagInfo<'_>, name: &str) -> bool {
    name == flag.long
        || flag.short.is_some_and(|short| name.strip_prefix('-').is_some_and(|n| n.chars().eq([short])))
}

fn needs(flag: &FlagInfo<'_>, arg_name: &str, follower: &str) -> String {
    format!("{} needs a value, {arg_name}, but {follower} follows it", flag.long)
}

/// The program's name and version.
pub(super) fn version() -> String {
    format!("{NAME} {}", env!("CARGO_PKG_VERSION"))
}

fn help() -> String {
    match Flags::from_args(&[NAME], &["--help"]) {
        Err(exit) => exit.output.trim_end().to_owned(),
        Ok(_) => version(),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn unknown(argument: &str, name: &str, known: &[FlagInfo<'_>]) -> String {
    if !argument.starts_with('-') || argument == "--" || argument == "-" {
        return format!("{} is not a flag; {NAME} takes flags only, see {NAME} --help", quoted(argument));
    }
    match nearest(name, known) {
        Some(near) => format!("unknown flag {}; did you mean {near}?", quoted(name)),
        None => format!("unknown flag {}; see {NAME} --help", quoted(name)),
    }
}

/// The known flag that `name` was most likely meant to be: a slip of a few letters, or its beginning.
fn nearest<'a>(name: &str, known: &[FlagInfo<'a>]) -> Option<&'a str> {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let letters = name.trim_start_matches('-');
    if letters.len() < 2 {
        return None;
    }
    let by_distance = known
        .iter()
        .map(|flag| (distance(letters, flag.long.trim_start_matches('-')), flag.long))
        .filter(|(distance, _)| *distance <= NEAR && *distance < letters.len() - 1)
        .min_by_key(|(distance, _)| *distance);
    let by_beginning = || known.iter().find(|flag| flag.long.trim_start_matches('-').starts_with(letters));
    by_distance.map(|(_, long)| long).or_else(|| by_beginning().map(|flag| flag.long))
}

/// Letters to insert, delete or replace to get from one to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    if from.len().abs_diff(to.len()) > NEAR {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use super::super::tests::{refusal, with};
    use super::super::{Outcome, parse};

    #[test]
    fn a_bad_flag_is_one_line_that_helps() {
        let cases: &[(&[&str], &str)] = &[
            (&["--backend", "a:1"], "unknown flag \"--backend\"; did you mean --backends?"),
            (&["--bakcends=a:1"], "unknown flag \"--bakcends\"; did you mean --backends?"),
            (&["-port", "80"], "unknown flag \"-port\"; did you mean --port?"),
            (&["--Workers", "1"], "unknown flag \"--Workers\"; did you mean --workers?"),
            (&["--max_fails", "1"], "unknown flag \"--max_fails\"; did you mean --max-fails?"),
            (&["--health", "1"], "unknown flag \"--health\"; did you mean --health-check?"),
            (&["--sticky-cooky=x"], "unknown flag \"--sticky-cooky\"; did you mean --sticky-cookie?"),
            (&["--algoritm", "hash"], "unknown flag \"--algoritm\"; did you mean --algorithm?"),
            (&["--fail-rates", "1"], "unknown flag \"--fail-rates\"; did you mean --fail-rate?"),
            (&["--verison"], "unknown flag \"--verison\"; did you mean --version?"),
            (&["--max-header", "1"], "unknown flag \"--max-header\"; did you mean --max-headers?"),
            (
                &["--max-connection", "1"],
                "unknown flag \"--max-connection\"; did you mean --max-connections?",
            ),
            (
                &["--backend-max", "1"],
                "unknown flag \"--backend-max\"; did you mean --backend-max-connections?",
            ),
            (&["--trust", "::1"], "unknown flag \"--trust\"; did you mean --trust-forwarded?"),
            (&["--hepl"], "unknown flag \"--hepl\"; did you mean --help?"),
            (&["--colour"], "unknown flag \"--colour\"; see evenkeel --help"),
            (&["--été"], "unknown flag \"--été\"; see evenkeel --help"),
            (&["--x\u{1b}[2J"], "unknown flag \"--x\\u{1b}[2J\"; see evenkeel --help"),
            (&["-p", "80"], "unknown flag \"-p\"; see evenkeel --help"),
            (&["--=x"], "unknown flag \"--\"; see evenkeel --help"),
            (&["start"], "\"start\" is not a flag; evenkeel takes flags only, see evenkeel --help"),
            (&[""], "\"\" is not a flag; evenkeel takes flags only, see evenkeel --help"),
            (&["--"], "\"--\" is not a flag; evenkeel takes flags only, see evenkeel --help"),
            (&["--port"], "--port needs a value, N, but nothing follows it"),
            (&["--backends", "--demo"], "--backends needs a value, LIST, but --demo follows it"),
            (&["--listen", "--port=1"], "--listen needs a value, ADDR:PORT, but --port=1 follows it"),
            (&["--port", "1", "--port=2"], "--port is given twice; give it once"),
            (&["--demo=yes"], "--demo takes no value, not \"yes\""),
        ];
        for (arguments, line) in cases {
            assert_eq!(refusal(arguments, &[]), *line);
        }
        let long = refusal(&[&format!("--{}", "x".repeat(100_000))], &[]);
        assert!(long.len() < 200, "{long}");
    }

    /// Flags whose own value the bytes can stand in.
    const VALUES: &[&str] = &[
        "--listen=",
        "--port=",
        "--backends=",
        "--workers=",
        "--health-check-interval=",
        "--health-check-timeout=",
        "--retries=",
        "--retry-delay=",
        "--max-fails=",
        "--trust-forwarded=",
        "--max-head=",
        "--max-headers=",
        "--max-target=",
        "--max-body=",
        "--min-body-rate=",
        "--max-requests=",
        "--max-connections=",
        "--max-connections-per-client=",
        "--backend-max-connections=",
        "--backend-max-requests=",
        "--backend-max-idle=",
        "--queue-length=",
        "--queue-timeout=",
        "--backup=",
        "--algorithm=",
        "--hash-key=header:",
        "--hash-bound=",
        "--slow-start=",
        "--health-check=",
        "--health-rise=",
        "--health-fall=",
        "--health-path=/",
        "--health-method=",
        "--health-host=",
        "--health-header=",
        "--health-status=",
        "--fail-rate=",
        "--fail-window=",
        "--fail-statuses=",
        "--eject-time=",
        "--eject-time-max=",
        "--max-ejected=",
        "--retry-budget=",
        "--retry-statuses=",
        "--try-timeout=",
        "--sticky=",
        "--sticky-cookie=",
        "--sticky-time=",
        "--rate-limit=",
        "--head-timeout=",
        "--idle-timeout=",
        "--connect-timeout=",
        "--response-timeout=",
        "--stall-timeout=",
        "--tunnel-timeout=",
        "--lifetime-timeout=",
        "--mode=",
        "--proxy-protocol=",
        "--proxy-from=",
        "--send-proxy=",
        "--backend-idle-timeout=",
        "--drain-timeout=",
        "--status-path=/",
        "--cause-header=X",
        "--log-level=",
        "--access-log=",
        "--access-log-format=",
    ];

    #[test]
    fn bytes_that_are_no_text_are_refused_by_every_flag() {
        let bytes = |before: &str| OsString::from_vec([before.as_bytes(), b"\xff\n:1"].concat());
        for flag in VALUES {
            let Outcome::Refuse(line) = parse(&[bytes(flag)], &|_| None) else { panic!("{flag} taken") };
            let name = flag.split('=').next().unwrap_or(flag);
            assert!(line.starts_with(&format!("{name} \"")) && line.contains("\u{fffd}\\n"), "{line}");
        }
        // What these are for is not said again, or is what the bytes stand in.
        let cases = [
            ("--health-header=A:", "--health-header \"A\": '\u{fffd}' may not stand in its value"),
            ("--health-body=ok", "--health-body \"ok\u{fffd}\\n:1\": not UTF-8"),
            ("--sticky-path=/", "--sticky-path \"/\u{fffd}\\n:1\": '\u{fffd}' may not"),
            ("--sticky-same-site=", "--sticky-same-site \"\u{fffd}\\n:1\": must be"),
            ("--sticky-secret=0123456789abcdef", "--sticky-secret: only text without control characters"),
        ];
        for (flag, wrong) in cases {
            let arguments = [OsString::from("--sticky=cookie"), bytes(flag)];
            let Outcome::Refuse(line) = parse(&arguments, &|_| None) else { panic!("{flag} taken") };
            assert!(line.starts_with(wrong), "{line}");
        }
        for flag in ["--rate-key=header:", "--rate-burst="] {
            let arguments = [OsString::from("--rate-limit=1/s"), bytes(flag)];
            let Outcome::Refuse(line) = parse(&arguments, &|_| None) else { panic!("{flag} taken") };
            assert!(line.starts_with(flag.split('=').next().unwrap_or(flag)), "{line}");
        }
        let Outcome::Refuse(line) = parse(&[bytes("--demo")], &|_| None) else { panic!("taken") };
        assert!(line.starts_with("unknown flag \"--demo\u{fffd}\\n:1\""), "{line}");
        let Outcome::Refuse(line) = parse::<&str>(&[], &|_| Some(bytes("80"))) else { panic!("taken") };
        assert!(line.starts_with("PROXY_PORT \"80\u{fffd}\\n:1\": must be"), "{line}");
    }

    /// Any bytes give an outcome: pieces that mean something, in random order, split and joined.
    #[test]
    fn no_arguments_panic() {
        const PIECES: [&str; 31] = [
            "--health-header",
            "--health-path",
            "--hash-key",
            "--sticky",
            "--sticky-cookie",
            "--rate-limit",
            "header:",
            "--port",
            "--listen",
            "--backends",
            "--demo",
            "--status-path",
            "--retry-delay",
            "=",
            ",",
            ":",
            "[",
            "]",
            "://",
            "http",
            "1",
            "65536",
            ".",
            "-",
            "ms",
            " ",
            "\0",
            "é",
            "/",
            "a",
            "::1",
        ];
        let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut next = |bound: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % bound as u64) as usize
        };
        for _ in 0..20_000 {
            let arguments: Vec<String> =
                (0..next(5)).map(|_| (0..next(6)).map(|_| PIECES[next(PIECES.len())]).collect()).collect();
            if let Outcome::Refuse(line) = parse(&arguments, &|_| None) {
                assert!(!line.is_empty() && !line.contains(char::is_control), "{arguments:?} gave {line:?}");
            }
        }
    }

    #[test]
    fn version_and_help_are_printed() {
        for arguments in [&["--version"][..], &["-V"], &["--port", "x", "--version"]] {
            let Outcome::Print(text) = with(arguments, &[("PROXY_PORT", "x")]) else {
                panic!("{arguments:?}")
            };
            assert_eq!(text, "evenkeel 0.1.0");
        }
        for arguments in
            [&["--help"][..], &["-h"], &["help"], &["--help", "--port", "1"], &["--port", "x", "--help"]]
        {
            let Outcome::Print(text) = with(arguments, &[("PROXY_PORT", "x")]) else {
                panic!("{arguments:?}")
            };
            assert!(text.starts_with("Usage: evenkeel [--config FILE] "), "{text}");
        }
    }
}
