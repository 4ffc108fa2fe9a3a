//! The proxies: evenkeel, and nginx and HAProxy where they are installed, each started for one backend.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::port::Port;

const START: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Evenkeel,
    Nginx,
    Haproxy,
}

/// A proxy that runs. Dropping it ends it.
pub(crate) struct Proxy {
    child: Child,
    pub(crate) port: u16,
    /// Holds the port, where it was not for the proxy to choose.
    _reserved: Option<Port>,
    directory: PathBuf,
}

impl Kind {
    /// The program, `None` where it is not installed.
    pub(crate) fn program(self) -> Option<PathBuf> {
        let name = match self {
            Self::Evenkeel => return Some(env!("CARGO_BIN_EXE_evenkeel").into()),
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        };
        // Where distributions keep daemons is often not on a user's path.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
        directories.map(|directory| directory.join(name)).find(|file| file.is_file())
    }

    /// Name and version, as the head of a column.
    pub(crate) fn title(self) -> String {
        let name = match self {
            Self::Evenkeel => return "evenkeel".into(),
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
        };
        let output = self.program().and_then(|program| Command::new(program).arg("-v").output().ok());
        let said = output.map(|o| [o.stdout, o.stderr].concat()).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).into_owned();
        let is_version = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
        let version =
            said.split_whitespace().map(|word| word.rsplit('/').next().unwrap_or(word)).find(is_version);
        format!("{name} {}", version.and_then(|v| v.split('-').next()).unwrap_or_default())
    }

    /// How long a client waits for it. Of the others nothing is promised, so that much is not waited for.
    pub(crate) fn patience(self) -> Duration {
        if self == Self::Evenkeel { Duration::from_secs(5) } else { Duration::from_millis(500) }
    }

    /// Starts it and waits until it takes connections.
    pub(crate) fn start(self, backend: u16, lane: usize) -> io::Result<Proxy> {
        let directory = format!("evenkeel-differential-{}-{self:?}-{lane}", std::process::id());
        let directory = std::env::temp_dir().join(directory);
        fs::create_dir_all(&directory)?;
        let (command, reserved) = self.command(backend, &directory)?;
        let port = reserved.as_ref().map_or(0, Port::number);
        let output = File::create(directory.join("log"))?;
        let child = { command }
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .current_dir(&directory)
            .spawn()?;
        let mut proxy = Proxy { child, port, _reserved: reserved, directory };
        let deadline = Instant::now() + START;
        loop {
            if proxy.port == 0 {
                proxy.port = told_port(&proxy.said()).unwrap_or(0);
            }
            if proxy.port != 0 && TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).is_ok() {
                return Ok(proxy);
            }
            if proxy.child.try_wait()?.is_some() || Instant::now() > deadline {
                return Err(io::Error::other(format!("{self:?} does not start: {}", proxy.state())));
            }
            thread::sleep(PAUSE);
        }
    }

    /// The command, and its port where that is not for it to choose.
    fn command(self, backend: u16, directory: &Path) -> io::Result<(Command, Option<Port>)> {
        let program = self.program().ok_or(io::ErrorKind::NotFound)?;
        let mut command = Command::new(program);
        if self == Self::Evenkeel {
            // One worker, so that what it did before an answer is done before the next one too. No retries: what the
            // backend did is to be seen. No failure takes the only backend out.
            command.args(["--listen", "127.0.0.1:0", "--workers", "1", "--retries", "0"]);
            command.args(["--max-fails", "1000000", "--health-check-interval", "1h"]);
            command.args(["--backends", &format!("http://127.0.0.1:{backend}")]);
            return Ok((command, None));
        }
        let port = Port::reserve();
        let file = directory.join("conf");
        if self == Self::Nginx {
            fs::write(&file, nginx(port.number(), backend, directory))?;
            command.arg("-p").arg(directory).arg("-c").arg(&file);
        } else {
            fs::write(&file, haproxy(port.number(), backend))?;
            command.arg("-db").arg("-f").arg(&file);
        }
        Ok((command, Some(port)))
    }
}

impl Proxy {
    fn said(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Whether it runs, and all that it said.
    pub(crate) fn state(&mut self) -> String {
        let state = match self.child.try_wait() {
            Ok(Some(status)) => status.to_string(),
            _ => "runs".to_owned(),
        };
        format!("{state}; it said:\n{}", self.said())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself, which the cases will have noticed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn told_port(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once("listening on 127.0.0.1:")?;
    let (port, _) = rest.split_once('\n')?;
    port.trim().parse().ok()
}

/// The settings that guides give for a proxy to HTTP/1.1 backends with WebSockets; the rest are nginx's own.
fn nginx(port: u16, backend: u16, directory: &Path) -> String {
    let dir = directory.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("  {kind}_temp_path {dir}/{kind};\n"))
        .collect();
    format!(
        "daemon off;
master_process off;
pid {dir}/pid;
error_log {dir}/error.log;
events {{ worker_connections 256; }}
http {{
{temporary}  access_log off;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream backend {{ server 127.0.0.1:{backend} max_fails=0; keepalive 8; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_next_upstream off;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Host $host;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
}}
"
    )
}

fn haproxy(port: u16, backend: u16) -> String {
    format!(
        "global
  nbthread 1
  maxconn 200
defaults
  mode http
  timeout client 10s
  timeout server 10s
  timeout connect 5s
  option forwardfor
  retries 0
  http-reuse always
frontend clients
  bind 127.0.0.1:{port}
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Proto http
  default_backend backend
backend backend
  server backend 127.0.0.1:{backend}
"
    )
}
