//! What an event is about, in the 64 bits that the kernel gives back with it.

use crate::slab::Key;

/// Kind in the top two bits, generation in the next thirty, index in the low half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// A listener, by position.
    Listener(usize),
    /// A command waits in the channel.
    Wake,
    /// The alarm rings.
    Alarm,
    /// A downstream connection.
    Downstream(Key),
    /// An upstream connection, idle or not.
    Upstream(Key),
}

impl Token {
    /// As the kernel keeps it.
    pub fn pack(self) -> usize {
        let (kind, generation, index) = match self {
            Self::Listener(i) => (0, 0, i as u32),
            Self::Wake => (1, 0, 0),
            Self::Alarm => (1, 0, 1),
            Self::Downstream(key) => (2, key.generation, key.index),
            Self::Upstream(key) => (3, key.generation, key.index),
        };
        kind << 62 | (generation as usize) << 32 | index as usize
    }

    /// As it was before [`Self::pack`].
    pub fn unpack(packed: usize) -> Self {
        let key =
            Key { index: packed as u32, generation: (packed >> 32) as u32 & (crate::slab::GENERATIONS - 1) };
        match packed >> 62 {
            0 => Self::Listener(key.index as usize),
            1 if key.index == 0 => Self::Wake,
            1 => Self::Alarm,
            2 => Self::Downstream(key),
            _ => Self::Upstream(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        let key = Key { index: u32::MAX - 1, generation: crate::slab::GENERATIONS - 1 };
        for token in
            [Token::Listener(3), Token::Wake, Token::Alarm, Token::Downstream(key), Token::Upstream(key)]
        {
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }
}
