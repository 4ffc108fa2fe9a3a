//! The `evenkeel` command.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use evenkeel::cli::{self, Outcome, Reader, Setup};
use evenkeel::config::{Admin, Backend, BackendUrl, Config};
use evenkeel::control::{Source, Wanted};
use evenkeel::sys::stderr::Lines;
use evenkeel::{control, demo, limits};
use log::LevelFilter;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match cli::parse(&arguments, &|name| std::env::var_os(name)) {
        Outcome::Print(text) => {
            // Whoever closed the pipe has read enough.
            let _ = writeln!(std::io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Outcome::Refuse(line) => refuse(&line),
        Outcome::Report(report) => {
            let _ = writeln!(std::io::stderr(), "{report}");
            ExitCode::from(2)
        }
        Outcome::Run { setup, demo, reader } => {
            if let Err(error) = log_to_stderr() {
                return refuse(&format!("cannot start the log: {error}"));
            }
            let (config, source) = (begin(setup), reader.map(source));
            let code = if demo { run_demo(config, source) } else { run(config, source) };
            log::logger().flush();
            code
        }
    }
}

fn refuse(line: &str) -> ExitCode {
    // What was logged before comes first.
    log::logger().flush();
    let _ = writeln!(std::io::stderr(), "evenkeel: {line}");
    ExitCode::from(2)
}

/// How much is logged is said by the level that is set later, and again at each reload.
fn log_to_stderr() -> std::io::Result<()> {
    // As wide at any time, so that lines sort as text.
    let config = simplelog::ConfigBuilder::new()
        .set_time_format_custom(simplelog::format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
        ))
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .build();
    // A line in one write: lines of several threads, and what others print, must not mix.
    let stderr = std::io::LineWriter::with_capacity(limits::LOG_LINE, Lines::start()?);
    simplelog::WriteLogger::init(LevelFilter::Debug, config, stderr).expect("nothing else sets a logger");
    Ok(())
}

/// Has a setup's log level in force and its warnings logged.
fn begin(setup: Setup) -> Config {
    log::set_max_level(setup.log_level);
    setup.warnings.iter().for_each(|warning| log::warn!("{warning}"));
    setup.config
}

fn source(reader: Reader) -> Source {
    let wanted = |Setup { config, log_level, warnings }| Wanted { config, log_level, warnings };
    Box::new(move || reader.read().map(wanted))
}

fn run(config: Config, source: Option<Source>) -> ExitCode {
    match control::start(config, source) {
        Ok(running) => running.wait(),
        Err(error) => refuse(&error.to_string()),
    }
}

/// Balances over backends of its own, on free loopback ports.
fn run_demo(config: Config, source: Option<Source>) -> ExitCode {
    let mut backends = Vec::new();
    for i in 1..=limits::DEMO_BACKENDS {
        match demo::Server::start(demo::Options { name: format!("demo-{i}"), ..demo::Options::default() }) {
            Ok(server) => backends.push(server),
            Err(error) => return refuse(&format!("--demo: cannot start a backend: {error}")),
        }
    }
    let url = |server: &demo::Server| BackendUrl { host: "127.0.0.1".into(), port: server.port() };
    let urls: Vec<BackendUrl> = backends.iter().map(url).collect();
    let own = move |mut config: Config| {
        for pool in &mut config.pools {
            let asked = pool.backends[0].clone();
            pool.backends = urls.iter().map(|url| Backend { url: url.clone(), ..asked.clone() }).collect();
        }
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        config.admin = config.admin.or(Some(Admin { address: loopback, token: None }));
        config
    };
    let config = own(config);
    let own = move |wanted: Wanted| Wanted { config: own(wanted.config), ..wanted };
    let source = source.map(|source| -> Source { Box::new(move || source().map(&own)) });
    match control::start(config, source) {
        Ok(running) => {
            let host = running.addresses().first().map_or_else(|| "localhost".into(), visit);
            let dashboard = running.admin().map_or_else(String::new, |address| visit(&address));
            if let Some(Err(error)) =
                running.addresses().first().map(|&address| demo::traffic::start(address))
            {
                log::warn!("the demo has no traffic of its own: {error}");
            }
            let text = format!(
                "evenkeel balances over {} backends of its own on http://{host}\n\
                 try it, several times:\n  curl -s http://{host}/\n\
                 see who is alive:\n  curl -s http://{host}/lb-status\n\
                 watch it, with a little traffic of its own:\n  http://{dashboard}/\n\
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
fn visit(address: &SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("localhost:{}", address.port()) } else { address.to_string() }
}
