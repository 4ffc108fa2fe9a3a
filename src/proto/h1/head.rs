//! What requests and responses have in common: the fields that decide framing and connection.

use httparse::Header;

use super::field::{self, Name};
use super::{Framing, Refusal, Version};

/// The connection and framing fields of one head, gathered in one pass.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Fields that must not be passed on, one bit each.
    pub(super) dropped: u128,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    /// Connection listed `upgrade`.
    pub(super) upgrade: bool,
    /// Connection named something else.
    named: bool,
    length: Option<u64>,
    coding: Option<Coding>,
}

#[derive(Clone, Copy, Debug)]
struct Coding(Result<(), Refusal>);

impl Facts {
    /// Notes field number `i` if it is one about framing or connection; true when it was.
    pub(super) fn note(&mut self, i: usize, name: Name, value: &[u8]) -> Result<bool, Refusal> {
        match name {
            Name::Connection => self.connection(value)?,
            Name::ContentLength => {
                let length = field::digits(value).ok_or(Refusal::LengthInvalid)?;
                if self.length.is_some_and(|earlier| earlier != length) {
                    return Err(Refusal::LengthsDiffer);
                }
                self.length = Some(length);
            }
            Name::TransferEncoding => {
                let repeated = self.coding.is_some();
                self.coding =
                    Some(Coding(if repeated { Err(Refusal::CodingInvalid) } else { coding(value) }));
            }
            Name::HopByHop | Name::KeepAlive => {}
            _ => return Ok(false),
        }
        self.dropped |= 1 << i;
        Ok(true)
    }

    fn connection(&mut self, value: &[u8]) -> Result<(), Refusal> {
        // By far the most common list.
        if field::is(value, b"keep-alive") {
            self.keep_alive = true;
            return Ok(());
        }
        for option in field::list(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else {
                match field::name(option) {
                    Name::Host | Name::ContentLength | Name::TransferEncoding => {
                        return Err(Refusal::ConnectionOption);
                    }
                    _ => self.named = true,
                }
            }
        }
        Ok(())
    }

    /// Drops the fields that Connection named (RFC 9110 section 7.6.1).
    pub(super) fn drop_named(&mut self, fields: &[Header<'_>]) {
        if !self.named {
            return;
        }
        let connections = fields.iter().filter(|f| field::name(f.name.as_bytes()) == Name::Connection);
        for option in connections.flat_map(|f| field::list(f.value)) {
            for (i, field) in fields.iter().enumerate() {
                if field.name.as_bytes().eq_ignore_ascii_case(option) {
                    self.dropped |= 1 << i;
                }
            }
        }
    }

    /// The length or coding that the fields tell, `None` when they tell neither (RFC 9112 section 6.3).
    pub(super) fn framing(&self, version: Version) -> Result<Option<Framing>, Refusal> {
        match (self.coding, self.length) {
            (Some(_), Some(_)) => Err(Refusal::LengthAndCoding),
            (Some(_), None) if version == Version::Http10 => Err(Refusal::CodingInHttp10),
            (Some(Coding(coding)), None) => coding.map(|()| Some(Framing::Chunked)),
            (None, Some(length)) => Ok(Some(Framing::Length(length))),
            (None, None) => Ok(None),
        }
    }

    /// Whether the sender means to keep the connection (RFC 9112 section 9.3).
    pub(super) fn persistent(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }
}

/// Accepts `chunked` alone.
fn coding(value: &[u8]) -> Result<(), Refusal> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let is = |coding: &[u8], known: &str| coding.eq_ignore_ascii_case(known.as_bytes());
    let known = |c: &[u8]| ["gzip", "x-gzip", "compress", "x-compress", "deflate"].iter().any(|k| is(c, k));
    let mut codings = value.split(|&b| b == b',').map(<[u8]>::trim_ascii);
    let last = codings.next_back().unwrap_or_default();
    if is(last, "identity") || last.is_empty() || known(last) {
        return Err(Refusal::CodingInvalid);
    }
    if codings.any(|c| is(c, "chunked") || is(c, "identity") || c.is_empty()) {
        return Err(Refusal::CodingInvalid);
    }
    Err(Refusal::CodingUnknown)
}

/// What httparse refused, in our words; `of_field` says whether the start line was already behind it.
pub(super) fn refusal(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::FieldCount,
        httparse::Error::HeaderName | httparse::Error::HeaderValue | httparse::Error::NewLine => {
            Refusal::FieldLine
        }
        httparse::Error::Version => Refusal::Version,
        httparse::Error::Status | httparse::Error::Token => Refusal::StartLine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_chunked_alone_is_accepted() {
        assert_eq!(coding(b"Chunked"), Ok(()));
        for bad in [
            "",
            "identity",
            "chunked, chunked",
            "chunked, gzip",
            "gzip",
            "chunked,",
            "identity, chunked",
            ",chunked",
        ] {
            assert_eq!(coding(bad.as_bytes()), Err(Refusal::CodingInvalid), "{bad:?}");
        }
        for unknown in ["xchunked", "chunked;a=b", "gzip, chunked", "\"chunked\"", "chunked\x0b"] {
            assert_eq!(coding(unknown.as_bytes()), Err(Refusal::CodingUnknown), "{unknown:?}");
        }
    }
}
