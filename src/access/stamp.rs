//! The time as a line says it, made anew once a second.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use httpdate::HttpDate;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A second, in both notations.
#[derive(Debug, Default)]
pub struct Stamps {
    /// Unix time in seconds.
    second: Option<u64>,
    clf: String,
    iso: String,
    whole: String,
}

impl Stamps {
    /// `21/Nov/2026:13:53:38 +0000`, as in the Common Log Format, at so many milliseconds of Unix time.
    pub(super) fn clf(&mut self, unix: u64) -> &str {
        self.renew(unix / 1_000);
        &self.clf
    }

    /// `2026-11-21T13:53:38` (RFC 3339), its milliseconds left to whoever writes it.
    pub(super) fn iso(&mut self, unix: u64) -> &str {
        self.renew(unix / 1_000);
        &self.iso
    }

    fn renew(&mut self, second: u64) {
        if self.second == Some(second) {
            return;
        }
        self.second = Some(second);
        self.whole.clear();
        self.clf.clear();
        self.iso.clear();
        // `Sat, 21 Nov 2026 13:53:38 GMT` (RFC 9110 section 5.6.7): the width is fixed.
        let _ = write!(self.whole, "{}", HttpDate::from(UNIX_EPOCH + Duration::from_secs(second)));
        let part = |range| self.whole.get(range).unwrap_or_default();
        let (day, name, year, time) = (part(5..7), part(8..11), part(12..16), part(17..25));
        let month = MONTHS.iter().position(|month| *month == name).map_or(0, |at| at + 1);
        let _ = write!(self.clf, "{day}/{name}/{year}:{time} +0000");
        let _ = write!(self.iso, "{year}-{month:02}-{day}T{time}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_told_in_both_notations() {
        let mut stamps = Stamps::default();
        for (unix, clf, iso) in [
            (0, "01/Jan/1970:00:00:00 +0000", "1970-01-01T00:00:00"),
            (999, "01/Jan/1970:00:00:00 +0000", "1970-01-01T00:00:00"),
            (1_795_269_218_123, "21/Nov/2026:13:53:38 +0000", "2026-11-21T13:53:38"),
            (1_709_210_096_000, "29/Feb/2024:12:34:56 +0000", "2024-02-29T12:34:56"),
        ] {
            assert_eq!((stamps.clf(unix), unix), (clf, unix));
            assert_eq!((stamps.iso(unix), unix), (iso, unix));
        }
    }
}
