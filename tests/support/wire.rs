//! A small strict reader of HTTP/1 messages. What RFC 9112 calls invalid is an error here, never repaired.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Body bytes kept for comparison; longer bodies are checked against [`Pattern`] as they pass.
const KEPT: usize = 1 << 20;
/// Longest line accepted.
const LINE_MAX: usize = 64 << 10;

/// Where bytes are cut on their way into a socket.
#[derive(Clone, Debug)]
pub(crate) enum Split {
    Whole,
    /// Two pieces, cut at this offset.
    At(usize),
    /// Pieces of this many bytes.
    Every(usize),
}

/// Writes in pieces. The pause only makes it likely that the peer reads them apart; nothing depends on it.
pub(crate) fn write_pieces(mut to: &TcpStream, bytes: &[u8], split: &Split) -> io::Result<()> {
    let pieces: Vec<&[u8]> = match split {
        Split::Whole => vec![bytes],
        Split::At(at) => {
            let (first, second) = bytes.split_at((*at).min(bytes.len()));
            vec![first, second]
        }
        Split::Every(n) => bytes.chunks(*n).collect(),
    };
    for (i, piece) in pieces.iter().enumerate() {
        if i > 0 {
            std::thread::sleep(Duration::from_micros(60));
        }
        to.write_all(piece)?;
    }
    Ok(())
}

/// A start line and its fields, as they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    /// All values of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.map(|(_, v)| v.as_str()).collect()
    }

    /// All values of a field as one list.
    pub(crate) fn joined(&self, name: &str) -> String {
        self.all(name).join(", ")
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    /// Whether a list field such as `Connection` has this element.
    pub(crate) fn lists(&self, name: &str, element: &str) -> bool {
        self.joined(name).split(',').any(|e| e.trim().eq_ignore_ascii_case(element))
    }

    /// The framing that the fields give; `None` where they give none.
    fn framing(&self) -> io::Result<Option<Framing>> {
        let (coding, length) = (self.all("transfer-encoding"), self.all("content-length"));
        match (coding.as_slice(), length.as_slice()) {
            ([], []) => Ok(None),
            (["chunked"], []) => Ok(Some(Framing::Chunked)),
            ([], [n]) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => {
                let length = n.parse().map_err(|_| invalid(format!("Content-Length {n}")))?;
                Ok(Some(Framing::Length(length)))
            }
            _ => Err(invalid(format!("framing: Transfer-Encoding {coding:?}, Content-Length {length:?}"))),
        }
    }

    /// The framing of a request with this head.
    pub(crate) fn request_framing(&self) -> io::Result<Framing> {
        Ok(self.framing()?.unwrap_or(Framing::Empty))
    }

    /// The framing of a response with this head.
    pub(crate) fn response_framing(&self, method: &str, status: u16) -> io::Result<Framing> {
        let named = self.framing()?;
        if status == 204 && named.is_some() {
            return Err(invalid("a 204 with framing".into()));
        }
        let bodyless = method == "HEAD" || status == 204 || status == 304 || status < 200;
        Ok(if bodyless { Framing::Empty } else { named.unwrap_or(Framing::UntilClose) })
    }
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Empty,
    Length(u64),
    Chunked,
    UntilClose,
}

/// A body as far as it has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body {
    /// The first mebibyte.
    pub(crate) bytes: Vec<u8>,
    pub(crate) length: u64,
    /// Whether a byte differed from [`Pattern`].
    pub(crate) off_pattern: bool,
    pattern: Pattern,
}

impl Body {
    fn take(&mut self, bytes: &[u8]) {
        self.off_pattern |= !self.pattern.matches(bytes);
        self.length += bytes.len() as u64;
        let room = KEPT - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Whether this is exactly the pattern's first `length` bytes.
    pub(crate) fn is_pattern(&self, length: u64) -> bool {
        self.length == length && !self.off_pattern
    }
}

/// An endless sequence of bytes whose every place is known: a lost, doubled or moved byte shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pattern {
    at: usize,
}

impl Pattern {
    /// A prime, so that no buffer size is a multiple of it.
    const PERIOD: usize = 65_521;

    /// Up to `most` next bytes.
    pub(crate) fn next(&mut self, most: usize) -> &'static [u8] {
        static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let period = BYTES.get_or_init(|| (0..Self::PERIOD).map(|i| (i * 31 + i / 251) as u8).collect());
        let part = &period[self.at..Self::PERIOD.min(self.at + most)];
        self.at = (self.at + part.len()) % Self::PERIOD;
        part
    }

    /// Whether these are the next bytes.
    fn matches(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let part = self.next(bytes.len());
            let (now, later) = bytes.split_at(part.len());
            if part != now {
                return false;
            }
            bytes = later;
        }
        true
    }
}

/// A whole response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) framing: Framing,
    pub(crate) body: Body,
}

impl Response {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body.bytes).into_owned()
    }

    /// Whether the connection it came on ends with it.
    pub(crate) fn closes(&self) -> bool {
        let old = self.head.start.starts_with("HTTP/1.0") && !self.head.lists("connection", "keep-alive");
        self.framing == Framing::UntilClose || self.head.lists("connection", "close") || old
    }
}

