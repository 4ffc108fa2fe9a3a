//! Numbers for requests: unique over workers and processes, ordered by time.

/// A UUID of version 7 (RFC 9562 section 5.7) as text.
pub type RequestId = [u8; 36];

/// Where the two digits of each byte stand; between them are hyphens.
const DIGITS: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
const HEX: [u8; 16] = *b"0123456789abcdef";

/// Makes a worker's numbers. Behind the millisecond come a count (36 bits), the worker (10 bits) and what
/// tells this process from others (28 bits).
#[derive(Clone, Copy, Debug)]
pub struct RequestIds {
    count: u64,
    place: u64,
}

impl RequestIds {
    /// Numbers of worker number `worker` in the process known by `process`.
    pub fn new(worker: usize, process: u64) -> Self {
        Self { count: 0, place: (worker as u64 & 0x3ff) << 28 | (process & 0xfff_ffff) }
    }

    /// The next number, at so many milliseconds of Unix time.
    pub fn next(&mut self, unix: u64) -> RequestId {
        self.count = (self.count + 1) & 0xf_ffff_ffff;
        let high = unix << 16 | 7 << 12 | self.count >> 24;
        let low = 2 << 62 | (self.count & 0xff_ffff) << 38 | self.place;
        let number = u128::from(high) << 64 | u128::from(low);
        let mut text = [b'-'; 36];
        for (byte, at) in number.to_be_bytes().into_iter().zip(DIGITS) {
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_version_7_uuids_in_order_and_unique() {
        let mut workers = [RequestIds::new(0, 99), RequestIds::new(1, 99)];
        let mut all = Vec::new();
        for unix in 1_790_000_000_000..1_790_000_000_050_u64 {
            let made = workers.each_mut().map(|ids| ids.next(unix));
            assert!(all.iter().rev().take(2).all(|earlier: &RequestId| *earlier < made[0]));
            all.extend(made);
        }
        let text = std::str::from_utf8(&all[0]).unwrap();
        let shape: Vec<_> = text.split('-').map(str::len).collect();
        assert_eq!(shape, [8, 4, 4, 4, 12], "{text}");
        assert!(text.as_bytes()[14] == b'7' && text.as_bytes()[19] == b'8', "{text}");
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 100);
    }
}
