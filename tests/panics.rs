//! A panic in any thread ends the process: never a half-dead balancer.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use evenkeel::config::{Config, Listener};
use evenkeel::control;

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
