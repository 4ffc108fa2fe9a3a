//! A route: which requests it means, and what becomes of them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{BackendUrl, RateLimit, Timeouts, quoted};

/// Requests of one kind and what becomes of them. All of its conditions must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// What log and status call it.
    pub name: String,
    /// Condition on the host; `None`: any.
    pub host: Option<HostPattern>,
    /// Condition on the path.
    pub path: PathPattern,
    /// Conditions on header fields.
    pub headers: Vec<HeaderMatch>,
    /// What becomes of the request.
    pub action: Action,
    /// What takes the place of the path prefix on the way to the backend.
    pub rewrite: Option<Rewrite>,
    /// Changes to the request's fields on their way to the backend.
    pub request_headers: FieldEdits,
    /// Changes to the response's fields on their way to the client.
    pub response_headers: FieldEdits,
    /// Bounds in time that differ from those of the whole.
    pub timeouts: RouteTimeouts,
    /// Requests that a client may bring to this route; `None`: any number.
    pub rate_limit: Option<RateLimit>,
}

impl Route {
    /// A route of all requests.
    #[must_use]
    pub fn new(name: String, action: Action) -> Self {
        Self {
            name,
            host: None,
            path: PathPattern::Any,
            headers: Vec::new(),
            action,
            rewrite: None,
            request_headers: FieldEdits::default(),
            response_headers: FieldEdits::default(),
            timeouts: RouteTimeouts::default(),
            rate_limit: None,
        }
    }
}

/// The hosts that a route means, in lower case and without a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This one.
    Exact(String),
    /// Every name that ends in this, which begins with a dot: `.example.com` of `*.example.com`.
    Wildcard(String),
}

impl FromStr for HostPattern {
    type Err = String;

    /// Reads `example.com` or `*.example.com`; the error is one line that does not repeat the value.
    fn from_str(text: &str) -> Result<Self, String> {
        const RIGHT: &str = "write a host like example.com or *.example.com";
        let (wildcard, name) = text.strip_prefix("*.").map_or((false, text), |name| (true, name));
        if name.is_empty() {
            return Err(format!("no host; {RIGHT}"));
        }
        if name.contains('*') {
            return Err(format!("a * may stand only at the beginning, before a dot; {RIGHT}"));
        }
        if name.contains("://") || name.contains('/') {
            return Err(format!("a host alone, without a scheme or a path; {RIGHT}"));
        }
        if !name.starts_with('[') && name.contains(':') {
            return Err(format!("a host alone, without a port; {RIGHT}"));
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        let host = format!("{name}:1").parse::<BackendUrl>()?.host;
        Ok(match (wildcard, host.contains(':')) {
            (true, true) => return Err(format!("an address has no names below it; {RIGHT}")),
            (true, false) => Self::Wildcard(format!(".{host}")),
            (false, true) => Self::Exact(format!("[{host}]")),
            (false, false) => Self::Exact(host),
        })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Wildcard(suffix) => write!(f, "*{suffix}"),
        }
    }
}

/// The paths that a route means, as clients write them: nothing is decoded, the query does not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// All.
    #[default]
    Any,
    /// This one and all below it: `/v1` means `/v1` and `/v1/x` but not `/v10`; `/v1/` means `/v1/x` but not `/v1`.
    Prefix(String),
    /// This one.
    Exact(String),
}

impl PathPattern {
    /// Whether a path without its query is meant.
    #[must_use]
    pub fn holds(&self, path: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => path == exact.as_bytes(),
            Self::Prefix(prefix) => below(path, prefix.as_bytes()),
        }
    }
}

/// Whether `path` is `prefix` or lies below it.
pub(super) fn below(path: &[u8], prefix: &[u8]) -> bool {
    let Some(rest) = path.strip_prefix(prefix) else { return false };
    rest.is_empty() || rest[0] == b'/' || prefix.ends_with(b"/")
}

/// Reads a path that a request line can have.
///
/// # Errors
/// One line that says what is wrong and what would be right; it does not repeat the value.
pub fn parse_path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err("must begin with /".to_owned());
    }
    if let Some(bad) = text.chars().find(|c| matches!(c, '?' | '#')) {
        return Err(format!("a path only, without a query or a fragment: {bad:?} may not stand in it"));
    }
    match text.chars().find(|c| !c.is_ascii_graphic()) {
        Some(bad) => Err(format!("only visible ASCII may stand in it: {bad:?} may not; write it as %XX")),
        None => Ok(text.to_owned()),
    }
}

/// A condition on a header field; of several of that name the first counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeaderMatch {
    /// Name of the field, in lower case.
    pub name: String,
    /// What it must be.
    pub value: ValueMatch,
}

/// What a header field must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ValueMatch {
    /// There, whatever it says.
    Present,
    /// Not there.
    Absent,
    /// There with exactly this value.
    Equals(String),
}

