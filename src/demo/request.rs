//! From the bytes of a request head to what must be known to answer it.

use std::io::Write;

use super::body::Body;

/// More headers than a browser, a balancer and a tracing system add together.
const HEADERS_MAX: usize = 100;

/// Why a request is not answered as asked. The connection is closed after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Malformed,
    TooLate,
    TooLarge,
    NotImplemented,
    Version,
}

impl Refusal {
    /// Status code and reason phrase.
    pub(super) fn status(self) -> &'static str {
        match self {
            Self::Malformed => "400 Bad Request",
            Self::TooLate => "408 Request Timeout",
            Self::TooLarge => "431 Request Header Fields Too Large",
            Self::NotImplemented => "501 Not Implemented",
            Self::Version => "505 HTTP Version Not Supported",
        }
    }
}

impl From<httparse::Error> for Refusal {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::TooLarge,
            httparse::Error::Version => Self::Version,
            _ => Self::Malformed,
        }
    }
}

/// A request head, understood.
#[derive(Debug)]
pub(super) struct Head {
    /// Its length in bytes, the empty line included.
    pub(super) length: usize,
    pub(super) is_http_10: bool,
    /// The client would send another request on this connection.
    pub(super) keep_alive: bool,
    /// The method is HEAD: the answer must have no body.
    pub(super) wants_head_only: bool,
    /// The client waits for a 100 before it sends the body.
    pub(super) expects_continue: bool,
    /// The path is `/fail`.
    pub(super) tells_to_fail: bool,
    pub(super) body: Body,
}

/// Reads a head from the front of `bytes`; `None` when there must be more. The request line and the headers of a
/// whole head replace what is in `echo`, a line each.
pub(super) fn read_head(bytes: &[u8], echo: &mut Vec<u8>) -> Result<Option<Head>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = request.parse(bytes)? else { return Ok(None) };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Refusal::Malformed);
    };
    // Its target is no path, and a 200 would promise a tunnel.
    if method == "CONNECT" {
        return Err(Refusal::NotImplemented);
    }
    echo.clear();
    // Writing to a vector cannot fail.
    let _ = writeln!(echo, "{method} {target} HTTP/1.{minor}");
    let mut fields = Fields::default();
    for header in request.headers.iter() {
        fields.add(header.name, header.value)?;
        echo.extend_from_slice(header.name.as_bytes());
        echo.extend_from_slice(b": ");
        echo.extend_from_slice(header.value);
        echo.push(b'\n');
    }
    let is_http_10 = minor == 0;
    if fields.hosts > 1 || (fields.hosts == 0 && !is_http_10) {
        return Err(Refusal::Malformed);
    }
    Ok(Some(Head {
        length,
        is_http_10,
        keep_alive: !fields.close && (fields.keep_alive || !is_http_10),
        wants_head_only: method == "HEAD",
        expects_continue: fields.expects_continue && !is_http_10,
        tells_to_fail: path(target) == "/fail",
        body: fields.body(is_http_10)?,
    }))
}

/// What the headers that matter to the connection say.
#[derive(Default)]
struct Fields {
    hosts: usize,
    length: Option<u64>,
    has_codings: bool,
    other_codings: usize,
    ends_chunked: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
}

