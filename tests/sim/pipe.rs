//! One direction of a line: bytes under way, bytes arrived, and how it ends.

use crate::net::Splits;
use crate::rng::Rng;

/// How a direction was ended by its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Open,
    Fin,
    Reset,
}

#[derive(Debug)]
pub(crate) struct Pipe {
    flying: Vec<u8>,
    arrived: Vec<u8>,
    /// Of `arrived`, what the receiver has taken.
    taken: usize,
    /// Bytes before the mark of urgent data, of those that the receiver has not taken.
    mark: Option<usize>,
    capacity: usize,
    /// The sender was told that there is no room, and waits to hear of some.
    starved: bool,
    end: End,
    arrived_end: End,
    /// Bytes came for a receiver that has closed.
    refused: bool,
}

impl Pipe {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            flying: Vec::new(),
            arrived: Vec::new(),
            taken: 0,
            mark: None,
            capacity,
            starved: false,
            end: End::Open,
            arrived_end: End::Open,
            refused: false,
        }
    }

    /// Bytes that the receiver can take.
    pub(crate) fn arrived(&self) -> usize {
        self.arrived.len() - self.taken
    }

    /// Bytes that the sender can put.
    pub(crate) fn space(&self) -> usize {
        self.capacity.saturating_sub(self.arrived() + self.flying.len())
    }

    pub(crate) fn end(&self) -> End {
        self.end
    }

    /// The end, once the receiver can see it.
    pub(crate) fn end_arrived(&self) -> End {
        self.arrived_end
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.space());
        self.flying.extend_from_slice(&bytes[..taken]);
        self.starved |= taken < bytes.len();
        taken
    }

    /// More than there is room for, as a kernel may take when it is given whole pages.
    pub(crate) fn put_all(&mut self, bytes: &[u8]) {
        self.flying.extend_from_slice(bytes);
    }

    /// Sends urgent data behind what was put so far; there is one mark, the last (RFC 6093).
    pub(crate) fn mark(&mut self) {
        self.mark = Some(self.arrived() + self.flying.len());
    }

    /// Urgent data has come that was not read past.
    pub(crate) fn is_marked(&self) -> bool {
        self.mark.is_some_and(|mark| mark <= self.arrived())
    }

    /// The next byte is behind the mark.
    pub(crate) fn is_at_mark(&self) -> bool {
        self.mark == Some(0)
    }

    /// Has no room; the sender waits to hear of some.
    pub(crate) fn is_full(&mut self) -> bool {
        self.starved |= self.space() == 0;
        self.space() == 0
    }

    /// Returns the last bytes that were taken.
    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        self.mark = self.mark.map(|mark| mark + bytes.len());
        let rest = self.arrived.split_off(self.taken);
        self.arrived.clear();
        self.arrived.extend_from_slice(bytes);
        self.arrived.extend(rest);
        self.taken = 0;
    }

    /// Stops short at the mark; the next read begins behind it.
    pub(crate) fn take(&mut self, into: &mut [u8]) -> usize {
        self.mark = self.mark.filter(|&mark| mark > 0);
        let n = self.arrived().min(into.len()).min(self.mark.unwrap_or(usize::MAX));
        self.mark = self.mark.map(|mark| mark - n);
        into[..n].copy_from_slice(&self.arrived[self.taken..self.taken + n]);
        self.taken += n;
        if self.taken == self.arrived.len() {
            self.arrived.clear();
            self.taken = 0;
        }
        n
    }

    /// There is room again, and the sender waits to hear of it; said once.
    pub(crate) fn has_eased(&mut self) -> bool {
        let eased = self.starved && self.space() > 0;
        self.starved &= !eased;
        eased
    }

    pub(crate) fn fin(&mut self) {
        if self.end == End::Open {
            self.end = End::Fin;
        }
    }

    /// What was under way may be lost.
    pub(crate) fn reset(&mut self, rng: &mut Rng) {
        if self.arrived_end == End::Open {
            self.end = End::Reset;
            let left = rng.below(self.flying.len() as u64 + 1) as usize;
            self.flying.truncate(left);
        } else if self.arrived_end == End::Fin {
            self.end = End::Reset;
        }
    }

    /// The sender's kernel has dropped the connection: nothing more will come, and no word of it.
    pub(crate) fn end_silently(&mut self) {
        (self.end, self.arrived_end) = (End::Reset, End::Reset);
        self.flying.clear();
    }

    /// Something is under way.
    pub(crate) fn is_moving(&self) -> bool {
        !self.flying.is_empty() || self.end != self.arrived_end
    }

    /// Bytes came for a receiver that has closed; said once.
    pub(crate) fn was_refused(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }

    /// Brings a part of the bytes under way, then the end; true when something arrived.
    pub(crate) fn deliver(&mut self, rng: &mut Rng, splits: Splits, open: bool) -> bool {
        if self.flying.is_empty() {
            let came = self.end != self.arrived_end;
            self.arrived_end = self.end;
            return came;
        }
        let all = self.flying.len() as u64;
        let n = match splits {
            Splits::Whole => all,
            Splits::Random => match rng.below(5) {
                0 => 1,
                1 => rng.between(1, all.min(8)),
                2 => rng.between(1, all),
                _ => all,
            },
        } as usize;
        if open {
            self.arrived.extend_from_slice(&self.flying[..n]);
        } else {
            self.refused = true;
        }
        self.flying.drain(..n);
        true
    }
}
