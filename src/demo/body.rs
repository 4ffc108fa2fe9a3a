//! Finds the end of a request body in whatever pieces it comes, and counts what it holds.

use super::request::Refusal;

/// Bytes of one chunk's extensions, or of all trailers together: nobody needs more, and it must end.
const EXTRA_MAX: usize = 16 * 1024;

/// A request body that is read and dropped.
#[derive(Debug)]
pub(super) struct Body {
    state: State,
    /// Bytes of content so far, without the framing.
    pub(super) content: u64,
    extra: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Sized(u64),
    /// In the hexadecimal digits of a chunk's size; `None` before the first.
    Size(Option<u64>),
    Extension(u64),
    /// Before the line feed that ends the size line.
    SizeEnd(u64),
    Data(u64),
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    LastLf,
    Done,
}

impl Body {
    /// A body of that many bytes, which may be none.
    pub(super) fn sized(length: u64) -> Self {
        let state = if length == 0 { State::Done } else { State::Sized(length) };
        Self { state, content: 0, extra: 0 }
    }

    /// A body in chunks.
    pub(super) fn chunked() -> Self {
        Self { state: State::Size(None), content: 0, extra: 0 }
    }

    /// Whether its last byte was taken.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes what belongs to the body from the front of `bytes`, and says how many bytes that was.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut taken = 0;
        while !self.is_done() && taken < bytes.len() {
            taken += match self.state {
                State::Sized(left) | State::Data(left) => self.take_content(left, bytes.len() - taken),
                _ => {
                    self.state = self.step(bytes[taken])?;
                    1
                }
            };
        }
        Ok(taken)
    }

    fn take_content(&mut self, left: u64, available: usize) -> usize {
        let taken = usize::try_from(left).map_or(available, |left| left.min(available));
        self.content = self.content.saturating_add(taken as u64);
        let left = left - taken as u64;
        self.state = match (self.state, left) {
            (State::Sized(_), 0) => State::Done,
            (State::Sized(_), _) => State::Sized(left),
            (_, 0) => State::DataCr,
            _ => State::Data(left),
        };
        taken
    }

    fn step(&mut self, byte: u8) -> Result<State, Refusal> {
        let next = match (self.state, byte) {
            (State::Size(Some(size)), b'\r') => State::SizeEnd(size),
            (State::Size(Some(size)), b';' | b' ' | b'\t') => State::Extension(size),
            (State::Size(size), _) => State::Size(Some(add_digit(size.unwrap_or(0), byte)?)),
            (State::Extension(size), b'\r') => State::SizeEnd(size),
            (State::SizeEnd(0), b'\n') => self.reset_extra(State::TrailerStart),
            (State::SizeEnd(size), b'\n') => self.reset_extra(State::Data(size)),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size(None),
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::LastLf, b'\n') => State::Done,
            (State::Extension(_) | State::Trailer, byte) if byte != b'\n' => self.count_extra(self.state)?,
            (State::TrailerStart, byte) if byte != b'\n' => self.count_extra(State::Trailer)?,
            _ => return Err(Refusal::Malformed),
        };
        Ok(next)
    }

    fn reset_extra(&mut self, next: State) -> State {
        self.extra = 0;
        next
    }

    fn count_extra(&mut self, next: State) -> Result<State, Refusal> {
        self.extra += 1;
        if self.extra > EXTRA_MAX { Err(Refusal::Malformed) } else { Ok(next) }
    }
}

fn add_digit(size: u64, byte: u8) -> Result<u64, Refusal> {
    let digit = char::from(byte).to_digit(16).ok_or(Refusal::Malformed)?;
    let shifted = size.checked_mul(16).ok_or(Refusal::Malformed)?;
    Ok(shifted | u64::from(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `bytes` cut at `split`; gives the content's length and how many bytes were left over.
    fn outcome(mut body: Body, bytes: &[u8], split: usize) -> Result<(u64, usize, bool), Refusal> {
        let (first, second) = bytes.split_at(split);
        let mut taken = body.take(first)?;
        if taken == first.len() {
            taken += body.take(second)?;
        }
        Ok((body.content, bytes.len() - taken, body.is_done()))
    }

    #[test]
    fn every_split_gives_the_same_end() {
        let bytes = b"5\r\nhello\r\n1A;name=\"v\"\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\nGET";
        for split in 0..=bytes.len() {
            assert_eq!(outcome(Body::chunked(), bytes, split), Ok((31, 3, true)), "split at {split}");
        }
        for split in 0..=8 {
            assert_eq!(outcome(Body::sized(5), b"helloGET", split), Ok((5, 3, true)), "split at {split}");
        }
    }

    #[test]
    fn nothing_is_taken_for_an_empty_body() {
        assert_eq!(outcome(Body::sized(0), b"GET", 3), Ok((0, 3, true)));
        assert_eq!(outcome(Body::chunked(), b"0\r\n\r\nGET", 8), Ok((0, 3, true)));
    }

    #[test]
    fn broken_chunks_are_refused() {
        for bytes in [
            &b"\r\n"[..],
            b"x\r\n",
            b";a\r\n",
            b"-1\r\n",
            b"5\nhello",
            b"5\r\nhelloX",
            b"5\r\nhello\n",
            b"5;a\nb",
            b"0\r\n\n",
            b"0\r\nA: b\n\r\n",
            b"10000000000000000\r\n",
        ] {
            for split in 0..=bytes.len() {
                let text = String::from_utf8_lossy(bytes);
                assert_eq!(outcome(Body::chunked(), bytes, split), Err(Refusal::Malformed), "{text:?}");
            }
        }
    }

    #[test]
    fn extensions_and_trailers_must_end() {
        let endless = vec![b'a'; EXTRA_MAX + 1];
        assert!(outcome(Body::chunked(), &[b"5;", &endless[..]].concat(), 1).is_err());
        assert!(outcome(Body::chunked(), &[b"0\r\n", &endless[..]].concat(), 1).is_err());
    }
}
