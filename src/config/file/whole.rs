//! What a file says about the process as a whole.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use log::LevelFilter;

use super::given::{Given, Many};
use super::model;
use super::note::Notes;
use super::pool::above_zero;
use super::tree::Span;
use super::written::{As, Positive};
use crate::config::{
    AccessLog, Admin, Config, ErrorPage, Limits, LogFormat, Network, Timeouts, quoted, size,
};

/// An error page at most: it is sent whole, from memory.
const PAGE_MAX: u64 = 64 * 1024;
/// A bound in time above this bounds nothing that people wait for.
const LONG: Duration = Duration::from_secs(3600);
/// Tunnels may well be quiet for hours.
const LONG_TUNNEL: Duration = Duration::from_secs(24 * 3600);
/// A network with fewer bits than this holds clients of all the world.
const WIDE: u8 = 8;

pub(super) fn timeouts(given: &Given<model::Timeouts>, notes: &Notes) -> Timeouts {
    let default = Timeouts::default();
    let Some(timeouts) = given.get() else { return default };
    let read = |key: &str, given: &Given<As<Positive>>, default: Duration, long: Duration| {
        let timeout = given.or(default);
        if given.is_there() && timeout > long {
            let message =
                format!("{key} of more than {} h: what hangs is kept that long", long.as_secs() / 3600);
            notes.warning(given.span(), message);
        }
        timeout
    };
    Timeouts {
        head: read("head", &timeouts.head, default.head, LONG),
        idle: read("idle", &timeouts.idle, default.idle, LONG),
        connect: read("connect", &timeouts.connect, default.connect, LONG),
        response: read("response", &timeouts.response, default.response, LONG),
        stall: read("stall", &timeouts.stall, default.stall, LONG),
        tunnel: read("tunnel", &timeouts.tunnel, default.tunnel, LONG_TUNNEL),
        lifetime: timeouts.lifetime.read().filter(|lifetime| !lifetime.is_zero()),
        upstream_idle: read("backend_idle", &timeouts.backend_idle, default.upstream_idle, LONG),
    }
}

pub(super) fn limits(given: &Given<model::Limits>, notes: &Notes) -> Limits {
    let default = Limits::default();
    let Some(limits) = given.get() else { return default };
    let head = limits.max_head.or(default.head as u64) as usize;
    // A lower head alone must not be refused for a target that nobody asked for.
    let target = limits.max_target.or(default.target.min(head) as u64) as usize;
    if target > head {
        let message = format!(
            "max_target {}: more than max_head, {}, and a target stands in the head; lower this one or raise max_head",
            size(target as u64),
            size(head as u64)
        );
        notes.error(limits.max_target.span(), message);
    }
    Limits {
        head,
        fields: limits.max_headers.or(default.fields as u32) as usize,
        target,
        body: limits.max_body.read().map_or(default.body, |body| (body > 0).then_some(body)),
        body_rate: limits.min_body_rate.or(default.body_rate),
        requests: above_zero(&limits.max_requests).map(u64::from),
        connections: above_zero(&limits.max_connections).map(u64::from),
        connections_per_client: above_zero(&limits.max_connections_per_client),
        backend_idle: limits.backend_max_idle.or(default.backend_idle as u32) as usize,
    }
}

pub(super) fn log_level(level: model::LogLevel) -> LevelFilter {
    match level {
        model::LogLevel::Error => LevelFilter::Error,
        model::LogLevel::Warn => LevelFilter::Warn,
        model::LogLevel::Info => LevelFilter::Info,
        model::LogLevel::Debug => LevelFilter::Debug,
    }
}

pub(super) fn trust(given: &Many<As<Network>>, notes: &Notes) -> Vec<Network> {
    let mut networks: Vec<Network> = Vec::new();
    for (As(network), span) in given.each() {
        if networks.contains(network) {
            notes.error(span, format!("{network} stands twice in this list; keep one"));
        }
        if network.prefix < WIDE {
            let message = format!(
                "{network} trusts strangers: any client may then claim any address; name your own proxies only"
            );
            notes.warning(span, message);
        }
        networks.push(*network);
    }
    if networks.len() > crate::limits::NETWORKS_MAX {
        notes.error(given.key(), format!("at most {} networks are taken", crate::limits::NETWORKS_MAX));
    }
    networks
}