impl Fields {
    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), Refusal> {
        if name.eq_ignore_ascii_case("host") {
            self.hosts += 1;
        } else if name.eq_ignore_ascii_case("content-length") {
            let length = parse_length(value).ok_or(Refusal::Malformed)?;
            if self.length.replace(length).is_some_and(|before| before != length) {
                return Err(Refusal::Malformed);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            self.has_codings = true;
            for coding in tokens(value) {
                // Nothing may be applied over chunked, not even chunked.
                if self.ends_chunked {
                    return Err(Refusal::Malformed);
                }
                self.ends_chunked = coding.eq_ignore_ascii_case(b"chunked");
                self.other_codings += usize::from(!self.ends_chunked);
            }
        } else if name.eq_ignore_ascii_case("connection") {
            for option in tokens(value) {
                self.close |= option.eq_ignore_ascii_case(b"close");
                self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if name.eq_ignore_ascii_case("expect") {
            self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue");
        }
        Ok(())
    }

    fn body(&self, is_http_10: bool) -> Result<Body, Refusal> {
        if !self.has_codings {
            return Ok(Body::sized(self.length.unwrap_or(0)));
        }
        // Two framings, or one that HTTP/1.0 does not know, are how requests are smuggled.
        if !self.ends_chunked || self.length.is_some() || is_http_10 {
            return Err(Refusal::Malformed);
        }
        if self.other_codings > 0 { Err(Refusal::NotImplemented) } else { Ok(Body::chunked()) }
    }
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

fn parse_length(value: &[u8]) -> Option<u64> {
    // `parse` alone would take a plus sign.
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The path of a request target, which may be a whole URL, without its query.
fn path(target: &str) -> &str {
    let from_path = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => target,
    };
    from_path.split_once('?').map_or(from_path, |(path, _)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Head, Refusal> {
        read_head(text.as_bytes(), &mut Vec::new()).map(|head| head.expect("a whole head"))
    }

    #[test]
    fn a_head_is_whole_or_not_there() {
        let text = b"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
        let mut echo = Vec::new();
        for end in 0..text.len() - 5 {
            assert!(read_head(&text[..end], &mut echo).is_ok_and(|head| head.is_none()), "{end} bytes");
        }
        let head = read_head(text, &mut echo).ok().flatten().expect("a whole head");
        assert_eq!(head.length, text.len() - 5);
        assert_eq!(echo, b"POST /a?b HTTP/1.1\nHost: x\nContent-Length: 5\n");
    }

    #[test]
    fn keep_alive_follows_version_and_connection() {
        for (version, connection, keep_alive) in [
            ("1.1", "", true),
            ("1.1", "Connection: Close\r\n", false),
            ("1.1", "Connection: x, close\r\n", false),
            ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
        ] {
            let head = head(&format!("GET / HTTP/{version}\r\nHost: x\r\n{connection}\r\n")).expect("good");
            assert_eq!(head.keep_alive, keep_alive, "{version} {connection:?}");
        }
    }

    #[test]
    fn unclear_requests_are_refused() {
        for (fields, refusal) in [
            ("", Refusal::Malformed),
            ("Host: a\r\nHost: a\r\n", Refusal::Malformed),
            ("Host: a\r\nContent-Length: +5\r\n", Refusal::Malformed),
            ("Host: a\r\nContent-Length:\r\n", Refusal::Malformed),
            ("Host: a\r\nContent-Length: 5, 5\r\n", Refusal::Malformed),
            ("Host: a\r\nContent-Length: 99999999999999999999\r\n", Refusal::Malformed),
            ("Host: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n", Refusal::Malformed),
            ("Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", Refusal::Malformed),
            ("Host: a\r\nTransfer-Encoding:\r\n", Refusal::Malformed),
            ("Host: a\r\nTransfer-Encoding: gzip\r\n", Refusal::Malformed),
            ("Host: a\r\nTransfer-Encoding: chunked, gzip\r\n", Refusal::Malformed),
            ("Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Refusal::Malformed),
            ("Host: a\r\nTransfer-Encoding: gzip, chunked\r\n", Refusal::NotImplemented),
            ("Host : a\r\n", Refusal::Malformed),
            (&"A: b\r\n".repeat(HEADERS_MAX + 1), Refusal::TooLarge),
        ] {
            let outcome = head(&format!("GET / HTTP/1.1\r\n{fields}\r\n"));
            assert_eq!(outcome.err(), Some(refusal), "{fields:?}");
        }
        assert_eq!(head("GET / HTTP/2.0\r\n\r\n").err(), Some(Refusal::Version));
        assert_eq!(head("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n").err(), Some(Refusal::NotImplemented));
        let chunked_10 = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(head(chunked_10).err(), Some(Refusal::Malformed));
    }

    #[test]
    fn the_path_is_found_in_every_form() {
        for (target, expected) in [
            ("/fail", "/fail"),
            ("/fail?a=http://b/c", "/fail"),
            ("/a?u=x://y/fail", "/a"),
            ("http://a:1/fail?b", "/fail"),
            ("http://a", "/"),
            ("*", "*"),
        ] {
            assert_eq!(path(target), expected, "{target}");
        }
    }
}