impl ValueMatch {
    /// Whether the field's value, or its absence, is as it must be.
    #[must_use]
    pub fn holds(&self, value: Option<&[u8]>) -> bool {
        match self {
            Self::Present => value.is_some(),
            Self::Absent => value.is_none(),
            Self::Equals(text) => value == Some(text.as_bytes()),
        }
    }
}

/// What becomes of a request. Pools are named by their index in [`super::Config::pools`].
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// It goes to a backend of that pool.
    Pool(usize),
    /// It goes to one of several pools, each by its weight; not all weights are 0.
    Split(Vec<(usize, u32)>),
    /// The client is sent elsewhere.
    Redirect(Redirect),
    /// It is answered here.
    Fixed(Fixed),
}

/// An answer that sends the client elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 307 or 308.
    pub status: u16,
    /// Where to.
    pub location: Location,
}

/// An answer that needs no backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// 200 to 599.
    pub status: u16,
    /// The whole body.
    pub body: String,
    /// The Content-Type field.
    pub content_type: String,
}

/// A URL or a path with places for parts of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location(Vec<Part>);

/// A piece of a [`Location`].
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Host,
    Path,
    Query,
    Uri,
}

const PARTS: [(&str, Part); 4] =
    [("{host}", Part::Host), ("{path}", Part::Path), ("{query}", Part::Query), ("{uri}", Part::Uri)];

impl Location {
    /// Appends it with the parts of a request put in: `authority` is its host with or without a port, `target` its
    /// path with the query.
    pub fn write(&self, authority: &[u8], target: &[u8], out: &mut Vec<u8>) {
        let (path, query) = match memchr::memchr(b'?', target) {
            Some(at) => (&target[..at], &target[at + 1..]),
            None => (target, &target[..0]),
        };
        for part in &self.0 {
            out.extend_from_slice(match part {
                Part::Text(text) => text.as_bytes(),
                Part::Host => host_of(authority),
                Part::Path => path,
                Part::Query => query,
                Part::Uri => target,
            });
        }
    }
}

impl FromStr for Location {
    type Err = String;

    /// Reads a URL or a path, with `{host}` (without a port), `{path}`, `{query}` and `{uri}` (path and query) where
    /// those of the request are to stand; the error is one line that does not repeat the value.
    fn from_str(text: &str) -> Result<Self, String> {
        if !["http://", "https://", "/"].iter().any(|start| text.starts_with(start)) {
            return Err(
                "must begin with https://, http:// or /; write it like https://{host}{uri}".to_owned()
            );
        }
        // A browser takes //name for another host, and a path of a request may well begin with //.
        if ["//", "/{path}", "/{uri}"].iter().any(|start| text.starts_with(start)) {
            return Err(
                "would lead to whatever host the path names; write it like https://{host}{uri}".to_owned()
            );
        }
        if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(format!("only visible ASCII may stand in it: {bad:?} may not; write it as %XX"));
        }
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(open) = rest.find(['{', '}']) {
            let place = PARTS.iter().find(|(name, _)| rest[open..].starts_with(name));
            let Some((name, part)) = place else {
                let end = rest[open..].find('}').map_or(rest.len(), |end| open + end + 1);
                let right = "it may be {host}, {path}, {query} or {uri}";
                return Err(format!("{} is no part of a request; {right}", quoted(&rest[open..end])));
            };
            parts.extend((open > 0).then(|| Part::Text(rest[..open].to_owned())));
            parts.push(part.clone());
            rest = &rest[open + name.len()..];
        }
        parts.extend((!rest.is_empty()).then(|| Part::Text(rest.to_owned())));
        Ok(Self(parts))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Text(text) => f.write_str(text)?,
                other => {
                    f.write_str(PARTS.iter().find(|(_, part)| part == other).map_or("", |(name, _)| name))?
                }
            }
        }
        Ok(())
    }
}

/// An authority without its port.
pub(super) fn host_of(authority: &[u8]) -> &[u8] {
    match memchr::memrchr(b':', authority) {
        Some(at) if authority[at + 1..].iter().all(u8::is_ascii_digit) => &authority[..at],
        _ => authority,
    }
}

/// What takes the place of a path prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// The prefix, without a / at its end.
    pub from: String,
    /// What stands there instead, without a / at its end; empty strips the prefix.
    pub to: String,
}

impl Rewrite {
    /// The two pieces that make the new target of one that lies below the prefix.
    #[must_use]
    pub fn apply<'a>(&'a self, target: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let rest = target.get(self.from.len()..).unwrap_or_default();
        match (self.to.as_bytes(), rest.first()) {
            (to, Some(b'/')) => (to, rest),
            (b"", _) => (b"/", rest),
            (to, _) => (to, rest),
        }
    }
}

/// Changes to header fields, made in this order: remove, set, add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldEdits {
    /// Takes the place of all fields of that name.
    pub set: Vec<(String, String)>,
    /// Comes beside what is there.
    pub add: Vec<(String, String)>,
    /// Goes.
    pub remove: Vec<String>,
}

