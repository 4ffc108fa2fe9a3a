//! Rise and fall: how many results in a row change what is believed of a backend.

/// The latest results of one backend, as far as they agree.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Streak {
    good: bool,
    /// 0 while there is no result.
    count: u32,
}

/// What a result means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// What is to be believed from now on.
    pub(super) up: bool,
    /// No result came before this one.
    pub(super) is_first: bool,
}

impl Streak {
    /// Adds a result. The first one decides alone: at a start nobody knows better, and traffic comes at once.
    /// Later a backend that is believed down needs `rise` good ones in a row, and one that is believed up `fall`
    /// bad ones.
    pub(super) fn add(&mut self, good: bool, believed: bool, rise: u32, fall: u32) -> Verdict {
        let is_first = self.count == 0;
        self.count = if good == self.good { self.count.saturating_add(1) } else { 1 };
        self.good = good;
        let enough = if good { rise } else { fall };
        let up = if is_first || self.count >= enough { good } else { believed };
        Verdict { up, is_first }
    }

    /// How many results in a row agree.
    pub(super) fn count(self) -> u32 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Believed after each of these results, `+` or `-`, as `U` or `D`; up at first.
    fn beliefs(results: &str, rise: u32, fall: u32) -> String {
        let (mut streak, mut up) = (Streak::default(), true);
        let mut next = |result| {
            up = streak.add(result == '+', up, rise, fall).up;
            if up { 'U' } else { 'D' }
        };
        results.chars().map(&mut next).collect()
    }

    #[test]
    fn the_first_decides_alone_then_so_many_in_a_row() {
        assert_eq!(beliefs("-++---+-++", 2, 3), "DDUUUDDDDU");
        assert_eq!(beliefs("+---++", 2, 3), "UUUDDU");
        assert_eq!(beliefs("+-+-", 1, 1), "UDUD");
        assert_eq!(beliefs("++++++++++--", 3, 2), "UUUUUUUUUUUD");
    }

    #[test]
    fn blips_change_nothing() {
        assert_eq!(beliefs("+--+--+--+-+", 2, 3), "U".repeat(12));
        assert_eq!(beliefs("-+-+-+-+-+", 2, 3), "D".repeat(10));
    }

    #[test]
    fn a_row_is_counted_on() {
        let mut streak = Streak::default();
        assert_eq!(streak.add(false, true, 2, 3), Verdict { up: false, is_first: true });
        assert_eq!(streak.add(false, false, 2, 3), Verdict { up: false, is_first: false });
        assert_eq!(streak.count(), 2);
        streak.add(true, false, 2, 3);
        assert_eq!(streak.count(), 1);
    }
}