pub(super) fn admin(given: &Given<model::Admin>, config: &Config, notes: &Notes) -> Option<Admin> {
    let admin = given.get()?;
    if !admin.address.is_there() {
        notes.missing(
            given.span(),
            "address",
            "admin without an address; write address = \"127.0.0.1:9900\"".to_owned(),
        );
    }
    if let Some(token) = admin.token.read()
        && token.contains(|c: char| !c.is_ascii_graphic())
    {
        notes.error(admin.token.span(), "a token is visible ASCII without spaces (RFC 6750)".to_owned());
    }
    let address = admin.address.read()?;
    let meets = |other: &&SocketAddr| {
        let (ip, other_ip) = (address.ip().to_canonical(), other.ip().to_canonical());
        let same = ip == other_ip || ip.is_unspecified() || other_ip.is_unspecified();
        same && address.port() == other.port() && address.port() != 0
    };
    if let Some(other) = config.listeners.iter().map(|listener| listener.address).find(|other| meets(&other))
    {
        let message = format!(
            "address \"{address}\": the listener on {other} has it; give the admin a port of its own"
        );
        notes.error(admin.address.span(), message);
    }
    if !address.ip().to_canonical().is_loopback() && !admin.token.is_there() {
        let message = "admin can be reached from other machines and asks for no token; \
                       add token = \"…\" or listen on 127.0.0.1";
        notes.warning(admin.address.span(), message.to_owned());
    }
    Some(Admin { address, token: admin.token.read() })
}

pub(super) fn access_log(
    given: &Given<model::AccessLog>,
    directory: &Path,
    notes: &Notes,
) -> Option<AccessLog> {
    let log = given.get()?;
    if !log.path.is_there() {
        let message = "access_log to where? Write path = \"access.log\", or \"-\" for standard output";
        notes.missing(given.span(), "path", message.to_owned());
    }
    let path = log.path.read()?;
    let format = match log.format.get() {
        None | Some(model::LogFormat::Text) => LogFormat::Text,
        Some(model::LogFormat::Json) => LogFormat::Json,
    };
    Some(AccessLog { path: (path != "-").then(|| directory.join(path)), format })
}

/// Error pages, each read from its file.
pub(super) fn error_pages(given: &Many<model::ErrorPage>, directory: &Path, notes: &Notes) -> Vec<ErrorPage> {
    given.each().filter_map(|(page, span)| error_page(page, span, directory, notes)).collect()
}

fn error_page(page: &model::ErrorPage, span: Span, directory: &Path, notes: &Notes) -> Option<ErrorPage> {
    if !page.statuses.is_there() {
        notes.missing(span, "statuses", "an error_page for what? Write statuses = \"5xx\"".to_owned());
    }
    if !page.file.is_there() {
        notes.missing(span, "file", "an error_page without a file; write file = \"sorry.html\"".to_owned());
    }
    if let Some(statuses) = page.statuses.read()
        && (statuses.is_empty() || (100..400).any(|status| statuses.contains(status)))
    {
        notes.error(page.statuses.span(), format!("statuses \"{statuses}\": errors are 400 to 599"));
    }
    let file = page.file.read()?;
    let (statuses, body) = (page.statuses.read()?, read(&directory.join(&file)));
    let body = body
        .map_err(|reason| notes.error(page.file.span(), format!("file {}: {reason}", quoted(&file))))
        .unwrap_or_default();
    let html = [".html", ".htm"].iter().any(|end| file.ends_with(end));
    let guess = match (html, file.ends_with(".json")) {
        (true, _) => "text/html; charset=utf-8",
        (_, true) => "application/json",
        _ => "text/plain; charset=utf-8",
    };
    let content_type = page.content_type.or(guess.to_owned());
    Some(ErrorPage { statuses, body, content_type })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {}", said(&error));
    let length = std::fs::metadata(path).map_err(cannot)?.len();
    if length > PAGE_MAX {
        return Err(format!("has more than {} bytes, which is what an error page may have", size(PAGE_MAX)));
    }
    std::fs::read(path).map_err(cannot)
}

/// What the system says, in one phrase.
pub(super) fn said(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "not permitted".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => error.to_string(),
    }
}
