//! The `evenkeel` command.

use std::io::Write;
use std::process::ExitCode;

use evenkeel::cli::{self, Outcome};
use evenkeel::config::{Backend, BackendUrl, Config};
use evenkeel::{control, demo, limits};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match cli::parse(&arguments, &|name| std::env::var_os(name)) {
        Outcome::Print(text) => {
            // Whoever closed the pipe has read enough.
            let _ = writeln!(std::io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Outcome::Refuse(line) => refuse(&line),
        Outcome::Run { config, log_level, demo } => {
            log_to_stderr(log_level);
            if demo { run_demo(config) } else { run(config) }
        }
    }
}

fn refuse(line: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "evenkeel: {line}");
    ExitCode::from(2)
}

fn log_to_stderr(level: log::LevelFilter) {
    let config = simplelog::ConfigBuilder::new()
        .set_time_format_rfc3339()
        .set_target_level(log::LevelFilter::Off)
        .set_location_level(log::LevelFilter::Off)
        .set_thread_level(log::LevelFilter::Off)
        .build();
    // A line in one write: lines of several threads, and what others print, must not mix.
    let stderr = std::io::LineWriter::with_capacity(limits::LOG_LINE, std::io::stderr());
    simplelog::WriteLogger::init(level, config, stderr).expect("nothing else sets a logger");
}

fn run(config: Config) -> ExitCode {
    match control::start(config, None) {
        Ok(running) => running.wait(),
        Err(error) => refuse(&error.to_string()),
    }
}

/// Balances over backends of its own, on free loopback ports.
fn run_demo(mut config: Config) -> ExitCode {
    let mut backends = Vec::new();
    for i in 1..=limits::DEMO_BACKENDS {
        match demo::Server::start(demo::Options { name: format!("demo-{i}"), ..demo::Options::default() }) {
            Ok(server) => backends.push(server),
            Err(error) => return refuse(&format!("--demo: cannot start a backend: {error}")),
        }
    }
    let url = |server: &demo::Server| BackendUrl { host: "127.0.0.1".into(), port: server.port() };
    let asked = config.pools[0].backends[0].clone();
    let backend = |server| Backend { url: url(server), ..asked.clone() };
    config.pools[0].backends = backends.iter().map(backend).collect();
    match control::start(config, None) {
        Ok(running) => {
            let host = running.addresses().first().map_or_else(|| "localhost".into(), visit);
            let text = format!(
                "evenkeel balances over {} backends of its own on http://{host}\n\
                 try it, several times:\n  curl -s http://{host}/\n\
                 see who is alive:\n  curl -s http://{host}/lb-status\n\
                 end it with Ctrl-C",
                backends.len()
            );
            let _ = writeln!(std::io::stdout(), "{text}");
            running.wait()
        }
        Err(error) => refuse(&error.to_string()),
    }
}

/// How a listening address is visited from this machine.
fn visit(address: &std::net::SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("localhost:{}", address.port()) } else { address.to_string() }
}
