//! SIGHUP reads the file again: what did not change does not notice, and a bad file changes nothing.

mod carried;
mod crowd;
mod failing;
mod leaving;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use rustix::process::Signal;

use crate::support::process::evenkeel;
use crate::support::{Backend, Client, Evenkeel, SOON, eventually, get};

/// A balancer that was started with a file, in a directory of its own.
pub(crate) struct Live {
    directory: PathBuf,
    pub(crate) balancer: Evenkeel,
}

impl Live {
    #[track_caller]
    pub(crate) fn start(text: &str) -> Self {
        Self::start_with(text, &[], &[])
    }

    /// As [`Live::start`], with files beside it and with flags.
    #[track_caller]
    pub(crate) fn start_with(text: &str, beside: &[(&str, &str)], flags: &[&str]) -> Self {
        Self::run(text, beside, |path| {
            let mut command = evenkeel();
            command.arg("--config").arg(path).args(flags);
            command
        })
    }

    /// As [`Live::start_with`], by a command that is made of the file's path.
    #[track_caller]
    pub(crate) fn run(text: &str, beside: &[(&str, &str)], command: impl FnOnce(&Path) -> Command) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("evenkeel-live-{}-{}", std::process::id(), NEXT.fetch_add(1, SeqCst));
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a directory");
        for (name, text) in beside {
            std::fs::write(directory.join(name), text).expect("a file beside it");
        }
        let path = directory.join("lb.toml");
        std::fs::write(&path, text).expect("the file");
        Self { balancer: Evenkeel::run(command(&path)), directory }
    }

    pub(crate) fn write(&self, text: &str) {
        std::fs::write(self.directory.join("lb.toml"), text).expect("the file again");
    }

    /// Lines of the log that end a reload.
    fn ends(&self) -> usize {
        let ends = |line: &&String| line.contains("] reloaded: ") || line.contains("] not reloaded");
        self.balancer.lines().iter().filter(ends).count()
    }

    /// Writes the file, sends SIGHUP and waits until that is dealt with; the lines logged meanwhile.
    #[track_caller]
    pub(crate) fn hang_up(&self, text: &str) -> Vec<String> {
        self.write(text);
        let (ends, before) = (self.ends(), self.balancer.lines().len());
        self.balancer.signal(Signal::HUP);
        eventually(SOON, "the end of a reload", || self.ends() > ends);
        self.balancer.lines().split_off(before)
    }

    /// As [`Live::hang_up`], of a file that is wrong: waits for all that is to be said of it.
    #[track_caller]
    pub(crate) fn refuse(&self, text: &str, parts: &[&str]) {
        let before = self.balancer.lines().len();
        self.hang_up(text);
        for part in [&["] not reloaded, nothing has changed:"], parts].concat() {
            eventually(SOON, &format!("a line with {part:?}"), || {
                self.balancer.lines()[before..].iter().any(|line| line.contains(part))
            });
        }
    }

    /// As [`Live::hang_up`], of a file that is right.
    #[track_caller]
    pub(crate) fn reload(&self, text: &str) -> Vec<String> {
        let said = self.hang_up(text);
        assert!(said.iter().any(|line| line.contains("] reloaded: ")), "{}", said.join("\n"));
        said
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Part of a file: a pool of these backends, which are up until traffic finds out otherwise.
pub(crate) fn pool<'a>(name: &str, backends: impl IntoIterator<Item = &'a Backend>) -> String {
    let backends =
        backends.into_iter().map(|backend| format!("[[pool.backend]]\nurl = \"{}\"\n", backend.url()));
    format!("[[pool]]\nname = \"{name}\"\n{}", backends.collect::<String>())
}

/// Part of a file: a listener on a free port.
pub(crate) fn listener(name: &str, pool: &str) -> String {
    format!("[[listener]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\npool = \"{pool}\"\n")
}

#[track_caller]
fn says(said: &[String], part: &str) {
    assert!(said.iter().any(|line| line.contains(part)), "no {part:?} in:\n{}", said.join("\n"));
}

