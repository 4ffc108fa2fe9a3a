//! A reload that fails leaves nothing behind: no file, no socket, no thread, no other level of the log.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use super::{Live, listener, pool};
use crate::admin::commands::StopAtEnd;
use crate::support::{Backend, Client, Port, SOON, eventually};

/// How many entries a directory of the process has.
fn entries(live: &Live, what: &str) -> usize {
    std::fs::read_dir(format!("/proc/{}/{what}", live.balancer.id())).expect("/proc").count()
}

#[test]
fn twenty_reloads_that_fail_under_load_leave_nothing() {
    ten_that_fail("[access_log]\npath = \"a.log\"\n");
    ten_that_fail("");
}

fn ten_that_fail(log: &str) {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let rest = |backend| listener("web", "one") + &pool("one", [backend]);
    let live = Live::start(&format!("log_level = \"info\"\n{log}{}", rest(&a)));
    let holder = TcpListener::bind("127.0.0.1:0").expect("bind");
    let taken = holder.local_addr().expect("an address");
    let free = Port::reserve();
    let other = |name: &str, address| {
        format!("[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\npool = \"one\"\n")
    };
    let bad = |turn: usize, level: &str| {
        format!(
            "log_level = \"{level}\"\ntrust_forwarded = [\"0.0.0.0/0\"]\n[access_log]\npath = \"{turn}.log\"\nformat = \"json\"\n{}{}{}",
            other("free", free.address),
            other("taken", taken),
            rest(&b)
        )
    };
    let old = live.directory.join("9.log");
    std::fs::write(&old, "").expect("an empty file of somebody else's");
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _over = StopAtEnd(&over);
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = Client::connect(live.balancer.address);
                while !over.load(SeqCst) {
                    assert_eq!(client.get("/").expect("a response").text(), "a");
                    answered.fetch_add(1, SeqCst);
                }
            });
        }
        eventually(SOON, "load", || answered.load(SeqCst) > 50);
        let before = (entries(&live, "fd"), entries(&live, "task"));
        for turn in 0..10 {
            // With "error" in force nobody would say that the next one failed as an error does.
            let level = if turn % 2 == 0 { "error" } else { "debug" };
            let lines = live.balancer.lines().len();
            live.refuse(&bad(turn, level), &[&format!("cannot listen on {taken}")]);
            let said = live.balancer.lines().split_off(lines);
            assert!(
                !said.iter().any(|line| line.contains("[WARN]")),
                "a warning of what is not in force: {said:?}"
            );
            let served = answered.load(SeqCst);
            eventually(SOON, "it goes on", || answered.load(SeqCst) > served + 20);
            let made = std::fs::exists(live.directory.join(format!("{turn}.log"))).expect("to look");
            assert_eq!(made, turn == 9, "{turn}.log");
        }
        eventually(SOON, "descriptors and threads as before", || {
            (entries(&live, "fd"), entries(&live, "task")) == before
        });
    });
    assert_eq!(std::fs::read_to_string(&old).expect("it is not ours to remove"), "");
    drop(holder);
    let said = live.reload(&bad(10, "info"));
    assert!(said.iter().any(|line| line.contains("listening on")), "{said:?}");
    assert!(!said.iter().any(|line| line.contains("log_level")), "it was at that level still: {said:?}");
    let said = live.reload(&bad(10, "debug"));
    assert!(said.iter().any(|line| line.contains("reload: log_level is now debug")), "{said:?}");
}

#[test]
fn a_start_that_fails_leaves_no_log_file() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("bind");
    let taken = holder.local_addr().expect("an address").to_string();
    let log = std::env::temp_dir().join(format!("evenkeel-start-{}.log", std::process::id()));
    let mut command = crate::support::process::evenkeel();
    command.args(["--listen", &taken, "--access-log", &log.display().to_string()]);
    let output = crate::support::process::output_of(command);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!log.exists());
}
