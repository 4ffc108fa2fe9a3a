//! The proxies and how each is configured: the same job for all, one worker, no access log.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::machine::Machine;
use crate::origin::Origin;
use crate::ports;
use crate::process::Process;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Evenkeel,
    Nginx,
    Haproxy,
    /// No proxy at all: the load goes straight to the origin.
    Direct,
}

/// A proxy that can be started.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    /// Its name in the table; the control has one of its own.
    pub(crate) name: &'static str,
    /// What it says of itself.
    pub(crate) version: String,
    program: PathBuf,
}

/// A started proxy that answers. Dropping it ends it.
pub(crate) struct Running {
    process: Option<Process>,
    pub(crate) port: u16,
}

impl Peer {
    /// Finds a proxy's program, at `given` or on the path, and asks for its version. `None`: not installed.
    pub(crate) fn find(kind: Kind, given: Option<PathBuf>, machine: &Machine, dir: &Path) -> Option<Peer> {
        let (name, flag) = match kind {
            Kind::Evenkeel => ("evenkeel", "--version"),
            Kind::Nginx => ("nginx", "-v"),
            Kind::Haproxy => ("haproxy", "-v"),
            Kind::Direct => {
                return Some(Peer {
                    kind,
                    name: "no proxy",
                    version: String::new(),
                    program: PathBuf::new(),
                });
            }
        };
        let program = match given {
            Some(path) => fs::canonicalize(path).ok()?,
            None => which(name)?,
        };
        let argv = [program.clone().into(), OsString::from(flag)];
        let said = Process::run("version", machine.load_cpu, &argv, dir, Duration::from_secs(5));
        Some(Peer { kind, name, version: version(name, &said.unwrap_or_default()), program })
    }

    /// The same program under another name: its ratio to the first shows what the run's noise is.
    pub(crate) fn control(&self) -> Peer {
        Peer { name: "evenkeel again", ..self.clone() }
    }

    /// Starts it on the proxy's CPU and waits until it leads to the origin and nobody else has its port.
    pub(crate) fn start(&self, machine: &Machine, origin: &Origin, dir: &Path) -> Result<Running, String> {
        if self.kind == Kind::Direct {
            return Ok(Running { process: None, port: origin.ports[0] });
        }
        let port = ports::free()?;
        let argv = self.argv(port, &origin.ports, dir).map_err(|e| format!("{}: {e}", self.name))?;
        let mut process = Process::start(self.name, machine.proxy_cpu, &argv, dir)?;
        process.wait_until("to answer from the origin", |_| origin.answers_through(port).then_some(()))?;
        let running = Running { process: Some(process), port };
        running.check()?;
        Ok(running)
    }

    fn argv(&self, port: u16, origins: &[u16], dir: &Path) -> std::io::Result<Vec<OsString>> {
        let program = self.program.clone().into_os_string();
        let mut argv = vec![program];
        match self.kind {
            Kind::Evenkeel => {
                let backends: Vec<_> = origins.iter().map(|o| format!("http://127.0.0.1:{o}")).collect();
                let listen = format!("127.0.0.1:{port}");
                let backends = backends.join(",");
                let flags =
                    ["--listen", &listen, "--workers", "1", "--log-level", "warn", "--backends", &backends];
                argv.extend(flags.map(OsString::from));
            }
            Kind::Nginx => {
                let file = dir.join("nginx.conf");
                fs::write(&file, nginx(port, origins, dir))?;
                argv.extend(["-p".into(), dir.into(), "-c".into(), file.into()]);
            }
            Kind::Haproxy => {
                let file = dir.join("haproxy.cfg");
                fs::write(&file, haproxy(port, origins))?;
                argv.extend(["-db".into(), "-f".into(), file.into()]);
            }
            Kind::Direct => {}
        }
        Ok(argv)
    }
}

impl Running {
    /// Checks that nobody else listens on its port.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.process.as_ref().map_or(Ok(()), |process| ports::owned(self.port, &process.tree()))
    }

    /// CPU time its process tree has used.
    pub(crate) fn cpu_time(&self) -> Result<Duration, String> {
        self.process.as_ref().map_or(Ok(Duration::ZERO), Process::cpu_time)
    }
}

/// A program on the path, or where distributions keep daemons that a user's path leaves out.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let daemons = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(daemons)
        .map(|d| d.join(name))
        .find(|file| fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0))
}

/// The first word with a digit and a dot in what a program prints about itself, without its own name.
fn version(name: &str, said: &str) -> String {
    let words = said.split_whitespace().map(|w| w.rsplit('/').next().unwrap_or(w));
    let is_version = |w: &&str| w.starts_with(|c: char| c.is_ascii_digit()) && w.contains('.');
    let number = words.into_iter().find(is_version).unwrap_or(match name {
        "evenkeel" => env!("CARGO_PKG_VERSION"),
        _ => "of unknown version",
    });
    format!("{name} {number}")
}

/// Traps: without `keepalive`, HTTP/1.1 and the empty Connection header nginx dials for every request; by default it
/// closes after 1,000 requests and buffers large answers in files.
fn nginx(port: u16, origins: &[u16], dir: &Path) -> String {
    let servers: String = origins.iter().map(|o| format!("server 127.0.0.1:{o}; ")).collect();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("  {kind}_temp_path {}/nginx-{kind};\n", dir.display()))
        .collect();
    let dir = dir.display();
    format!(
        "daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/nginx-error.log;
events {{ worker_connections 8192; multi_accept on; }}
http {{
{temporary}  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 300s;
  proxy_max_temp_file_size 0;
  upstream origins {{ {servers}keepalive 512; keepalive_requests 1000000000; keepalive_timeout 300s; }}
  server {{
    listen 127.0.0.1:{port} reuseport backlog=4096;
    location / {{
      proxy_pass http://origins;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
}}
"
    )
}

/// Trap: with `http-reuse safe`, the default, the first request of each client connection gets its own upstream.
fn haproxy(port: u16, origins: &[u16]) -> String {
    let servers: String = origins.iter().map(|o| format!("  server origin{o} 127.0.0.1:{o}\n")).collect();
    format!(
        "global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout client 300s
  timeout server 300s
  timeout connect 5s
  option forwardfor
  http-reuse always
frontend clients
  bind 127.0.0.1:{port} backlog 4096
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Proto http
  default_backend origins
backend origins
  balance roundrobin
  default-server pool-max-conn -1
{servers}"
    )
}
