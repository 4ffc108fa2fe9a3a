//! A set of HTTP statuses.

use std::fmt;
use std::ops::RangeInclusive;

use super::quoted;

const LEAST: u16 = 100;
const MOST: u16 = 599;
const WORDS: usize = (MOST - LEAST) as usize / 64 + 1;

/// Statuses from 100 to 599, one bit each.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Statuses([u64; WORDS]);

impl Statuses {
    /// No status.
    pub const NONE: Self = Self([0; WORDS]);

    /// Whether it has this one.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        let at = usize::from(status.wrapping_sub(LEAST));
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    fn add(&mut self, range: RangeInclusive<u16>) {
        for at in range.map(|status| usize::from(status - LEAST)) {
            self.0[at / 64] |= 1 << (at % 64);
        }
    }

    fn ranges(&self) -> Vec<RangeInclusive<u16>> {
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for status in (LEAST..=MOST).filter(|&status| self.contains(status)) {
            match ranges.last_mut() {
                Some(last) if last.end() + 1 == status => *last = *last.start()..=status,
                _ => ranges.push(status..=status),
            }
        }
        ranges
    }
}

impl From<RangeInclusive<u16>> for Statuses {
    /// What of the range lies within 100 to 599.
    fn from(range: RangeInclusive<u16>) -> Self {
        let mut statuses = Self::default();
        statuses.add(*range.start().max(&LEAST)..=*range.end().min(&MOST));
        statuses
    }
}

impl fmt::Display for Statuses {
    /// As [`parse_statuses`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.ranges().into_iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            match (range.start(), range.end()) {
                (start, end) if start == end => write!(f, "{comma}{start}")?,
                (start, end) => write!(f, "{comma}{start}-{end}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Statuses({self})")
    }
}

/// Reads a list such as `200,300-399,5xx`.
///
/// # Errors
/// One line that says what is wrong and what would be right.
pub fn parse_statuses(list: &str) -> Result<Statuses, String> {
    let mut statuses = Statuses::default();
    for part in list.split(',').map(str::trim) {
        let range = range(part).ok_or_else(|| {
            format!("{} is no status; write statuses from 100 to 599, like 200,300-399,5xx", quoted(part))
        })?;
        statuses.add(range);
    }
    Ok(statuses)
}

fn range(part: &str) -> Option<RangeInclusive<u16>> {
    let status = |text: &str| super::digits::<u16>(text).filter(|status| (LEAST..=MOST).contains(status));
    if let Some(class) = part.to_ascii_lowercase().strip_suffix("xx") {
        let class = super::digits::<u16>(class).filter(|class| (1..=5).contains(class))?;
        return Some(class * 100..=class * 100 + 99);
    }
    match part.split_once('-') {
        Some((first, last)) => {
            let (first, last) = (status(first)?, status(last)?);
            (first <= last).then_some(first..=last)
        }
        None => status(part).map(|status| status..=status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for list in ["200", "100-599", "200-299,404,500-599"] {
            assert_eq!(parse_statuses(list).unwrap().to_string(), list);
        }
        let statuses = parse_statuses("5XX, 404").unwrap();
        assert!([404, 500, 599].iter().all(|&status| statuses.contains(status)));
        assert!([0, 99, 403, 405, 499, 600, 1000].iter().all(|&status| !statuses.contains(status)));
        assert_eq!(Statuses::from(0..=u16::MAX), parse_statuses("1xx,2xx,3xx,4xx,5xx").unwrap());
    }

    #[test]
    fn what_is_no_status_is_refused() {
        for bad in ["", "99", "600", "2x", "6xx", "0xx", "300-200", "200,,300", "200-", "ok", "+200"] {
            let line = parse_statuses(bad).unwrap_err();
            assert!(line.contains("is no status") && line.contains("5xx"), "{bad:?}: {line}");
        }
    }
}