/// The status of a response's start line.
pub(crate) fn status_of(start: &str) -> io::Result<u16> {
    let rest = start.strip_prefix("HTTP/1.1 ").or_else(|| start.strip_prefix("HTTP/1.0 "));
    let code = rest.and_then(|r| r.get(..3)).filter(|c| c.bytes().all(|b| b.is_ascii_digit()));
    let spaced = rest.is_some_and(|r| r.as_bytes().get(3) == Some(&b' '));
    match code {
        Some(code) if spaced => Ok(code.parse().unwrap_or(0)),
        _ => Err(invalid(format!("status line {start:?}"))),
    }
}

/// Reads messages from a byte stream.
pub(crate) struct Wire<R> {
    source: R,
    pending: Vec<u8>,
    at: usize,
}

impl<R: Read> Wire<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, pending: Vec::new(), at: 0 }
    }

    pub(crate) fn source(&self) -> &R {
        &self.source
    }

    /// The next head; `None` when the stream ended before its first byte.
    pub(crate) fn head(&mut self) -> io::Result<Option<Head>> {
        if self.rest().is_empty() && !self.fill()? {
            return Ok(None);
        }
        Ok(Some(Head { start: self.line()?, fields: self.fields()? }))
    }

    /// Reads a body into `body`, which keeps what has come when this fails.
    pub(crate) fn body(&mut self, framing: Framing, body: &mut Body) -> io::Result<()> {
        match framing {
            Framing::Empty => Ok(()),
            Framing::Length(length) => self.exactly(length, body),
            Framing::Chunked => self.chunks(body),
            Framing::UntilClose => loop {
                body.take(&self.pending[self.at..]);
                self.at = self.pending.len();
                if !self.fill()? {
                    return Ok(());
                }
            },
        }
    }

    /// A whole response to a request with that method.
    pub(crate) fn response(&mut self, method: &str) -> io::Result<Response> {
        let head = self.head()?.ok_or_else(|| ended("before the response"))?;
        let status = status_of(&head.start)?;
        let framing = head.response_framing(method, status)?;
        let mut body = Body::default();
        self.body(framing, &mut body)?;
        Ok(Response { status, head, framing, body })
    }

    /// Waits for the stream's end; false when a byte came instead.
    pub(crate) fn ended(&mut self) -> io::Result<bool> {
        Ok(self.rest().is_empty() && !self.fill()?)
    }

    fn exactly(&mut self, mut length: u64, body: &mut Body) -> io::Result<()> {
        while length > 0 {
            if self.rest().is_empty() && !self.fill()? {
                return Err(ended("in a body"));
            }
            let part = usize::try_from(length).unwrap_or(usize::MAX).min(self.rest().len());
            body.take(&self.pending[self.at..self.at + part]);
            self.at += part;
            length -= part as u64;
        }
        Ok(())
    }

    fn chunks(&mut self, body: &mut Body) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default();
            if size.is_empty() || !size.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(invalid(format!("chunk line {line:?}")));
            }
            let size = u64::from_str_radix(size, 16).map_err(|_| invalid(format!("chunk line {line:?}")))?;
            if size == 0 {
                return self.fields().map(drop);
            }
            self.exactly(size, body)?;
            if !self.line()?.is_empty() {
                return Err(invalid("no line end after a chunk".into()));
            }
        }
    }

    fn fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid(format!("field {line:?}")))?;
            if name.is_empty()
                || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
            {
                return Err(invalid(format!("field name {name:?}")));
            }
            fields.push((name.to_string(), value.trim_matches([' ', '\t']).to_string()));
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut looked = 0;
        loop {
            if let Some(end) = self.rest()[looked..].iter().position(|b| *b == b'\n').map(|i| looked + i) {
                let line = &self.rest()[..end];
                let line = line.strip_suffix(b"\r").ok_or_else(|| invalid("a bare LF".into()))?;
                if let Some(b) = line.iter().find(|b| (**b < 32 && **b != b'\t') || **b == 127) {
                    return Err(invalid(format!("control character {b}")));
                }
                let line = String::from_utf8_lossy(line).into_owned();
                self.at += end + 1;
                return Ok(line);
            }
            looked = self.rest().len();
            if looked > LINE_MAX {
                return Err(invalid("a line too long".into()));
            }
            if !self.fill()? {
                return Err(ended("in a line"));
            }
        }
    }

    fn rest(&self) -> &[u8] {
        &self.pending[self.at..]
    }

    /// Reads once; false at the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        self.pending.drain(..self.at);
        self.at = 0;
        let before = self.pending.len();
        self.pending.resize(before + (64 << 10), 0);
        let got = loop {
            match self.source.read(&mut self.pending[before..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                got => break got,
            }
        };
        self.pending.truncate(before + *got.as_ref().unwrap_or(&0));
        got.map(|n| n > 0)
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn ended(place: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("the stream ended {place}"))
}
