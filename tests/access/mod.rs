//! The access log: a line for each exchange that ends, however it ends, and no exchange that waits for the log.

mod cause;
mod clock;
mod end;
mod hostile;
mod kinds;
mod loss;
mod reload;
mod tcp;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Backend, Client, Evenkeel, SOON, eventually, get};

/// A directory that goes with the test.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("evenkeel-access-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.0.join(name), text).expect("a file");
        self.path(name)
    }

    /// The whole lines of a file; none while it is not there.
    fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.0.join(name)).unwrap_or_default();
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
    }

    /// The lines of `name` as JSON, as soon as there are so many.
    #[track_caller]
    fn await_json(&self, name: &str, count: usize) -> Vec<Value> {
        eventually(SOON, &format!("{count} lines"), || self.lines(name).len() >= count);
        let lines = self.lines(name);
        assert_eq!(lines.len(), count, "{lines:#?}");
        lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn text_lines_are_in_the_combined_format_with_more_at_their_end() {
    let (place, backend) = (Place::new(), Backend::named("hello"));
    let log = place.path("a.log");
    let balancer = Evenkeel::start(&["--access-log", &log, "--backends", &backend.url()]);
    let mut client = Client::connect(balancer.address);
    let fields = "User-Agent: a \"quoted\\\" one\r\nReferer: http://r/\t\u{e9}\r\nX-Request-Id: mine\r\n";
    assert_eq!(client.get_with("/a?b", fields).expect("a response").status, 200);
    eventually(SOON, "a line", || place.lines("a.log").len() == 1);
    let line = place.lines("a.log").remove(0);
    let quoted: Vec<&str> = line.split('"').collect();
    let &[who, request, answer, referer, _, agent, rest] = quoted.as_slice() else { panic!("{line}") };
    assert!(who.starts_with("127.0.0.1 - - [") && who.ends_with(" +0000] "), "{line}");
    assert_eq!((request, referer), ("GET /a?b HTTP/1.1", "http://r/\\x09\\xC3\\xA9"));
    assert_eq!(agent, "a \\x22quoted\\x5C\\x22 one");
    let [status, bytes] = answer.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{line}") };
    assert!(status == "200" && bytes.parse::<u64>().expect("a number") > 40, "{line}");
    let rest: Vec<&str> = rest.split_whitespace().collect();
    let &[
        queue,
        connect,
        first_byte,
        total,
        at,
        pool,
        route,
        retries,
        cause,
        id,
        listener,
        port,
        received,
        host,
    ] = rest.as_slice()
    else {
        panic!("{line}")
    };
    assert_eq!((queue, at, route, retries, cause), ("0.000", backend.url().as_str(), "-", "0", "-"));
    assert_eq!((listener, host), (balancer.address.to_string().as_str(), "test.example"), "{line}");
    assert_eq!(port, client.stream().local_addr().expect("an address").port().to_string(), "{line}");
    assert!(received.parse::<u64>().expect("a number") > 100, "{line}");
    let time = |text: &str| text.parse::<f64>().unwrap_or_else(|e| panic!("{text}: {e}"));
    assert!(time(total) >= time(first_byte) && time(first_byte) >= time(connect), "{line}");
    assert!(!pool.is_empty() && id.len() == 36, "{line}");
}

/// Lines and what else is printed there are both whole; the last ones are there when the process has ended.
#[test]
fn standard_output_has_the_lines_and_the_drain_flushes_them() {
    let backend = Backend::named("a");
    let flags = ["--access-log", "-", "--access-log-format", "json", "--backends", &backend.url()];
    let mut balancer = Evenkeel::start(&flags);
    for i in 0..50 {
        assert_eq!(get(balancer.address, &format!("/{i}")).expect("a response").status, 200);
    }
    balancer.terminate();
    assert!(balancer.exit_within(SOON).success());
    let targets = || -> Vec<String> {
        let lines = balancer.lines();
        let lines = lines.iter().filter(|line| line.starts_with('{'));
        let parsed = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        parsed.map(|line| line["target"].as_str().expect("a target").to_owned()).collect()
    };
    // The pipe is read by a thread of its own.
    eventually(SOON, "a line each", || targets().len() >= 50);
    let mut seen = targets();
    seen.sort_by_key(|target| target[1..].parse::<u32>().expect("a number"));
    assert_eq!(seen, (0..50).map(|i| format!("/{i}")).collect::<Vec<_>>());
}

#[test]
fn a_file_that_was_renamed_is_opened_again_and_no_line_is_lost() {
    let (place, backend) = (Place::new(), Backend::named("a"));
    let log = place.path("a.log");
    let balancer = Evenkeel::start(&["--access-log", &log, "--backends", &backend.url()]);
    let mut client = Client::connect(balancer.address);
    let mut sent = 0;
    let mut send = |count: u32| {
        for _ in 0..count {
            assert_eq!(client.get(&format!("/{sent}")).expect("a response").status, 200);
            sent += 1;
        }
        sent
    };
    for turn in 0..5 {
        send(200);
        fs::rename(&log, place.path(&format!("old.{turn}"))).expect("rename");
        send(20);
        balancer.signal(Signal::USR1);
        eventually(SOON, "the file is there again", || fs::exists(&log).expect("to look"));
    }
    let sent = send(1);
    let all = || -> Vec<String> {
        let names = (0..5).map(|turn| format!("old.{turn}")).chain(["a.log".to_owned()]);
        names.flat_map(|name| place.lines(&name)).collect()
    };
    eventually(SOON, "a line each", || all().len() >= sent);
    let target = |line: &String| line.split(['"', ' ']).nth(7).expect("a target").to_owned();
    let seen: Vec<String> = all().iter().map(target).collect();
    assert_eq!(seen, (0..sent).map(|i| format!("/{i}")).collect::<Vec<_>>());
    assert!(!place.lines("a.log").is_empty());
}

#[test]
fn the_signal_does_nothing_without_a_log_and_a_file_that_cannot_be_opened_is_refused_at_the_start() {
    let (place, backend) = (Place::new(), Backend::named("a"));
    let balancer = Evenkeel::start(&["--backends", &backend.url()]);
    balancer.signal(Signal::USR1);
    assert_eq!(get(balancer.address, "/").expect("a response").status, 200);
    let mut command = crate::support::process::evenkeel();
    let nowhere = place.path("nowhere/a.log");
    command.args(["--listen", "127.0.0.1:0", "--demo", "--access-log", &nowhere]);
    let output = crate::support::process::output_of(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("access log") && said.contains(&nowhere), "{said}");
}
