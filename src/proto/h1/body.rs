//! Moving a body from one connection to the other, from its framing there to its framing here.

use std::ops::Range;

use super::chunk;
use super::{Framing, Refusal};

/// What is left of a message body.
#[derive(Debug)]
pub enum Body {
    /// Nothing: there was none, or its end was seen.
    Done,
    /// So many bytes, not 0.
    Length(u64),
    /// Chunks up to the last one and the trailers.
    Chunked(chunk::Decoder),
    /// All that comes until the sender closes.
    UntilClose,
}

/// What [`Body::relay`] did.
#[derive(Debug, PartialEq, Eq)]
pub struct Relayed {
    /// Bytes of the input that belonged to the body.
    pub consumed: usize,
    /// Bytes of the body itself among them.
    pub data: usize,
    /// The part of the input that leaves as it is, behind what was written.
    pub pass: Range<usize>,
}

impl Body {
    /// A body of that framing, nothing of it read yet.
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(chunk::Decoder::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// True when the body has ended.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Takes what belongs to the body from `input`. It leaves as `pass`, or, where it must be framed anew
    /// (`chunked`) or its own frame taken off, as bytes appended to `out`.
    pub fn relay(&mut self, input: &[u8], chunked: bool, out: &mut Vec<u8>) -> Result<Relayed, Refusal> {
        let mut relayed = Relayed { consumed: 0, data: 0, pass: 0..0 };
        match self {
            Self::Done => {}
            Self::Length(left) => {
                relayed.consumed = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                (relayed.data, relayed.pass) = (relayed.consumed, 0..relayed.consumed);
                *left -= relayed.consumed as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
            }
            Self::UntilClose => {
                (relayed.consumed, relayed.data) = (input.len(), input.len());
                if !chunked {
                    relayed.pass = 0..input.len();
                } else if !input.is_empty() {
                    chunk::write(input, out);
                }
            }
            Self::Chunked(decoder) => {
                while let Some(data) = decoder.decode(input, &mut relayed.consumed)? {
                    relayed.data += data.len();
                    if chunked {
                        chunk::write(&input[data], out)
                    } else {
                        out.extend_from_slice(&input[data])
                    }
                }
                if decoder.is_done() {
                    if chunked {
                        decoder.write_end(out);
                    }
                    *self = Self::Done;
                }
            }
        }
        Ok(relayed)
    }

    /// Bytes still to come that leave as they are; 0 where the end is not known.
    pub fn rest(&self) -> u64 {
        if let Self::Length(left) = self { *left } else { 0 }
    }

    /// So many of [`Self::rest`] were moved by someone else.
    pub fn skip(&mut self, bytes: u64) {
        if let Self::Length(left) = self {
            *left -= bytes;
            if *left == 0 {
                *self = Self::Done;
            }
        }
    }

    /// The sender has closed: true when that is how this body ends. Writes the last chunk if there are chunks.
    pub fn end(&mut self, chunked: bool, out: &mut Vec<u8>) -> bool {
        if !matches!(self, Self::UntilClose) {
            return false;
        }
        *self = Self::Done;
        if chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        true
    }
}