#[test]
fn each_difference_is_logged_and_in_force() {
    let (a, b, c) = (Backend::named("a"), Backend::named("b"), Backend::named("c"));
    let live = Live::start(&(listener("web", "one") + &pool("one", [&a])));
    let address = live.balancer.address;
    assert_eq!(get(address, "/").expect("a response").text(), "a");

    let said = live.reload(&(listener("web", "one") + &pool("one", [&b])));
    says(&said, &format!("reload: pool one: backend {} added", b.url()));
    says(&said, &format!("reload: pool one: backend {} removed", a.url()));
    says(&said, "reloaded: 2 changes");
    eventually(SOON, "the new backend answers", || get(address, "/").is_ok_and(|r| r.text() == "b"));
    (0..20).for_each(|_| assert_eq!(get(address, "/").expect("a response").text(), "b"));

    let route = "[[listener.route]]\npath_prefix = \"/c\"\npool = \"two\"\n";
    let both = pool("one", [&b]) + &pool("two", [&c]);
    let said = live.reload(&(listener("web", "one") + route + &both));
    says(&said, "reload: listener web: route web/1 added");
    says(&said, "reload: pool two added");
    eventually(SOON, "the route is taken", || get(address, "/c").is_ok_and(|r| r.text() == "c"));
    assert_eq!(get(address, "/").expect("a response").text(), "b");

    let said =
        live.reload(&("status_path = \"/x\"\n".to_owned() + &listener("web", "two") + &pool("two", [&c])));
    says(&said, "reload: status_path changed");
    says(&said, "reload: listener web: pool changed");
    says(&said, "reload: pool one removed");
    assert_eq!(get(address, "/").expect("a response").text(), "c");
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let right = listener("web", "one") + &pool("one", [&a]);
    let live = Live::start(&right);
    let place = "lb.toml:3:1: unknown key \"adress\"; did you mean address?";
    live.refuse(&right.replace("address", "adress"), &[place, "3 | adress = \"127.0.0.1:0\""]);
    assert_eq!(get(live.balancer.address, "/").expect("a response").text(), "a");
    std::fs::remove_file(live.directory.join("lb.toml")).expect("removed");
    let before = live.ends();
    live.balancer.signal(Signal::HUP);
    eventually(SOON, "it is said", || live.ends() > before);
    eventually(SOON, "and why", || {
        live.balancer.lines().iter().any(|line| line.contains("there is no such file"))
    });
    assert_eq!(get(live.balancer.address, "/").expect("a response").text(), "a");

    live.reload(&(listener("web", "one") + &pool("one", [&b])));
    eventually(SOON, "the right file is in force", || {
        get(live.balancer.address, "/").is_ok_and(|response| response.text() == "b")
    });
}

#[test]
fn an_address_that_is_taken_changes_nothing() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let live = Live::start(&(listener("web", "one") + &pool("one", [&a])));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("an address");
    let other = format!("[[listener]]\nname = \"x\"\naddress = \"{address}\"\npool = \"one\"\n");
    let text = listener("web", "one") + &other + &pool("one", [&b]);
    live.refuse(&text, &[&format!("cannot listen on {address}")]);
    assert_eq!(get(live.balancer.address, "/").expect("a response").text(), "a");
}

#[test]
fn flags_of_the_start_hold_at_each_reload() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let text = listener("web", "one") + &pool("one", [&a]);
    let live = Live::start_with(&text, &[], &["--status-path", "/flag", "--backends", &b.url()]);
    assert_eq!(get(live.balancer.address, "/").expect("a response").text(), "b");
    let said = live.reload(&format!("status_path = \"/file\"\ndrain_timeout = \"7s\"\n{text}"));
    says(&said, "drain_timeout changed");
    assert!(!said.iter().any(|line| line.contains("status_path")), "{said:?}");
    let response = get(live.balancer.address, "/flag").expect("the status");
    assert!(response.text().contains("\"backends\""), "{}", response.text());
    assert_eq!(get(live.balancer.address, "/").expect("a response").text(), "b");
}

#[test]
fn what_needs_a_restart_is_said() {
    let a = Backend::named("a");
    let text = listener("web", "one") + &pool("one", [&a]);
    let live = Live::start(&format!("workers = 2\n{text}"));
    let said = live.reload(&format!("workers = 3\npin = true\n{text}"));
    says(&said, "workers changes with a restart only");
    says(&said, "pin changes with a restart only");
    assert_eq!(live.balancer.status()["workers"].as_array().map(Vec::len), Some(2));
    assert_eq!(get(live.balancer.address, "/").expect("a response").text(), "a");
    let said = live.reload(&format!("log_level = \"debug\"\nworkers = 2\n{text}"));
    assert!(!said.iter().any(|line| line.contains("restart only")), "{said:?}");
    get(live.balancer.address, "/?x y").expect("a response");
    eventually(SOON, "a line at debug", || live.balancer.lines().iter().any(|line| line.contains("[DEBUG]")));
}

#[test]
fn without_a_file_there_is_nothing_to_reload() {
    let a = Backend::named("a");
    let balancer = Evenkeel::start(&["--backends", &a.url()]);
    balancer.signal(Signal::HUP);
    eventually(SOON, "it says so", || {
        balancer.lines_with("started without --config", "reloaded") > 0
            || balancer.lines_with("started without", "config") > 0
    });
    assert_eq!(get(balancer.address, "/").expect("a response").text(), "a");
}

#[test]
fn a_reload_during_a_drain_is_refused_with_a_line() {
    let a = Backend::start(|request, reply| {
        if request.target == "/slow" {
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
        reply.ok("a")
    });
    let text = listener("web", "one") + &pool("one", [&a]);
    let mut live = Live::start(&text);
    let mut client = Client::connect(live.balancer.address);
    client.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
    eventually(SOON, "the backend has it", || a.requests() > 0);
    live.balancer.terminate();
    eventually(SOON, "the drain", || live.balancer.lines().iter().any(|line| line.contains("draining:")));
    live.balancer.signal(Signal::HUP);
    eventually(SOON, "it is refused", || {
        live.balancer.lines().iter().any(|line| line.contains("not reloaded: this process is draining"))
    });
    assert_eq!(client.response("GET").expect("the answer").text(), "a");
    assert_eq!(live.balancer.exit_within(SOON).code(), Some(0));
}
