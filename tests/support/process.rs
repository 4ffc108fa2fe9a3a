//! The real binaries as child processes, ended when the test ends.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Port, SOON, eventually};

fn binary(variable: &str, built: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| built.to_string())
}

/// A command that runs the balancer, free of what the environment would set.
pub(crate) fn evenkeel() -> Command {
    let mut command = Command::new(binary("EVENKEEL_BIN", env!("CARGO_BIN_EXE_evenkeel")));
    command.env_remove("PROXY_PORT").stdin(Stdio::null());
    command
}

/// A command that runs the test backend.
pub(crate) fn test_server() -> Command {
    let mut command = Command::new(binary("TEST_SERVER_BIN", env!("CARGO_BIN_EXE_test-server")));
    command.env_remove("SERVER_PORT").env_remove("SERVER_NAME").stdin(Stdio::null());
    command
}

/// Runs a command that is expected to end by itself.
#[track_caller]
pub(crate) fn output_of(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawn");
    let status = exit_of(&mut child, SOON);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    child.stdout.take().map(|mut s| s.read_to_end(&mut stdout));
    child.stderr.take().map(|mut s| s.read_to_end(&mut stderr));
    match status {
        Some(status) => Output { status, stdout, stderr },
        None => panic!("{command:?} did not end; stderr: {}", String::from_utf8_lossy(&stderr)),
    }
}

/// How a child ended; killed and `None` when it had not by the deadline.
fn exit_of(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < deadline {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// A running balancer.
pub(crate) struct Evenkeel {
    child: Child,
    /// Where it listens, the first of several.
    pub(crate) address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Evenkeel {
    /// Starts it on a free loopback port, unless the arguments name another, and waits until it listens.
    #[track_caller]
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = evenkeel();
        if !arguments.iter().any(|a| matches!(*a, "--listen" | "--port")) {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.args(arguments);
        Self::run(command)
    }

    /// Starts a command made by [`evenkeel`] and waits until it listens.
    #[track_caller]
    pub(crate) fn run(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawn");
        let lines = Arc::default();
        collect(child.stderr.take(), &lines);
        collect(child.stdout.take(), &lines);
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut started = Self { child, address: unknown, lines };
        eventually(SOON, "the line `listening on ADDRESS`", || {
            if let Ok(Some(status)) = started.child.try_wait() {
                panic!("evenkeel ended at start: {status}");
            }
            let found = started.addresses();
            found.first().map(|a| started.address = *a).is_some()
        });
        started
    }

    /// Every address it says it listens on; an address for all interfaces becomes the loopback one.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let lines = self.lines();
        let named = lines.iter().filter_map(|l| l.split_once("listening on "));
        let parsed =
            named.filter_map(|(_, a)| a.split_whitespace().next()?.trim_end_matches(',').parse().ok());
        let local = parsed.map(|a: SocketAddr| match a.ip().is_unspecified() {
            true => SocketAddr::from(([127, 0, 0, 1], a.port())),
            false => a,
        });
        local.collect()
    }

    /// Everything it has written so far, stdout and stderr.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// How many lines so far name both, the second as a whole word in any case.
    pub(crate) fn lines_with(&self, text: &str, word: &str) -> usize {
        let has =
            |line: &String| line.split(|c: char| !c.is_alphanumeric()).any(|w| w.eq_ignore_ascii_case(word));
        self.lines().iter().filter(|l| l.contains(text) && has(l)).count()
    }

    /// Sends a signal: TERM and INT drain, STOP and CONT freeze and thaw.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a signal to our child");
    }

    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// How it ended; fails the test when it has not by the deadline.
    #[track_caller]
    pub(crate) fn exit_within(&mut self, deadline: Duration) -> ExitStatus {
        exit_of(&mut self.child, deadline)
            .unwrap_or_else(|| panic!("evenkeel did not end within {deadline:?}"))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory it has ever had resident, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("process status");
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("VmHWM");
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kibibytes * 1024
    }
}

impl Drop for Evenkeel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let lines = self.lines();
            let from = lines.len().saturating_sub(40);
            eprintln!("what evenkeel said last:\n  {}", lines[from..].join("\n  "));
        }
    }
}

fn collect(from: Option<impl Read + Send + 'static>, lines: &Arc<Mutex<Vec<String>>>) {
    let lines = lines.clone();
    let from = from.expect("a pipe");
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            lines.lock().unwrap().push(line);
        }
    });
}

/// The project's own test backend, a real process on a port that stays its own.
pub(crate) struct TestServer {
    port: Port,
    flags: &'static [&'static str],
    child: Option<Child>,
}

impl TestServer {
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`TestServer::start`], with further flags.
    #[track_caller]
    pub(crate) fn start_with(flags: &'static [&'static str]) -> Self {
        let mut server = Self { port: Port::reserve(), flags, child: None };
        server.run(true);
        server
    }

    pub(crate) fn url(&self) -> String {
        self.port.url()
    }

    /// What it says of itself in every answer.
    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    /// SIGKILL: every connection it had is gone at once.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again and waits until it accepts.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.run(false);
    }

    /// Runs it until it accepts. It listens on all addresses, at some of which another process may have the port;
    /// while nobody knows that port, another one will do.
    #[track_caller]
    fn run(&mut self, anywhere: bool) {
        eventually(SOON, "test-server accepts", || {
            let ended = self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if ended {
                if anywhere && self.child.is_some() {
                    self.port = Port::reserve();
                }
                let mut command = test_server();
                command.args(["--port", &self.port.number().to_string()]).args(self.flags);
                let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
                self.child = Some(child.expect("spawn test-server"));
            }
            TcpStream::connect(self.port.address).is_ok()
        });
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.kill();
    }
}
