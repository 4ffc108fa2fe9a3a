//! The chunked transfer coding (RFC 9112 section 7.1): a strict decoder for any split of the bytes.

use std::ops::Range;

use super::{Refusal, field, scan};
use crate::limits;

/// Where in a chunked body the last byte left us.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    /// Bytes of the current chunk still to come.
    left: u64,
    /// Digits of the current size seen.
    digits: u8,
    /// Bytes of extensions seen in the whole body.
    extensions: u32,
    /// The trailer section so far, with the empty line that ends it.
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    /// White space that only an extension may follow.
    BeforeExtension,
    ExtensionName {
        begun: bool,
    },
    /// White space behind a name.
    AfterName,
    ExtensionValue {
        begun: bool,
    },
    Quoted,
    QuotedPair,
    /// White space behind a value or a closing quote.
    AfterValue,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    /// The CR of an empty trailer section.
    NoTrailers,
    Done,
}

impl Decoder {
    /// True behind the last byte of the body, trailers included.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Moves `at` over `input` to the end of the next piece of data and gives that piece; `None` when the
    /// input or the body has ended before another.
    pub fn decode(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Range<usize>>, Refusal> {
        while let Some(&byte) = input.get(*at) {
            match self.state {
                State::Data => {
                    let piece = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len() - *at);
                    let start = *at;
                    *at += piece;
                    self.left -= piece as u64;
                    if self.left == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(Some(start..*at));
                }
                State::Done => return Ok(None),
                State::Trailers => self.trailer(byte)?,
                State::Size => self.size(byte)?,
                State::DataCr if byte == b'\r' => self.state = State::DataLf,
                State::DataLf if byte == b'\n' => self.state = State::Size,
                State::NoTrailers if byte == b'\n' => self.state = State::Done,
                State::SizeLf if byte == b'\n' => self.size_ended(),
                State::NoTrailers => return Err(Refusal::Trailers),
                State::DataCr | State::DataLf | State::SizeLf => return Err(Refusal::Chunk),
                _ => self.extension(byte)?,
            }
            *at += 1;
        }
        Ok(None)
    }

    fn size(&mut self, byte: u8) -> Result<(), Refusal> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ if self.digits == 0 => return Err(Refusal::Chunk),
            _ => {
                self.state = State::AfterValue;
                return self.extension(byte);
            }
        };
        self.digits += 1;
        self.left = self.left << 4 | u64::from(digit);
        if self.digits > 16 || self.left >= 1 << 48 { Err(Refusal::Chunk) } else { Ok(()) }
    }

    fn extension(&mut self, byte: u8) -> Result<(), Refusal> {
        self.state = match (self.state, byte) {
            (State::AfterValue, b'\r')
            | (State::ExtensionName { begun: true } | State::ExtensionValue { begun: true }, b'\r') => {
                State::SizeLf
            }
            (State::AfterValue | State::BeforeExtension, b' ' | b'\t') => State::BeforeExtension,
            (State::AfterValue | State::BeforeExtension | State::AfterName, b';')
            | (State::ExtensionName { begun: true } | State::ExtensionValue { begun: true }, b';') => {
                State::ExtensionName { begun: false }
            }
            (State::ExtensionName { begun: false }, b' ' | b'\t') => State::ExtensionName { begun: false },
            (State::ExtensionName { .. }, _) if is_token(byte) => State::ExtensionName { begun: true },
            (State::ExtensionName { begun: true } | State::AfterName, b' ' | b'\t') => State::AfterName,
            (State::ExtensionName { begun: true } | State::AfterName, b'=') => {
                State::ExtensionValue { begun: false }
            }
            (State::ExtensionValue { begun: false }, b' ' | b'\t') => State::ExtensionValue { begun: false },
            (State::ExtensionValue { begun: false }, b'"') => State::Quoted,
            (State::ExtensionValue { .. }, _) if is_token(byte) => State::ExtensionValue { begun: true },
            (State::ExtensionValue { begun: true }, b' ' | b'\t') => State::BeforeExtension,
            (State::Quoted, b'"') => State::AfterValue,
            (State::Quoted, b'\\') => State::QuotedPair,
            (State::Quoted | State::QuotedPair, b'\t' | b' '..=b'~' | 0x80..) => State::Quoted,
            _ => return Err(Refusal::Chunk),
        };
        if self.state != State::SizeLf {
            self.extensions += 1;
        }
        if self.extensions > limits::CHUNK_EXTENSIONS { Err(Refusal::ChunkExtensions) } else { Ok(()) }
    }

    fn size_ended(&mut self) {
        self.digits = 0;
        self.state = if self.left == 0 { State::Trailers } else { State::Data };
    }

    fn trailer(&mut self, byte: u8) -> Result<(), Refusal> {
        // Nearly every body ends without trailers: the empty line alone is not worth an allocation.
        if self.trailers.is_empty() && byte == b'\r' {
            self.state = State::NoTrailers;
            return Ok(());
        }
        if self.trailers.len() >= limits::TRAILERS {
            return Err(Refusal::Trailers);
        }
        self.trailers.push(byte);
        if byte != b'\n' {
            return Ok(());
        }
        let from = self.trailers.len() - 1;
        if scan::end_of_head(&self.trailers, from).map_err(|_| Refusal::Trailers)?.is_some() {
            self.state = State::Done;
            with_trailers(&self.trailers, |_| ())?;
        }
        Ok(())
    }

    /// Writes the last chunk, with those of the trailers that may be passed on.
    pub fn write_end(&self, out: &mut Vec<u8>) {
        if self.trailers.is_empty() {
            out.extend_from_slice(b"0\r\n\r\n");
            return;
        }
        out.extend_from_slice(b"0\r\n");
        let written = with_trailers(&self.trailers, |fields| {
            for field in fields.iter().filter(|f| field::allowed_in_trailers(f.name.as_bytes())) {
                out.extend_from_slice(field.name.as_bytes());
                out.extend_from_slice(b": ");
                out.extend_from_slice(field.value);
                out.extend_from_slice(b"\r\n");
            }
        });
        debug_assert!(written.is_ok(), "they were parsed when they ended");
        out.extend_from_slice(b"\r\n");
    }
}

