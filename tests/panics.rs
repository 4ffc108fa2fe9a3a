//! A panic in any thread ends the process: never a half-dead balancer.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use evenkeel::config::{Config, Listener};
use evenkeel::control;

use crate::support::SOON;
use crate::support::process::output_of;

/// Set in the process that is to panic: this very test, run again.
const MARK: &str = "EVENKEEL_TEST_PANIC";

#[test]
fn a_panic_in_a_thread_ends_the_process_with_its_message() {
    if std::env::var_os(MARK).is_some() {
        return balance_and_panic();
    }
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    let test = "panics::a_panic_in_a_thread_ends_the_process_with_its_message";
    command.args(["--exact", test, "--nocapture"]).env(MARK, "1");
    let output = output_of(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("a mistake that nobody expected"), "{said}");
    assert!(!said.contains("it lived on"), "{said}");
    assert!(!output.status.success() && output.status.signal().is_some(), "{:?}", output.status);
}

#[test]
fn a_panic_ends_the_process_though_nobody_reads_why() {
    if std::env::var_os(MARK).is_some() {
        let (locked, is_locked) = std::sync::mpsc::channel();
        let stuck = std::thread::spawn(move || {
            let mut stderr = std::io::stderr().lock();
            locked.send(()).expect("somebody waits for it");
            // More than a pipe holds.
            stderr.write_all(&[b'.'; 1024 * 1024])
        });
        is_locked.recv().expect("it locks");
        balance_and_panic();
        let _ = stuck.join();
        return;
    }
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    let test = "panics::a_panic_ends_the_process_though_nobody_reads_why";
    command.args(["--exact", test, "--nocapture"]).env(MARK, "1");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("this test again");
    let began = Instant::now();
    let ended = loop {
        match child.try_wait().expect("its state") {
            None if began.elapsed() < SOON => std::thread::sleep(Duration::from_millis(5)),
            ended => break ended,
        }
    };
    let _ = (child.kill(), child.wait());
    let ended = ended.expect("it ends");
    assert!(ended.signal().is_some(), "{ended:?}");
}

fn balance_and_panic() {
    let listeners = vec![Listener::new("127.0.0.1:0".parse().expect("an address"))];
    let config = Config { listeners, ..Config::default() };
    let running = control::start(config, None).expect("it starts");
    assert_eq!(running.addresses().len(), 1);
    let doomed = std::thread::spawn(|| panic!("a mistake that nobody expected"));
    let _ = doomed.join();
    std::thread::sleep(Duration::from_secs(1));
    eprintln!("it lived on");
}
