//! What one request is and what goes wrong with it: drawn from the seed, and written into its head.

use std::io;

use crate::rng::{Rng, bytes};
use crate::support::wire::Head;

/// What the backend does to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Answers in small pieces with pauses.
    Slow,
    /// Answers well and closes without a word, a little later or at once.
    CloseAfter,
    /// Answers before it has read the body, and closes.
    Early,
    /// Resets when it has the head.
    ResetEarly,
    CloseBefore,
    ResetBefore,
    Garbage,
    /// Never answers.
    Silent,
    /// Closes within its answer.
    Truncated,
    TruncatedByReset,
    /// Falls silent within its answer.
    Stalled,
}

const FAULTS: [Fault; 12] = [
    Fault::None,
    Fault::Slow,
    Fault::CloseAfter,
    Fault::Early,
    Fault::ResetEarly,
    Fault::CloseBefore,
    Fault::ResetBefore,
    Fault::Garbage,
    Fault::Truncated,
    Fault::TruncatedByReset,
    Fault::Silent,
    Fault::Stalled,
];
/// Those that cost nobody time: the first of [`FAULTS`] but no fault.
const QUICK: u64 = 9;

impl Fault {
    fn draw(rng: &mut Rng) -> Self {
        match rng.below(1000) {
            // These two hold a client up for as long as the time-outs are.
            0..2 => Self::Silent,
            2..4 => Self::Stalled,
            4..150 => FAULTS[1 + rng.below(QUICK) as usize],
            _ => Self::None,
        }
    }

    /// The client may be told of a failure, or be cut off.
    pub(crate) fn excuses(self) -> bool {
        !matches!(self, Self::None | Self::Slow | Self::CloseAfter)
    }
}

/// How the end of the answer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    Length,
    Chunks,
    Close,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) number: u64,
    /// Bytes of a POST's body; `None` is a GET.
    pub(crate) body: Option<usize>,
    pub(crate) chunked: bool,
    pub(crate) answer: usize,
    pub(crate) ends: Ends,
    pub(crate) fault: Fault,
}

impl Plan {
    pub(crate) fn draw(rng: &mut Rng, number: u64) -> Self {
        let size = |rng: &mut Rng| match rng.below(10) {
            0 => 0,
            1 => rng.below(300_000) as usize,
            2 | 3 => rng.below(20_000) as usize,
            _ => rng.below(500) as usize,
        };
        let fault = Fault::draw(rng);
        let ends = match rng.below(10) {
            0..5 => Ends::Length,
            // There, a close within the answer cannot be told from its end.
            5 if fault != Fault::Truncated => Ends::Close,
            _ => Ends::Chunks,
        };
        Self {
            number,
            body: rng.chance(40).then(|| size(rng)),
            chunked: rng.chance(50),
            answer: size(rng),
            ends,
            fault,
        }
    }

    /// The body of the request, which is nobody else's.
    pub(crate) fn body(&self) -> Vec<u8> {
        bytes(self.number * 2, self.body.unwrap_or(0))
    }

    /// The body of the answer, which is nobody else's.
    pub(crate) fn answer(&self) -> Vec<u8> {
        bytes(self.number * 2 + 1, self.answer)
    }

    /// The request, and how much of it is head.
    pub(crate) fn request(&self, rng: &mut Rng) -> (Vec<u8>, usize) {
        let fault = FAULTS.iter().position(|&f| f == self.fault).unwrap_or(0);
        let method = if self.body.is_some() { "POST" } else { "GET" };
        let mut head = format!(
            "{method} /{} HTTP/1.1\r\nHost: soak.example\r\nX-Plan: {} {} {} {} {fault}\r\n",
            self.number,
            self.number,
            self.body.map_or(-1, |n| n as i64),
            self.answer,
            self.ends as u8,
        );
        let body = self.body();
        let mut coded = Vec::new();
        match (self.body, self.chunked) {
            (None, _) => {}
            (Some(length), false) => {
                head += &format!("Content-Length: {length}\r\n");
                coded = body;
            }
            (Some(_), true) => {
                head += "Transfer-Encoding: chunked\r\n";
                coded = chunks(&body, rng);
            }
        }
        head += "\r\n";
        let size = head.len();
        ([head.into_bytes(), coded].concat(), size)
    }

    /// As it was written into a request's head.
    pub(crate) fn read(head: &Head) -> io::Result<Self> {
        let text = head.joined("x-plan");
        let parts: Vec<i64> = text.split(' ').map_while(|part| part.parse().ok()).collect();
        let &[number, body, answer, ends, fault] = parts.as_slice() else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a plan of {text:?}")));
        };
        Ok(Self {
            number: number as u64,
            body: usize::try_from(body).ok(),
            chunked: false,
            answer: answer as usize,
            ends: [Ends::Length, Ends::Chunks, Ends::Close][ends as usize % 3],
            fault: FAULTS[fault as usize % FAULTS.len()],
        })
    }
}

/// A body in chunks of random sizes, the last one included.
pub(crate) fn chunks(mut body: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut coded = Vec::with_capacity(body.len() + 64);
    while !body.is_empty() {
        let (chunk, rest) = body.split_at(1 + rng.length(body.len() - 1));
        coded.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        coded.extend_from_slice(chunk);
        coded.extend_from_slice(b"\r\n");
        body = rest;
    }
    coded.extend_from_slice(b"0\r\n\r\n");
    coded
}
