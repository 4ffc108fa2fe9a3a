//! The admin listener: status, metrics, the page, commands.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};

use serde_json::Value;

use crate::support::process::evenkeel;
use crate::support::{Backend, Client, Evenkeel, Response, SOON, eventually};

mod browser;
mod causes;
pub(crate) mod commands;
mod documents;
pub(crate) mod gauges;
mod lanes;
mod manners;
pub(crate) mod metrics;
mod page;
mod status;

/// A backend that sends the second half of an answer when it is told to.
fn gated() -> (Backend, Sender<()>) {
    let (open, gate) = channel();
    let gate = Mutex::new(gate);
    let backend = Backend::start(move |_, reply| {
        reply.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")?;
        let _ = gate.lock().expect("one at a time").recv_timeout(SOON);
        reply.send("b")
    });
    (backend, open)
}

/// A balancer with an admin listener.
pub(crate) struct Admin {
    pub(crate) balancer: Evenkeel,
    pub(crate) address: SocketAddr,
    file: File,
}

/// A configuration file that is gone with its test.
struct File(PathBuf);

impl File {
    /// One with an admin listener on a free loopback port.
    fn with_admin(token: Option<&str>, rest: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("evenkeel-admin-{}-{}.toml", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        let token = token.map(|token| format!("token = \"{token}\"\n")).unwrap_or_default();
        std::fs::write(&path, format!("[admin]\naddress = \"127.0.0.1:0\"\n{token}{rest}")).expect("a file");
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Where its admin listener is.
#[track_caller]
pub(crate) fn address_of(balancer: &Evenkeel) -> SocketAddr {
    let mut address = None;
    eventually(SOON, "the line that names the admin listener", || {
        let lines = balancer.lines();
        let mut named = lines.iter().filter_map(|line| line.split_once("commands on http://"));
        address = named.find_map(|(_, rest)| rest.trim_end_matches('/').parse().ok());
        address.is_some()
    });
    address.expect("an address")
}

impl Admin {
    #[track_caller]
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::run(arguments, None, "")
    }

    /// One that asks for a token.
    #[track_caller]
    pub(crate) fn start_with_token(arguments: &[&str], token: &str) -> Self {
        Self::run(arguments, Some(token), "")
    }

    /// One whose file says more.
    #[track_caller]
    pub(crate) fn start_with_file(rest: &str) -> Self {
        Self::run(&[], None, rest)
    }

    #[track_caller]
    fn run(arguments: &[&str], token: Option<&str>, rest: &str) -> Self {
        let mut command = evenkeel();
        let file = File::with_admin(token, rest);
        command.arg("--config").arg(&file.0).args(arguments);
        if !rest.contains("[[listener]]") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let balancer = Evenkeel::run(command);
        Self { address: address_of(&balancer), balancer, file }
    }

    /// Its configuration file.
    pub(crate) fn file(&self) -> &Path {
        &self.file.0
    }

    /// One request with these field lines, each ending in CRLF, on a connection of its own.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, target: &str, fields: &str, body: &str) -> Response {
        let (address, length) = (self.address, body.len());
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {length}\r\n") };
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {address}\r\n{fields}{length}Connection: close\r\n\r\n{body}"
        );
        Client::connect(address).exchange(method, request).expect("an answer")
    }

    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Response {
        self.ask("GET", target, "", "")
    }

    /// A JSON document that must be there.
    #[track_caller]
    pub(crate) fn json(&self, target: &str) -> Value {
        let response = self.get(target);
        assert_eq!(response.status, 200, "{target}: {}", response.text());
        assert_eq!(response.head.joined("content-type"), "application/json");
        serde_json::from_str(&response.text()).expect("JSON")
    }

    /// A command, and what it answered.
    #[track_caller]
    pub(crate) fn post(&self, target: &str, body: &str) -> (u16, Value) {
        let response = self.ask("POST", target, "Content-Type: application/json\r\n", body);
        (response.status, serde_json::from_str(&response.text()).expect("JSON"))
    }

    /// The backends of the first pool.
    #[track_caller]
    pub(crate) fn backends(&self) -> Vec<Value> {
        self.json("/api/status")["pools"][0]["backends"].as_array().expect("backends").clone()
    }
}
