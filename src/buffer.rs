//! Buffers of fixed capacity, lent to a connection only while it has bytes that must wait.

use crate::limits;

/// A window of bytes: filled at the end, consumed at the start.
#[derive(Debug)]
pub struct Buffer {
    bytes: Box<[u8]>,
    start: u32,
    end: u32,
}

impl Buffer {
    fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity].into_boxed_slice(), start: 0, end: 0 }
    }

    /// What was filled and not yet consumed.
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.start as usize..self.end as usize]
    }

    /// Everything filled, consumed or not.
    pub fn whole(&self) -> &[u8] {
        &self.bytes[..self.end as usize]
    }

    /// True when nothing is left to consume.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Moves the start over `n` bytes of [`Self::filled`].
    pub fn consume(&mut self, n: usize) {
        debug_assert!(n <= (self.end - self.start) as usize);
        self.start += n as u32;
    }

    /// Moves the start back to the first byte.
    pub fn rewind(&mut self) {
        self.start = 0;
    }
}

/// A worker's spare buffers, two sizes, the last one returned lent first: it is still in cache.
#[derive(Debug, Default)]
pub struct Pool {
    small: Vec<Buffer>,
    large: Vec<Buffer>,
    lent: usize,
    lent_bytes: usize,
}

/// What buffers take of memory at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// Buffers out.
    pub lent: usize,
    /// Their sizes together.
    pub lent_bytes: usize,
    /// Sizes of the spare ones together.
    pub spare_bytes: usize,
}

impl Pool {
    /// A buffer holding a copy of `bytes`; one of its own if it must be larger than [`limits::LARGE_BUFFER`].
    pub fn copy(&mut self, bytes: &[u8]) -> Buffer {
        self.lent += 1;
        let mut buffer = if bytes.len() <= limits::SMALL_BUFFER {
            self.small.pop().unwrap_or_else(|| Buffer::new(limits::SMALL_BUFFER))
        } else if bytes.len() <= limits::LARGE_BUFFER {
            self.large.pop().unwrap_or_else(|| Buffer::new(limits::LARGE_BUFFER))
        } else {
            Buffer::new(bytes.len())
        };
        self.lent_bytes += buffer.bytes.len();
        buffer.start = 0;
        buffer.end = bytes.len() as u32;
        buffer.bytes[..bytes.len()].copy_from_slice(bytes);
        buffer
    }

    /// Takes a buffer back.
    pub fn give(&mut self, buffer: Buffer) {
        self.lent -= 1;
        self.lent_bytes -= buffer.bytes.len();
        let (spare, most) = match buffer.bytes.len() {
            limits::SMALL_BUFFER => (&mut self.small, limits::SPARE_SMALL_BUFFERS),
            limits::LARGE_BUFFER => (&mut self.large, limits::SPARE_LARGE_BUFFERS),
            _ => return,
        };
        if spare.len() < most {
            spare.push(buffer);
        }
    }

    /// Buffers out at present.
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// What all of them take at present.
    pub fn in_use(&self) -> Use {
        let spare_bytes = self.small.len() * limits::SMALL_BUFFER + self.large.len() * limits::LARGE_BUFFER;
        Use { lent: self.lent, lent_bytes: self.lent_bytes, spare_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_buffer_is_lent_again_and_starts_clean() {
        let mut pool = Pool::default();
        let mut first = pool.copy(b"hello");
        first.consume(2);
        assert_eq!(first.filled(), b"llo");
        assert_eq!(first.whole(), b"hello");
        let place = first.bytes.as_ptr();
        pool.give(first);
        let second = pool.copy(b"x");
        assert_eq!((second.bytes.as_ptr(), second.filled()), (place, &b"x"[..]));
        assert_eq!(pool.lent(), 1);
        let large = pool.copy(&vec![7; limits::SMALL_BUFFER + 1]);
        assert_eq!(large.filled().len(), limits::SMALL_BUFFER + 1);
        let own = pool.copy(&vec![7; limits::LARGE_BUFFER + 1]);
        let all = limits::SMALL_BUFFER + limits::LARGE_BUFFER;
        let lent_bytes = all + limits::LARGE_BUFFER + 1;
        assert_eq!(pool.in_use(), Use { lent: 3, lent_bytes, spare_bytes: 0 });
        [own, large, second].into_iter().for_each(|buffer| pool.give(buffer));
        assert_eq!(pool.in_use(), Use { lent: 0, lent_bytes: 0, spare_bytes: all });
    }
}
