//! A far end that speaks no protocol: it sends by its script, and keeps what comes and how that ended.

use crate::net::{Tail, Wires};
use crate::peer::{Act, Peer, Wait};
use crate::pipe::End;

/// How fast a side reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Eager,
    /// So many bytes, and again after so many milliseconds.
    Slow(usize, u64),
    Never,
}

/// A client, or a backend's side of one connection.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) peer: Peer,
    reading: Reading,
    next_read: u64,
    /// All that came.
    pub(crate) got: Vec<u8>,
    /// The other side was seen to end, behind all that it had sent.
    pub(crate) saw_end: bool,
    pub(crate) saw_reset: bool,
    /// It has said all and ended its side.
    pub(crate) ended: bool,
}

impl Side {
    pub(crate) fn new(line: usize, acts: Vec<Act>, reading: Reading) -> Self {
        let peer = Peer::new(line, acts);
        let got = Vec::new();
        Self { peer, reading, next_read: 0, got, saw_end: false, saw_reset: false, ended: false }
    }

    pub(crate) fn turn(&mut self, wires: &mut Wires) {
        if self.peer.gone {
            return;
        }
        self.read(wires);
        let over = self.saw_end || self.saw_reset;
        self.peer.act(wires, |wait| wait == Wait::End && over);
        self.ended |= wires.lines[self.peer.line].inbound.end() == End::Fin;
        // One that never reads never learns of it, and is told by a write at the latest.
        let deaf = self.reading == Reading::Never && !wires.near_is_open(self.peer.line);
        if self.saw_reset || deaf {
            self.peer.close(wires);
        }
    }

    fn read(&mut self, wires: &mut Wires) {
        let most = match self.reading {
            Reading::Eager => usize::MAX,
            Reading::Never => return,
            Reading::Slow(..) if wires.now < self.next_read => return,
            Reading::Slow(bytes, every) => {
                self.next_read = wires.now + every;
                bytes
            }
        };
        self.got.extend(wires.far_read(self.peer.line, most));
        match wires.far_tail(self.peer.line) {
            Tail::Open => {}
            Tail::Ended => self.saw_end = true,
            Tail::Reset => self.saw_reset = true,
        }
    }

    /// When it goes on by itself.
    pub(crate) fn wakes(&self, now: u64) -> Option<u64> {
        let read = matches!(self.reading, Reading::Slow(..)) && !self.peer.gone && self.next_read > now;
        read.then_some(self.next_read).into_iter().chain(self.peer.wakes(now)).min()
    }
}
