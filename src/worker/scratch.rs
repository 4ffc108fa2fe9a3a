//! The worker's own two buffers, through which all bytes pass: always in cache, never held by a connection.

use crate::buffer::{Buffer, Pool};
use crate::exchange::Took;
use crate::limits;

/// Where bytes are read into, and where what was rewritten is put together.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    inbox: Box<[u8]>,
    /// What an exchange wrote for the other side.
    pub(super) outbox: Vec<u8>,
    len: usize,
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self {
            inbox: vec![0; limits::HEADROOM + limits::INBOX].into_boxed_slice(),
            outbox: Vec::with_capacity(limits::LARGE_BUFFER),
            len: 0,
        }
    }

    /// Begins anew, with the bytes that waited from an earlier read.
    pub(super) fn load(&mut self, pending: &mut Option<Buffer>, pool: &mut Pool) {
        self.outbox.clear();
        self.len = 0;
        if let Some(buffer) = pending.take() {
            let bytes = buffer.filled();
            self.len = bytes.len();
            self.inbox[limits::HEADROOM..limits::HEADROOM + bytes.len()].copy_from_slice(bytes);
            pool.give(buffer);
        }
    }

    /// Room behind what is there.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.inbox[limits::HEADROOM + self.len..]
    }

    /// So many bytes were put into the room.
    pub(super) fn add(&mut self, n: usize) {
        self.len += n;
    }

    /// What was loaded and read.
    pub(super) fn input(&self) -> &[u8] {
        &self.inbox[limits::HEADROOM..limits::HEADROOM + self.len]
    }

    /// Input and outbox at once.
    pub(super) fn split(&mut self) -> (&[u8], &mut Vec<u8>) {
        (&self.inbox[limits::HEADROOM..limits::HEADROOM + self.len], &mut self.outbox)
    }

    /// The bytes for the other side in one piece. Where the outbox fits before the part that passes as it
    /// is, over bytes already dealt with, it is put there, and the larger part is not moved.
    pub(super) fn joined(&mut self, took: &Took) -> &[u8] {
        let (start, end) = (limits::HEADROOM + took.pass.start, limits::HEADROOM + took.pass.end);
        if took.pass.is_empty() {
            return &self.outbox;
        }
        let head = self.outbox.len();
        if head <= start {
            self.inbox[start - head..start].copy_from_slice(&self.outbox);
            return &self.inbox[start - head..end];
        }
        self.outbox.extend_from_slice(&self.inbox[start..end]);
        &self.outbox
    }

    /// A buffer with the input from `offset` on; `None` when that is nothing.
    pub(super) fn rest(&self, offset: usize, pool: &mut Pool) -> Option<Buffer> {
        let rest = &self.input()[offset..];
        (!rest.is_empty()).then(|| pool.copy(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_and_body_leave_in_one_piece() {
        let mut pool = Pool::default();
        for head in [0, 3, limits::HEADROOM, limits::HEADROOM + 100] {
            let mut scratch = Scratch::new();
            scratch.load(&mut Some(pool.copy(b"old-head|body|next")), &mut pool);
            scratch.outbox.extend(std::iter::repeat_n(b'h', head));
            let joined = scratch.joined(&Took { consumed: 13, pass: 9..13 }).to_vec();
            assert_eq!(joined.len(), head + 4);
            assert!(joined.ends_with(b"body") && joined[..head].iter().all(|&b| b == b'h'));
            assert_eq!(scratch.rest(13, &mut pool).unwrap().filled(), b"|next");
        }
    }
}
