//! `test-server`: one test backend on all addresses, until a signal ends it.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use argh::FromArgs;
use evenkeel::config::parse_duration;
use evenkeel::demo::{Options, Server};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

const PORT: &str = "8081";
const NAME: &str = "Server";

/// A small HTTP server to balance over. It answers every path with its name, its port and the request it saw;
/// /health says whether it is well, /fail makes every later answer a 503.
#[derive(FromArgs)]
struct Args {
    /// port to listen on, on all addresses (default 8081, or SERVER_PORT in the environment)
    #[argh(option, arg_name = "n")]
    port: Option<String>,
    /// name to answer with (default Server, or SERVER_NAME in the environment)
    #[argh(option)]
    name: Option<String>,
    /// answer 503 to everything after so many seconds (default 0: never)
    #[argh(option, arg_name = "seconds")]
    fail_after: Option<String>,
    /// wait before each answer: 500ms, 2s, 1m or a number of seconds (default 0)
    #[argh(option, arg_name = "dur")]
    delay: Option<String>,
}

/// A value as the user gave it, and where: what a complaint about it must name.
struct Given {
    source: &'static str,
    value: String,
}

impl Given {
    fn find(
        flag: (&'static str, Option<String>),
        variable: (&'static str, Option<OsString>),
        default: &str,
    ) -> Result<Self, String> {
        match (flag, variable) {
            ((source, Some(value)), _) => Ok(Self { source, value }),
            (_, (source, Some(value))) => {
                let value =
                    value.into_string().map_err(|raw| complain(source, &raw, "is not text in UTF-8"))?;
                Ok(Self { source, value })
            }
            ((source, None), _) => Ok(Self { source, value: default.to_owned() }),
        }
    }

    fn complain(&self, what: &str) -> String {
        complain(self.source, OsStr::new(&self.value), what)
    }
}

/// One line, whatever the value holds.
fn complain(source: &str, value: &OsStr, what: &str) -> String {
    format!("test-server: {source} {value:?}: {what}")
}

/// The options, and the port once more as it was given.
fn read_options(args: Args, variable: impl Fn(&str) -> Option<OsString>) -> Result<(Options, Given), String> {
    let port = Given::find(("--port", args.port), ("SERVER_PORT", variable("SERVER_PORT")), PORT)?;
    let name = Given::find(("--name", args.name), ("SERVER_NAME", variable("SERVER_NAME")), NAME)?;
    let fail_after =
        Given { source: "--fail-after", value: args.fail_after.unwrap_or_else(|| "0".to_owned()) };
    let delay = Given { source: "--delay", value: args.delay.unwrap_or_else(|| "0".to_owned()) };
    if name.value.is_empty() || name.value.contains(char::is_control) {
        return Err(name.complain("must be some text on one line"));
    }
    let seconds = parse_number(&fail_after.value)
        .ok_or_else(|| fail_after.complain("must be a whole number of seconds, 0 for never"))?;
    let options = Options {
        address: None,
        port: parse_number(&port.value)
            .and_then(|number| u16::try_from(number).ok())
            .ok_or_else(|| port.complain("must be a port, 0 (any free one) to 65535"))?,
        name: name.value,
        fail_after: (seconds > 0).then(|| Duration::from_secs(seconds)),
        delay: parse_duration(&delay.value).map_err(|why| delay.complain(&why))?,
    };
    Ok((options, port))
}

fn parse_number(text: &str) -> Option<u64> {
    // `parse` alone would take a plus sign.
    if text.starts_with('+') { None } else { text.parse().ok() }
}

fn start(options: Options, port: &Given) -> Result<Server, String> {
    Server::start(options).map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => port.complain("the port is in use"),
        io::ErrorKind::PermissionDenied => port.complain("the port needs more rights than this user has"),
        _ => port.complain(&e.to_string()),
    })
}

