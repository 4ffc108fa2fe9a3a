//! Standard error that nobody reads: lines are lost, and no request waits.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::process::evenkeel;
use crate::support::{Backend, Client, SOON, eventually};

/// Ends with the test, whichever way that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_log_that_nobody_reads_makes_no_request_wait() {
    let backend = Backend::named("a");
    let mut command = evenkeel();
    command.args(["--listen", "127.0.0.1:0", "--workers", "1", "--log-level", "debug"]);
    // Each request beyond the first leaves a line.
    command.args(["--rate-limit", "1/1h", "--backends", &backend.url()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().expect("it starts"));
    let mut said = BufReader::new(running.0.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("listening on ") {
        line.clear();
        assert!(said.read_line(&mut line).expect("its log") > 0, "it ended");
    }
    let address = line.rsplit(' ').next().expect("an address").trim().parse().expect("an address");
    let mut client = Client::connect(address);
    assert_eq!(client.get("/").expect("an answer").status, 200);
    // The pipe and the queue together hold less than two thousand lines.
    for _ in 0..4_000 {
        assert_eq!(client.get("/").expect("an answer").status, 429);
    }
    kill_process(Pid::from_child(&running.0), Signal::TERM).expect("it runs");
    drop(client);
    eventually(SOON, "it ends", || running.0.try_wait().expect("its state").is_some());
    assert!(running.0.wait().expect("its end").success());
    let mut rest = Vec::new();
    said.read_to_end(&mut rest).expect("what it could say");
    assert!(rest.len() > 10_000 && !String::from_utf8_lossy(&rest).contains("drained"), "it was stuck");
}