impl FieldEdits {
    /// Whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// Bounds in time of one route; `None`: that of the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteTimeouts {
    /// See [`Timeouts::connect`].
    pub connect: Option<Duration>,
    /// See [`Timeouts::response`].
    pub response: Option<Duration>,
    /// See [`Timeouts::stall`].
    pub stall: Option<Duration>,
    /// See [`Timeouts::tunnel`].
    pub tunnel: Option<Duration>,
}

impl RouteTimeouts {
    /// Those of the whole with these laid over them.
    #[must_use]
    pub fn over(&self, whole: Timeouts) -> Timeouts {
        Timeouts {
            connect: self.connect.unwrap_or(whole.connect),
            response: self.response.unwrap_or(whole.response),
            stall: self.stall.unwrap_or(whole.stall),
            tunnel: self.tunnel.unwrap_or(whole.tunnel),
            ..whole
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read() {
        for (text, right) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("*.Example.com", "*.example.com"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("my_service", "my_service"),
        ] {
            assert_eq!(
                text.parse::<HostPattern>().map(|host| host.to_string()),
                Ok(right.to_owned()),
                "{text}"
            );
        }
        for (text, wrong) in [
            ("", "no host"),
            ("*", "a * may stand only"),
            ("*.", "no host"),
            ("*.*.com", "a * may stand only"),
            ("www.*", "a * may stand only"),
            ("*example.com", "a * may stand only"),
            ("http://a.com", "without a scheme"),
            ("a.com/x", "without a scheme or a path"),
            ("a.com:80", "without a port"),
            ("*.[::1]", "no names below it"),
            ("ä.com", "xn--"),
            ("a..b", "is not a host name"),
        ] {
            let line = text.parse::<HostPattern>().expect_err(text);
            assert!(line.contains(wrong), "{text}: {line}");
        }
    }

    #[test]
    fn prefixes_end_at_a_slash() {
        for (prefix, path, right) in [
            ("/v1", "/v1", true),
            ("/v1", "/v1/", true),
            ("/v1", "/v1/x", true),
            ("/v1", "/v10", false),
            ("/v1", "/v", false),
            ("/v1/", "/v1", false),
            ("/v1/", "/v1/", true),
            ("/v1/", "/v1/x", true),
            ("/", "/x", true),
            ("/", "*", false),
        ] {
            let holds = PathPattern::Prefix(prefix.to_owned()).holds(path.as_bytes());
            assert_eq!(holds, right, "{prefix} {path}");
        }
    }

    #[test]
    fn a_prefix_is_rewritten() {
        let rewrite = |from: &str, to: &str| Rewrite { from: from.to_owned(), to: to.to_owned() };
        for (from, to, target, right) in [
            ("/v1", "", "/v1/x?y=1", "/x?y=1"),
            ("/v1", "", "/v1", "/"),
            ("/v1", "", "/v1?y", "/?y"),
            ("/v1", "/new", "/v1", "/new"),
            ("/v1", "/new", "/v1?y", "/new?y"),
            ("/v1", "/new", "/v1/x", "/new/x"),
            ("", "/all", "/x", "/all/x"),
        ] {
            let rewrite = rewrite(from, to);
            let (first, rest) = rewrite.apply(target.as_bytes());
            assert_eq!([first, rest].concat(), right.as_bytes(), "{from} {to} {target}");
        }
    }

    #[test]
    fn a_location_takes_parts_of_the_request() {
        let cases = [
            ("https://{host}{uri}", "https://a.com/x?y=1"),
            ("https://{host}:8443{path}", "https://a.com:8443/x"),
            ("/new{path}?q={query}", "/new/x?q=y=1"),
            ("https://b.com/", "https://b.com/"),
        ];
        for (text, right) in cases {
            let location: Location = text.parse().expect(text);
            let mut out = Vec::new();
            location.write(b"a.com:8080", b"/x?y=1", &mut out);
            assert_eq!(String::from_utf8_lossy(&out), right);
            assert_eq!(location.to_string(), text);
        }
        let mut out = Vec::new();
        "https://{host}{uri}".parse::<Location>().expect("one").write(b"[::1]:80", b"/", &mut out);
        assert_eq!(out, b"https://[::1]/");
        for (text, wrong) in [
            ("", "must begin with"),
            ("ftp://x", "must begin with"),
            ("{uri}", "must begin with"),
            ("//x", "whatever host"),
            ("/{path}", "whatever host"),
            ("https://{hots}/", "\"{hots}\" is no part"),
            ("https://{host", "\"{host\" is no part"),
            ("https://a}", "\"}\" is no part"),
            ("https://a b", "' ' may not"),
        ] {
            let line = text.parse::<Location>().expect_err(text);
            assert!(line.contains(wrong), "{text}: {line}");
        }
    }
}