/// What the command line asks for, or what to print and the code to leave with.
fn read_args(words: impl Iterator<Item = OsString>) -> Result<Args, (String, ExitCode)> {
    let usage = |line: String| (line, ExitCode::from(2));
    let words = words
        .map(|word| {
            word.into_string()
                .map_err(|raw| usage(format!("test-server: argument {raw:?} is not text in UTF-8")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Args::from_args(&["test-server"], &words).map_err(|exit| {
        let output = exit.output.trim();
        match exit.status {
            Ok(()) => (output.to_owned(), ExitCode::SUCCESS),
            Err(()) => usage(format!("test-server: {}", output.replace('\n', " "))),
        }
    })
}

/// More connections than a login shell's limit of descriptors allows must be no problem.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // The limit as it is will do for most uses.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn run(args: Args) -> Result<(), String> {
    let (options, port) = read_options(args, |name| std::env::var_os(name))?;
    raise_descriptor_limit();
    // Before anyone can know that it runs; and as the first process of a container it has no default for them.
    let mut signals =
        Signals::new([SIGTERM, SIGINT]).map_err(|e| format!("test-server: cannot wait for signals: {e}"))?;
    let name = options.name.clone();
    let server = start(options, &port)?;
    // Nobody may be reading.
    let _ = writeln!(io::stdout(), "{name} listens on port {}, on all addresses", server.port());
    signals.forever().next();
    Ok(())
}

fn main() -> ExitCode {
    let args = match read_args(std::env::args_os().skip(1)) {
        Ok(args) => args,
        Err((output, code)) => {
            let _ = if code == ExitCode::SUCCESS {
                writeln!(io::stdout(), "{output}")
            } else {
                writeln!(io::stderr(), "{output}")
            };
            return code;
        }
    };
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            let _ = writeln!(io::stderr(), "{line}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;

    use super::*;

    fn options(words: &[&str], variables: &[(&str, &str)]) -> Result<(Options, Given), String> {
        let args = read_args(words.iter().map(OsString::from)).map_err(|(line, _)| line)?;
        read_options(args, |name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_default() {
        let environment = [("SERVER_PORT", "9001"), ("SERVER_NAME", "Env")];
        for (words, variables, port, name) in [
            (&[][..], &[][..], 8081, "Server"),
            (&[], &environment[..], 9001, "Env"),
            (&["--port", "9002", "--name", "Flag"], &environment[..], 9002, "Flag"),
            (&["--port", "9002"], &[("SERVER_PORT", "bad")], 9002, "Server"),
        ] {
            let (options, _) = options(words, variables).expect("good");
            assert_eq!((options.port, options.name.as_str()), (port, name), "{words:?}");
            assert_eq!((options.address, options.fail_after, options.delay), (None, None, Duration::ZERO));
        }
    }

    #[test]
    fn times_are_read() {
        let (options, _) = options(&["--fail-after", "3", "--delay", "1500ms"], &[]).expect("good");
        assert_eq!(options.fail_after, Some(Duration::from_secs(3)));
        assert_eq!(options.delay, Duration::from_millis(1500));
        for (text, seconds) in [("2s", 2), ("1m", 60), ("7", 7), ("0", 0)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn a_bad_value_is_one_line_that_names_its_source() {
        for (words, variables, named) in [
            (&["--port", "x"][..], &[][..], "--port \"x\""),
            (&["--port", "65536"], &[], "--port \"65536\""),
            (&["--port", "-1"], &[], "--port \"-1\""),
            (&["--port", ""], &[], "--port \"\""),
            (&["--name", "a\nb"], &[], "--name \"a\\nb\""),
            (&["--name", ""], &[], "--name \"\""),
            (&["--fail-after", "soon"], &[], "--fail-after \"soon\""),
            (&["--delay", "2d"], &[], "--delay \"2d\""),
            (&["--delay", "999999999999999999m"], &[], "--delay \"999999999999999999m\""),
            (&["--delay", "ms"], &[], "--delay \"ms\""),
            (&[], &[("SERVER_PORT", "no")], "SERVER_PORT \"no\""),
            (&["--prot", "1"], &[], "--prot"),
            (&["--port"], &[], "--port"),
            (&["--port", "1", "--port", "2"], &[], "--port"),
            (&["extra"], &[], "extra"),
        ] {
            let line = options(words, variables).err().expect("a complaint");
            assert!(line.starts_with("test-server: ") && line.contains(named), "{line}");
            assert!(!line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn a_port_in_use_is_named() {
        let (first, given) = options(&["--port", "0"], &[]).expect("good");
        let server = start(first, &given).expect("starts");
        let port = server.port().to_string();
        let (second, given) = options(&[], &[("SERVER_PORT", &port)]).expect("good");
        let Err(line) = start(second, &given) else { panic!("the port is free") };
        assert_eq!(line, format!("test-server: SERVER_PORT \"{port}\": the port is in use"));
    }

    #[test]
    fn it_greets_by_the_name_given() {
        let (options, given) = options(&["--port", "0", "--name", "Böxli"], &[]).expect("good");
        let server = start(options, &given).expect("starts");
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("takes a timeout");
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("sends");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(
            answer.contains(&format!("\r\n\r\nHello from Böxli on port {}\n", server.port())),
            "{answer}"
        );
    }
}
