//! Names of backends are looked up again and again: against dnsmasq, which changes its answers.
//!
//! glibc asks port 53 of the address in /etc/resolv.conf alone. So dnsmasq listens there, on a loopback address of its
//! own for each test, and evenkeel runs where that file is another one: both need root. Without it, or without dnsmasq
//! or unshare, these tests say so and show nothing.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::reload::Live;
use crate::support::process::evenkeel;
use crate::support::{Backend, Client, SOON, eventually, get};

/// Runs a command with another /etc/resolv.conf.
const ELSEWHERE: &str = "mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";

/// dnsmasq with a file of hosts, which are all that it knows.
struct NameServer {
    directory: PathBuf,
    address: String,
    child: Option<Child>,
}

impl NameServer {
    /// One at an address that is this test's own; `None` where that cannot be.
    fn prepare(number: u8) -> Option<Self> {
        let address = format!("127.53.{}.{number}", std::process::id() % 250 + 1);
        let directory = std::env::temp_dir().join(format!("evenkeel-dns-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let resolv = format!("nameserver {address}\noptions timeout:1 attempts:1\n");
        std::fs::write(directory.join("resolv.conf"), resolv).expect("resolv.conf");
        let server = Self { directory, address, child: None };
        server.say("");
        let mut probe = server.elsewhere();
        let tried = probe.args(["dnsmasq", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let root = rustix::process::geteuid().is_root();
        if !root || !tried.is_ok_and(|status| status.success()) {
            eprintln!("not shown: this takes root, unshare and dnsmasq (Debian: dnsmasq-base)");
            return None;
        }
        Some(server)
    }

    /// The beginning of a command that asks this server.
    fn elsewhere(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", ELSEWHERE, "sh"]).arg(self.directory.join("resolv.conf"));
        command.stdin(Stdio::null()).env_remove("PROXY_PORT");
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        command
    }

    fn start(&mut self) {
        let path = |name: &str| self.directory.join(name).display().to_string();
        let mut command = Command::new("dnsmasq");
        command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file", "--user=root"]);
        command.args(["--no-resolv", "--no-hosts", "--local=/test/", "--bind-interfaces", "--log-queries"]);
        command
            .arg(format!("--listen-address={}", self.address))
            .arg(format!("--addn-hosts={}", path("hosts")));
        command.arg(format!("--log-facility={}", path("log")));
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        self.child = Some(command.stdin(Stdio::null()).spawn().expect("dnsmasq"));
        eventually(SOON, "dnsmasq runs", || self.log().contains("read "));
    }

    /// What it answers from now on: lines of an address and a name.
    fn say(&self, hosts: &str) {
        std::fs::write(self.directory.join("hosts"), hosts).expect("the hosts");
        if let Some(child) = &self.child {
            kill_process(Pid::from_child(child), Signal::HUP).expect("a signal to our child");
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Waits until it has answered so, a few times from now on.
    #[track_caller]
    fn answered(&self, so: &str) {
        let from = self.log().len();
        eventually(SOON, &format!("answers {so:?}"), || {
            self.log()[from..].lines().filter(|line| line.contains(so)).count() >= 3
        });
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// A balancer that asks this server.
    fn balance(&self, text: &str) -> Live {
        Live::run(text, &[], |path: &Path| {
            let mut command = self.elsewhere();
            command.arg(evenkeel().get_program()).arg("--config").arg(path);
            command
        })
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Two backends at one port of two addresses.
fn pair() -> (Backend, Backend, u16) {
    let a = Backend::start_on("127.0.0.71:0", |_, reply| reply.ok("a"));
    let port = a.address().port();
    let b = Backend::start_on(&format!("127.0.0.72:{port}"), |_, reply| reply.ok("b"));
    (a, b, port)
}

fn file(pool: &str, url: &str) -> String {
    format!(
        "resolve_interval = \"100ms\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[pool]]\n{pool}\n\
         health = {{ interval = \"200ms\" }}\n[[pool.backend]]\nurl = \"{url}\"\n"
    )
}

#[test]
fn traffic_moves_to_the_address_that_a_name_has_now() {
    let Some(mut server) = NameServer::prepare(1) else { return };
    let (a, b, port) = pair();
    server.say("127.0.0.71 app.test\n");
    server.start();
    let live = server.balance(&file("", &format!("http://app.test:{port}")));
    let mut client = Client::connect(live.balancer.address);
    (0..10).for_each(|_| assert_eq!(client.get("/").expect("a response").text(), "a"));

    server.say("127.0.0.72 app.test\n");
    eventually(SOON, "traffic moves", || client.get("/").expect("a response").text() == "b");
    assert!(live.balancer.lines().iter().any(|line| line.contains("is now at 127.0.0.72:")));
    let before = a.requests();
    (0..50).for_each(|_| assert_eq!(client.get("/").expect("a response").text(), "b"));
    assert_eq!(a.requests(), before, "no kept connection leads there any more");

    // Look-ups that fail, in both ways there are, change nothing.
    server.say("");
    server.answered("app.test is NXDOMAIN");
    assert_eq!(client.get("/").expect("a response").text(), "b");
    server.stop();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        assert_eq!(get(live.balancer.address, "/").expect("a response").text(), "b");
    }
    server.say("127.0.0.71 app.test\n");
    server.start();
    eventually(SOON, "traffic moves back", || client.get("/").expect("a response").text() == "a");
    drop(b);
}

#[test]
fn a_name_that_does_not_resolve_stops_no_start_and_is_found_later() {
    let Some(mut server) = NameServer::prepare(2) else { return };
    let (_a, _b, port) = pair();
    let live = server.balance(&file("", &format!("http://late.test:{port}")));
    let response = get(live.balancer.address, "/").expect("a response");
    assert_eq!(response.status, 503, "{}", response.text());
    let said = || live.balancer.lines().iter().filter(|line| line.contains("does not resolve")).count();
    eventually(SOON, "it is said", || said() > 0);
    server.start();
    server.answered("late.test is NXDOMAIN");
    server.say("127.0.0.72 late.test\n");
    eventually(SOON, "it is found", || {
        let response = get(live.balancer.address, "/").expect("a response");
        response.status == 200 && response.text() == "b"
    });
    let named = |line: &&String| line.contains("name does not resolve; it is asked for again");
    assert_eq!(live.balancer.lines().iter().filter(named).count(), 1, "once, not at each look-up");
}

#[test]
fn each_address_of_a_name_is_a_backend_where_that_is_asked_for() {
    let Some(mut server) = NameServer::prepare(3) else { return };
    let (a, b, port) = pair();
    server.say("127.0.0.71 all.test\n127.0.0.72 all.test\n");
    server.start();
    let live = server.balance(&file("resolve = \"all\"", &format!("http://all.test:{port}")));
    let mut client = Client::connect(live.balancer.address);
    let shares = |client: &mut Client| {
        let mut texts: Vec<String> = (0..20).map(|_| client.get("/").expect("a response").text()).collect();
        texts.sort();
        texts.iter().filter(|text| *text == "a").count()
    };
    eventually(SOON, "both have their share", || shares(&mut client) == 10);
    server.say("127.0.0.72 all.test\n");
    eventually(SOON, "one is left", || shares(&mut client) == 0);
    server.say("");
    server.answered("all.test is NXDOMAIN");
    assert_eq!(shares(&mut client), 0);
    server.say("127.0.0.71 all.test\n127.0.0.72 all.test\n");
    eventually(SOON, "both again", || shares(&mut client) == 10);
    drop((a, b));
}

#[test]
fn a_reload_that_fails_forgets_no_name() {
    let Some(mut server) = NameServer::prepare(4) else { return };
    let (_a, _b, port) = pair();
    server.say("127.0.0.71 app.test\n127.0.0.72 other.test\n");
    server.start();
    let right = file("", &format!("http://app.test:{port}"));
    let live = server.balance(&right);
    assert_eq!(get(live.balancer.address, "/").expect("a response").text(), "a");
    // Now nobody can be asked, and the new file needs an address that is taken.
    server.stop();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("an address").to_string();
    let wrong = right.replace("app.test", "other.test").replace("127.0.0.1:0", &address);
    live.refuse(&wrong, &["cannot listen on"]);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        assert_eq!(get(live.balancer.address, "/").expect("a response").text(), "a");
    }
}
