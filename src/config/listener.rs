//! Where requests come in, and what stands beside the listeners: admin, access log, error pages.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Action, ProxyProtocol, Routes, Statuses};

/// An address to listen on and what becomes of what comes in there.
#[derive(Clone, Debug)]
pub struct Listener {
    /// What log and status call it.
    pub name: String,
    /// Where it listens; port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// What is spoken there.
    pub mode: Mode,
    /// Whose headers of the PROXY protocol are taken; `None`: nobody's.
    pub proxy: Option<ProxyProtocol>,
    /// Index of the pool that serves what no route means; `None`: that is answered with 404.
    pub pool: Option<usize>,
    /// What goes elsewhere.
    pub routes: Routes,
}

impl Listener {
    /// A listener of HTTP that leads to the first pool; its name is its address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let name = address.to_string();
        Self { name, address, mode: Mode::Http, proxy: None, pool: Some(0), routes: Routes::default() }
    }

    /// Indices of the pools that its requests may go to, some more than once.
    pub fn pools(&self) -> impl Iterator<Item = usize> {
        let routes = self.routes.all().iter().flat_map(|route| match &route.action {
            Action::Pool(pool) => vec![*pool],
            Action::Split(shares) => shares.iter().map(|(pool, _)| *pool).collect(),
            Action::Redirect(_) | Action::Fixed(_) => Vec::new(),
        });
        self.pool.into_iter().chain(routes)
    }
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// HTTP/1: requests are balanced.
    #[default]
    Http,
    /// Anything over TCP: connections are balanced, and their bytes pass untouched.
    Tcp,
}

/// The listener for those who run the balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub address: SocketAddr,
    /// What a client must bring as its bearer token; `None`: nothing.
    pub token: Option<String>,
}

/// A line for each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Where it is written; `None`: to standard output.
    pub path: Option<PathBuf>,
    /// How a line looks.
    pub format: LogFormat,
}

impl AccessLog {
    /// The file's name as a line says it, `-` for standard output.
    #[must_use]
    pub fn place(&self) -> String {
        self.path.as_ref().map_or_else(|| "-".to_owned(), |path| path.display().to_string())
    }
}

impl std::fmt::Display for AccessLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let format = match self.format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        write!(f, "{} in {format}", self.place())
    }
}

/// How a line of the access log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// The combined format, with more at its end.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// The body of error replies of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorPage {
    /// The statuses that it is for, 400 to 599; of several pages for one the first counts.
    pub statuses: Statuses,
    /// As it stood in its file when that was read.
    pub body: Vec<u8>,
    /// The Content-Type field.
    pub content_type: String,
}
