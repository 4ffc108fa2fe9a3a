//! Bytes that arrive in pieces.

/// How the bytes are cut: the promise is that nobody can tell.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    Whole,
    /// Pieces of this size.
    Every(usize),
    /// Pieces of 1 to 64 bytes, drawn from this seed.
    Random(u64),
}

/// A side of a connection: bytes of which some have arrived and some are dealt with.
#[derive(Clone, Debug)]
pub(crate) struct Pieces<'a> {
    bytes: &'a [u8],
    taken: usize,
    arrived: usize,
    cut: Cut,
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(bytes: &'a [u8], cut: Cut) -> Self {
        Self { bytes, taken: 0, arrived: 0, cut }
    }

    /// What has arrived and is not dealt with.
    pub(crate) fn at_hand(&self) -> &'a [u8] {
        &self.bytes[self.taken..self.arrived]
    }

    pub(crate) fn take(&mut self, n: usize) {
        assert!(n <= self.arrived - self.taken, "more was taken than there was");
        self.taken += n;
    }

    /// Lets the next piece arrive; false when there is none.
    pub(crate) fn arrive(&mut self) -> bool {
        let left = self.bytes.len() - self.arrived;
        let size = match &mut self.cut {
            Cut::Whole => left,
            Cut::Every(size) => *size,
            Cut::Random(state) => {
                *state =
                    state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (*state >> 58) as usize + 1
            }
        };
        self.arrived += size.min(left);
        left > 0
    }

    /// How many bytes are dealt with.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }
}

/// A seed that follows from the input, so that a failure can be replayed.
pub(crate) fn seed(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}
