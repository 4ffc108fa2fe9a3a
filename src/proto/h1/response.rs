//! Response heads: read knowing the request, written anew for the client.

use httparse::Header;

use super::edits::Edits;
use super::field::{self, Name};
use super::head::{self, Facts};
use super::request::Fields;
use super::{Framing, Refusal, Version, copy};

/// A response head that may be passed on.
#[derive(Debug)]
pub struct Response<'h, 'b> {
    head: &'b [u8],
    fields: &'h [Header<'b>],
    facts: Facts,
    /// 100 to 999.
    pub status: u16,
    /// As sent.
    pub version: Version,
    /// How the body ends.
    pub framing: Framing,
    /// A Content-Length where there is no body: what GET would have given.
    length: Option<u64>,
    /// The protocol switched to.
    upgrade: Option<&'b [u8]>,
    /// `Keep-Alive: timeout=…`, in seconds.
    pub keep_alive_timeout: Option<u64>,
}

/// What the client is told about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// Kept, which HTTP/1.1 need not be told.
    Kept,
    /// Kept, told to an HTTP/1.0 client that asked.
    KeptHttp10,
    /// Closed after this response.
    Close,
}

impl<'h, 'b> Response<'h, 'b> {
    /// Reads a head that ends with its empty line; `to_head` when it answers a HEAD request.
    pub fn parse(head: &'b [u8], to_head: bool, space: &'h mut Fields<'b>) -> Result<Self, Refusal> {
        // httparse passes over empty lines before it; the copy below counts on the version being first.
        if !head.starts_with(b"HTTP/1.") {
            return Err(Refusal::StartLine);
        }
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut parsed, head, space) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(Refusal::FieldLine),
            Err(error) => return Err(head::refusal(error)),
        }
        let status = parsed.code.filter(|&code| code >= 100).ok_or(Refusal::StartLine)?;
        let mut response = Self {
            head,
            fields: parsed.headers,
            facts: Facts::default(),
            status,
            version: Version::of(parsed.version),
            framing: Framing::None,
            length: None,
            upgrade: None,
            keep_alive_timeout: None,
        };
        response.read_fields(to_head)?;
        Ok(response)
    }

    fn read_fields(&mut self, to_head: bool) -> Result<(), Refusal> {
        for (i, field) in self.fields.iter().enumerate() {
            let name = field::name(field.name.as_bytes());
            if name == Name::Other {
                continue;
            }
            if name == Name::KeepAlive {
                self.keep_alive_timeout = keep_alive_timeout(field.value);
            }
            if !self.facts.note(i, name, field.value)? && name == Name::Upgrade {
                self.upgrade = Some(field.value);
                self.facts.dropped |= 1 << i;
            }
        }
        self.facts.drop_named(self.fields);
        let told = self.facts.framing(self.version)?;
        // RFC 9112 section 6.3, cases 1 to 8.
        let bodiless = self.status < 200 || self.status == 204;
        if to_head || bodiless || self.status == 304 {
            if let (Some(Framing::Length(length)), false) = (told, bodiless) {
                self.length = Some(length);
            }
        } else {
            self.framing = told.unwrap_or(Framing::UntilClose);
        }
        Ok(())
    }

    /// Whether the backend means to keep the connection.
    pub fn persistent(&self) -> bool {
        self.facts.persistent(self.version) && self.framing != Framing::UntilClose
    }

    /// Upgrade names a protocol, and only such as are on this list (RFC 9110 section 7.8).
    pub fn switches_to_one_of(&self, asked: &[u8]) -> bool {
        let mut switched = field::list(self.upgrade.unwrap_or_default()).peekable();
        switched.peek().is_some() && switched.all(|to| field::list(asked).any(|a| a.eq_ignore_ascii_case(to)))
    }

    /// 100 to 199, but not 101: another response follows.
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// Appends the head as the client is to see it, with a body of that framing behind it; `added` are further
    /// fields beside those of `edits`, each with its line end.
    pub fn write(
        &self,
        framing: Framing,
        connection: Connection,
        edits: &Edits,
        added: &[u8],
        out: &mut Vec<u8>,
    ) {
        // The version is always our own (RFC 9112 section 2.3); both have the same length.
        out.extend_from_slice(b"HTTP/1.1");
        copy::fields(
            self.head,
            "HTTP/1.1".len(),
            self.fields,
            self.facts.dropped | edits.dropped(self.fields),
            out,
        );
        out.extend_from_slice(edits.added());
        out.extend_from_slice(added);
        copy::framing(self.length.map_or(framing, Framing::Length), out);
        match self.upgrade {
            Some(protocol) if self.status == 101 => {
                out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: ");
                out.extend_from_slice(protocol);
                out.extend_from_slice(b"\r\n\r\n");
                return;
            }
            _ => {}
        }
        out.extend_from_slice(match connection {
            Connection::Kept => b"\r\n",
            Connection::KeptHttp10 => b"Connection: keep-alive\r\n\r\n",
            Connection::Close => b"Connection: close\r\n\r\n",
        });
    }
}

fn keep_alive_timeout(value: &[u8]) -> Option<u64> {
    const TIMEOUT: &[u8] = b"timeout=";
    let seconds = |parameter: &[u8]| {
        let (name, seconds) = parameter.split_at_checked(TIMEOUT.len())?;
        if name.eq_ignore_ascii_case(TIMEOUT) { field::digits(seconds) } else { None }
    };
    field::list(value).find_map(seconds)
}

#[cfg(test)]
mod tests {
    use super::super::request::fields;
    use super::*;

    fn rewrite(
        head: &str,
        to_head: bool,
        connection: Connection,
    ) -> Result<(Framing, bool, String), Refusal> {
        let mut space = fields();
        let response = Response::parse(head.as_bytes(), to_head, &mut space)?;
        let mut out = Vec::new();
        response.write(response.framing, connection, &Edits::default(), b"", &mut out);
        Ok((response.framing, response.persistent(), String::from_utf8(out).unwrap()))
    }

    #[test]
    fn heads_are_written_anew() {
        let head = "HTTP/1.0 200 Fine, thanks\r\nServer: s\r\nConnection: keep-alive, X-A\r\nX-A: 1\r\nContent-Length: 3\r\n\r\n";
        let (framing, persistent, out) = rewrite(head, false, Connection::Close).unwrap();
        assert_eq!((framing, persistent), (Framing::Length(3), true));
        assert_eq!(
            out,
            "HTTP/1.1 200 Fine, thanks\r\nServer: s\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn bodies_by_status_and_method() {
        let framing = |head: &str, to_head| rewrite(head, to_head, Connection::Kept).unwrap();
        assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n", false).0, Framing::UntilClose);
        assert!(!framing("HTTP/1.1 200 OK\r\n\r\n", false).1);
        let (none, _, out) = framing("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", true);
        assert_eq!(none, Framing::None);
        assert!(out.contains("Content-Length: 9\r\n"));
        assert!(
            framing("HTTP/1.1 304 N\r\nContent-Length: 9\r\n\r\n", false).2.contains("Content-Length: 9")
        );
        let (none, _, out) = framing("HTTP/1.1 204 N\r\nContent-Length: 9\r\n\r\n", false);
        assert_eq!((none, out.contains("Content-Length")), (Framing::None, false));
        assert_eq!(
            framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false).0,
            Framing::Chunked
        );
    }

    #[test]
    fn what_breaks_a_rule_is_refused() {
        for bad in [
            "HTTP/1.1 000 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        ] {
            assert!(rewrite(bad, false, Connection::Kept).is_err(), "{bad:?}");
        }
    }
}
