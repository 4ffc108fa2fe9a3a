//! The wall clock, for the times that lines of the log and numbers of requests tell. It is looked at once a second, so
//! that they follow one that was set anew, or a machine that slept.

/// How long a look holds, in milliseconds.
const HOLDS: u64 = 1_000;

/// What stands between the process's own time and Unix time, both in milliseconds.
#[derive(Debug, Default)]
pub(super) struct WallClock {
    /// Unix time of the process's beginning, as of the last look.
    began: u64,
    looked: Option<u64>,
}

impl WallClock {
    /// Looks by `unix`, if the last look was too long ago.
    pub(super) fn follow(&mut self, now: u64, unix: impl FnOnce() -> u64) {
        if self.looked.is_none_or(|looked| now >= looked + HOLDS) {
            (self.looked, self.began) = (Some(now), unix().saturating_sub(now));
        }
    }

    /// Unix time at a time of the process.
    pub(super) fn unix(&self, now: u64) -> u64 {
        self.began + now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_anew_is_followed_within_a_second() {
        let mut clock = WallClock::default();
        let mut tells = |now, unix| {
            clock.follow(now, || unix);
            clock.unix(now)
        };
        assert_eq!(tells(5, 1_790_000_000_005), 1_790_000_000_005);
        assert_eq!(tells(900, 1_790_003_600_900), 1_790_000_000_900, "not looked at yet");
        assert_eq!(tells(1_005, 1_790_003_601_005), 1_790_003_601_005, "an hour on");
        assert_eq!(tells(90_000, 1_789_000_000_000), 1_789_000_000_000, "and back again");
        assert_eq!(tells(91_000, 0), 91_000, "before the beginning of time");
    }

    #[test]
    fn it_is_looked_at_once_a_second_however_many_turns_there_are() {
        let (mut clock, mut looks) = (WallClock::default(), 0);
        (0..10_000).for_each(|now| {
            clock.follow(now, || {
                looks += 1;
                0
            })
        });
        assert_eq!(looks, 10);
    }
}
