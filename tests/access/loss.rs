//! A log that cannot be written loses lines, never requests.

use std::fs::{self, OpenOptions};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::Place;
use crate::support::process::evenkeel;
use crate::support::{Backend, Client, Evenkeel, SOON, eventually};

fn lost(balancer: &Evenkeel) -> u64 {
    balancer.status()["counts"]["access_log_lost"].as_u64().expect("a count")
}

/// Requests with long lines until some are lost; how many.
fn send_until_lost(balancer: &Evenkeel, client: &mut Client) -> usize {
    let fields = format!("User-Agent: {}\r\n", "u".repeat(6_000));
    let mut sent = 0;
    eventually(SOON, "lines are lost", || {
        for _ in 0..100 {
            assert_eq!(client.get_with("/", &fields).expect("a response").status, 200);
            sent += 1;
        }
        lost(balancer) > 0
    });
    sent
}

#[test]
fn a_pipe_that_nobody_reads_loses_lines_and_no_request() {
    let (place, backend) = (Place::new(), Backend::named("a"));
    let pipe = place.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let reader = OpenOptions::new().read(true).write(true).open(&pipe).expect("the pipe");
    let mut balancer = Evenkeel::start(&["--access-log", &pipe, "--backends", &backend.url()]);
    let mut client = Client::connect(balancer.address);
    let sent = send_until_lost(&balancer, &mut client);
    assert!(sent > 500, "the queue has room for more than {sent} lines");
    eventually(SOON, "it is said", || balancer.lines().iter().any(|l| l.contains("lines lost")));
    let said = || balancer.lines().iter().filter(|l| l.contains("lines lost")).count();
    send_until_lost(&balancer, &mut client);
    assert_eq!(said(), 1, "said once a minute");
    balancer.terminate();
    assert!(balancer.exit_within(Duration::from_secs(10)).success(), "the end does not wait for the pipe");
    drop(reader);
}

#[test]
fn a_full_disk_loses_lines_and_no_request() {
    let (place, backend) = (Place::new(), Backend::named("a"));
    let directory = place.path("disk");
    fs::create_dir(&directory).expect("a directory");
    let mount = "mount -t tmpfs -o size=16m none \"$0\" && head -c 16700000 /dev/zero > \"$0/else\"";
    let can = Command::new("unshare").args(["-m", "sh", "-c", mount, &directory]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no disk of its own can be made here, which takes root and unshare(1)");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &format!("{mount} && exec \"$@\""), &directory]);
    command.arg(evenkeel().get_program()).env_remove("PROXY_PORT");
    let log = format!("{directory}/a.log");
    command.args(["--listen", "127.0.0.1:0", "--access-log", &log, "--backends", &backend.url()]);
    let balancer = Evenkeel::run(command);
    let mut client = Client::connect(balancer.address);
    eventually(SOON, "the disk is full", || {
        drop(client.get_with("/", &format!("User-Agent: {}\r\n", "u".repeat(6_000))).expect("a response"));
        balancer.lines().iter().any(|l| l.contains("lines wait") && l.contains("No space left"))
    });
    assert_eq!(lost(&balancer), 0, "there is room for them in memory");
    send_until_lost(&balancer, &mut client);
    eventually(SOON, "it is said", || {
        balancer.lines().iter().any(|l| l.contains("lines lost") && l.contains("No space left"))
    });
    // In the mount namespace of the balancer: the disk has room again, and all that waited is written.
    let inside = format!("/proc/{}/root{log}", balancer.id());
    fs::remove_file(format!("/proc/{}/root{directory}/else", balancer.id())).expect("removed");
    let text = || fs::read_to_string(&inside).unwrap_or_default();
    eventually(SOON, "it is said", || balancer.lines().iter().any(|l| l.contains("lines that waited")));
    assert_eq!(client.get("/again").expect("a response").status, 200);
    eventually(SOON, "a line", || text().lines().any(|line| line.contains("\"GET /again HTTP/1.1\" 200 ")));
    let counts = &balancer.status()["counts"];
    let count = |name: &str| counts[name].as_u64().expect("a count");
    let right = count("requests") - count("access_log_lost");
    eventually(SOON, "every line is there or counted", || text().lines().count() as u64 == right);
    assert!(text().lines().all(|line| line.starts_with("127.0.0.1 - - [")), "each of them whole");
    assert!(text().len() > 4 << 20, "what waited is among them");
}

/// Without more, the system ends a process that writes beyond such a limit.
#[test]
fn a_limit_of_the_files_size_holds_lines_until_there_is_another_file() {
    let (place, backend) = (Place::new(), Backend::named("a"));
    let log = place.path("a.log");
    let mut command = Command::new("sh");
    // In blocks of 512 bytes.
    command.args(["-c", "ulimit -f 200 && exec \"$0\" \"$@\""]).arg(evenkeel().get_program());
    command.env_remove("PROXY_PORT").args([
        "--listen",
        "127.0.0.1:0",
        "--access-log",
        &log,
        "--backends",
        &backend.url(),
    ]);
    let balancer = Evenkeel::run(command);
    let mut client = Client::connect(balancer.address);
    let fields = format!("User-Agent: {}\r\n", "u".repeat(6_000));
    eventually(SOON, "it is said", || {
        assert_eq!(client.get_with("/", &fields).expect("a response").status, 200);
        balancer.lines().iter().any(|l| l.contains("lines wait") && l.contains("File too large"))
    });
    fs::rename(&log, place.path("old.log")).expect("rename");
    balancer.signal(Signal::USR1);
    eventually(SOON, "the file is there again", || fs::exists(&log).expect("to look"));
    assert_eq!(client.get("/again").expect("a response").status, 200);
    eventually(SOON, "a line", || place.lines("a.log").iter().any(|line| line.contains("/again")));
    assert_eq!(lost(&balancer), 0);
}

#[test]
fn standard_output_that_is_closed_loses_lines_and_no_request() {
    let backend = Backend::named("a");
    let mut command = Command::new("bash");
    command.args(["-c", "exec \"$0\" \"$@\" > >(head -n 1 >&2)"]).arg(evenkeel().get_program());
    command.env_remove("PROXY_PORT").args([
        "--listen",
        "127.0.0.1:0",
        "--access-log",
        "-",
        "--backends",
        &backend.url(),
    ]);
    let mut balancer = Evenkeel::run(command);
    let mut client = Client::connect(balancer.address);
    assert_eq!(client.get("/first").expect("a response").status, 200);
    eventually(SOON, "the one line that is read", || {
        balancer.lines().iter().any(|l| l.contains("\"GET /first "))
    });
    send_until_lost(&balancer, &mut client);
    eventually(SOON, "it is said", || balancer.lines().iter().any(|l| l.contains("Broken pipe")));
    balancer.terminate();
    assert!(balancer.exit_within(SOON).success());
}