fn with_trailers(bytes: &[u8], read: impl FnOnce(&[httparse::Header<'_>])) -> Result<(), Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; limits::FIELDS];
    match httparse::parse_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete((_, fields))) => {
            read(fields);
            Ok(())
        }
        _ => Err(Refusal::Trailers),
    }
}

/// `tchar` (RFC 9110 section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Writes one chunk; `data` is not empty, because an empty chunk would end the body.
pub fn write(data: &[u8], out: &mut Vec<u8>) {
    debug_assert!(!data.is_empty());
    let digits = (data.len().ilog2() / 4 + 1) as usize;
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[data.len() >> (4 * digit) & 15]);
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data and trailers of a body given in pieces of `size`, and how many bytes it took.
    fn decode(bytes: &[u8], size: usize) -> Result<(Vec<u8>, Vec<u8>, usize), Refusal> {
        let (mut decoder, mut data, mut taken) = (Decoder::default(), Vec::new(), 0);
        for piece in bytes.chunks(size) {
            let mut at = 0;
            while let Some(range) = decoder.decode(piece, &mut at)? {
                data.extend_from_slice(&piece[range]);
            }
            taken += at;
        }
        let mut end = Vec::new();
        if decoder.is_done() {
            decoder.write_end(&mut end);
        }
        Ok((data, end, taken))
    }

    #[test]
    fn any_split_gives_the_same_body() {
        let body = b"5\r\nhello\r\n0a;x=\"q\\\"\";y = z ;w\r\n0123456789\r\n000\r\nX-Sum: 1\r\nHost: evil\r\n\r\nGET";
        for size in 1..body.len() {
            let (data, end, taken) = decode(body, size).unwrap();
            assert_eq!(data, b"hello0123456789");
            assert_eq!(end, b"0\r\nX-Sum: 1\r\n\r\n");
            assert_eq!(&body[taken..], b"GET");
        }
    }

    #[test]
    fn what_is_not_a_chunk_is_refused_at_any_split() {
        let long = format!("5;{}\r\nhello", "a".repeat(limits::CHUNK_EXTENSIONS as usize + 1));
        let trailers = format!("0\r\nX: {}\r\n\r\n", "a".repeat(limits::TRAILERS));
        let bad = [
            "\r\n",
            ";x\r\n",
            "5\nhello",
            "5 \r\nhello",
            " 5\r\nhello",
            "+5\r\nhello",
            "0x5\r\nhello",
            "5\r\nhello\n0\r\n",
            "5\r\nhelloX",
            "5;\r\nhello",
            "5;=a\r\n",
            "5;a=\r\n",
            "5;a=\"b\r\n",
            "5;a\0\r\n",
            "5;a=\"\n\"\r\n",
            "5;a\n",
            "FFFFFFFFFFFFFFFF\r\n",
            "1000000000000\r\n",
            "00000000000000005\r\n",
            "5;a b\r\n",
            "5;a \r\n",
            "5\rX",
            "0\r\nX : 1\r\n\r\n",
            "0\r\nX: 1\n\r\n",
            "0\r\n\n",
            "0\r\n fold: 1\r\n\r\n",
            &long,
            &trailers,
        ];
        for bad in bad {
            for size in 1..bad.len().min(40) {
                assert!(decode(bad.as_bytes(), size).is_err(), "{bad:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for len in [1, 15, 16, 255, 256, 4095, 65_536] {
            let (data, mut out) = (vec![b'x'; len], Vec::new());
            write(&data, &mut out);
            out.extend_from_slice(b"0\r\n\r\n");
            assert_eq!(decode(&out, out.len()).unwrap().0, data);
            assert!(out.starts_with(format!("{len:x}\r\n").as_bytes()));
        }
    }
}
