//! Single values as a person writes them: durations, sizes, counts, paths.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Longest duration taken: beyond a year a unit was forgotten.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// Nanoseconds are the finest a [`Duration`] holds.
const FRACTION_DIGITS_MAX: usize = 9;
/// A message quotes this many characters of a value at most, so that it stays one readable line.
const QUOTED_MAX: usize = 100;

/// Reads `500ms`, `2s`, `1m`, `1h` or a bare number of seconds, each with an optional fraction (`1.5s`).
///
/// # Errors
/// One line that says what is wrong and what would be right; it does not repeat the value.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const RIGHT: &str = "write 500ms, 2s, 1m, 1h or a number of seconds";
    if text.is_empty() {
        return Err(format!("empty; {RIGHT}"));
    }
    if text.starts_with('-') {
        return Err(format!("a duration cannot be negative; {RIGHT}"));
    }
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(format!("not a duration; {RIGHT}"));
    }
    let unit_nanos: u64 = match unit {
        "ms" => 1_000_000,
        "" | "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3600 * 1_000_000_000,
        _ => return Err(format!("{} is not a unit of time; {RIGHT}", quoted(unit))),
    };
    if fraction.len() > FRACTION_DIGITS_MAX {
        return Err(format!("more than {FRACTION_DIGITS_MAX} digits after the point; {RIGHT}"));
    }
    let too_long = || "longer than a year; was a unit forgotten (ms, s, m, h)?".to_owned();
    let whole: u64 = whole.parse().map_err(|_| too_long())?;
    // At most 9 digits, each a digit: these cannot fail or overflow.
    let fraction_nanos = fraction.parse::<u64>().unwrap_or(0) as u128 * u128::from(unit_nanos)
        / 10u128.pow(fraction.len() as u32);
    let nanos = u128::from(whole) * u128::from(unit_nanos) + fraction_nanos;
    match u64::try_from(nanos).map(Duration::from_nanos) {
        Ok(duration) if duration <= DURATION_MAX => Ok(duration),
        _ => Err(too_long()),
    }
}

/// Reads a number of bytes within `range`: `8192`, `32k`, `1m`, `2g`; `kb` and `KiB` are the same as `k`.
///
/// Units are powers of 1024 in any spelling, as in nginx and HAProxy; upper and lower case are one.
///
/// # Errors
/// One line that says what is wrong and what would be right; it does not repeat the value.
pub fn parse_size(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    const RIGHT: &str = "write a whole number of bytes, or one with k, m or g, like 32k";
    if text.is_empty() {
        return Err(format!("empty; {RIGHT}"));
    }
    let number_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(number_end);
    if number.is_empty() || unit.starts_with('.') {
        return Err(format!("not a size; {RIGHT}"));
    }
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(format!("{} is not a unit of size; {RIGHT}", quoted(unit))),
    };
    let bytes = number.parse().ok().and_then(|number: u64| number.checked_mul(1 << shift));
    match bytes.filter(|bytes| range.contains(bytes)) {
        Some(bytes) => Ok(bytes),
        None if *range.end() == u64::MAX => Err("too large; it must fit 64 bits".to_owned()),
        None => Err(format!("must be a size from {} to {}", size(*range.start()), size(*range.end()))),
    }
}

/// A number of bytes as [`parse_size`] reads it, in the largest unit that leaves it whole.
pub(crate) fn size(bytes: u64) -> String {
    let units = [(30, "g"), (20, "m"), (10, "k")];
    let unit = units.into_iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    unit.map_or_else(|| bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

/// Reads a whole number within `range`, digits only.
///
/// # Errors
/// One line that gives the range; it does not repeat the value.
pub fn parse_count(text: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    digits(text)
        .filter(|number| range.contains(number))
        .ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
}

/// Reads a whole number of percent within `range`, `20` or `20%`.
///
/// # Errors
/// One line that gives the range; it does not repeat the value.
pub fn parse_percent(text: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    parse_count(text.strip_suffix('%').unwrap_or(text), range)
}

/// Reads the path of the short status: empty turns it off.
///
/// # Errors
/// One line that says what is wrong and what would be right; it does not repeat the value.
pub fn parse_status_path(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.starts_with('/') {
        return Err("must begin with /, or be empty to turn the status off".to_owned());
    }
    if let Some(bad) = text.chars().find(|c| matches!(c, '?' | '#')) {
        return Err(format!("a path only, without a query or a fragment: {bad:?} may not stand in it"));
    }
    // Anything else never arrives in a request line, so the path would silently never answer.
    match text.chars().find(|c| !c.is_ascii_graphic()) {
        Some(bad) => Err(format!("only visible ASCII may stand in it: {bad:?} may not; write it as %XX")),
        None => Ok(Some(text.to_owned())),
    }
}

/// The number that `text` writes in digits alone: unlike `parse`, no sign.
pub(crate) fn digits<N: std::str::FromStr>(text: &str) -> Option<N> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// `text` in double quotes, escaped and shortened so that it cannot break a line or a terminal.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let cases = [
            ("500ms", Duration::from_millis(500)),
            ("2s", Duration::from_secs(2)),
            ("1m", Duration::from_secs(60)),
            ("1h", Duration::from_secs(3600)),
            ("10", Duration::from_secs(10)),
            ("0", Duration::ZERO),
            ("0ms", Duration::ZERO),
            ("0.5", Duration::from_millis(500)),
            ("1.5s", Duration::from_millis(1500)),
            ("0.1", Duration::from_millis(100)),
            ("2.5ms", Duration::from_micros(2500)),
            ("1.1m", Duration::from_secs(66)),
            ("0.000000001", Duration::from_nanos(1)),
            ("0.999999999", Duration::from_nanos(999_999_999)),
            ("007", Duration::from_secs(7)),
            ("8760h", DURATION_MAX),
            ("31536000", DURATION_MAX),
        ];
        for (text, right) in cases {
            assert_eq!(parse_duration(text), Ok(right), "{text}");
        }
    }

    #[test]
    fn bad_durations_are_refused() {
        let cases = [
            ("", "empty"),
            ("-1", "negative"),
            ("-1s", "negative"),
            ("s", "not a duration"),
            (".", "not a duration"),
            (".5", "not a duration"),
            ("5.", "not a duration"),
            ("1..5", "not a duration"),
            ("1.2.3", "not a duration"),
            ("+1", "not a duration"),
            ("NaN", "not a duration"),
            (" 1", "not a duration"),
            ("1e3", "\"e3\" is not a unit"),
            ("1 s", "\" s\" is not a unit"),
            ("2S", "\"S\" is not a unit"),
            ("1d", "\"d\" is not a unit"),
            ("1µs", "\"µs\" is not a unit"),
            ("1m30s", "\"m30s\" is not a unit"),
            ("1\n", "\"\\n\" is not a unit"),
            ("0.0000000001", "more than 9 digits"),
            ("31536001", "longer than a year"),
            ("8760.1h", "longer than a year"),
            ("18446744073709551615h", "longer than a year"),
            ("18446744073709551616", "longer than a year"),
            ("99999999999999999999999999999999999999999999999999", "longer than a year"),
        ];
        for (text, wrong) in cases {
            let message = parse_duration(text).expect_err(text);
            assert!(message.contains(wrong), "{text:?} gave {message:?}");
        }
    }

    #[test]
    fn sizes_are_read() {
        let cases = [
            ("0", 0),
            ("1", 1),
            ("007", 7),
            ("8192", 8192),
            ("100b", 100),
            ("1k", 1024),
            ("0k", 0),
            ("32K", 32 * 1024),
            ("32kb", 32 * 1024),
            ("32KB", 32 * 1024),
            ("32KiB", 32 * 1024),
            ("1m", 1024 * 1024),
            ("10MiB", 10 * 1024 * 1024),
            ("2g", 2 * 1024 * 1024 * 1024),
            ("2gb", 2 * 1024 * 1024 * 1024),
            ("18446744073709551615", u64::MAX),
            ("17179869183g", u64::MAX - (1 << 30) + 1),
        ];
        for (text, right) in cases {
            assert_eq!(parse_size(text, 0..=u64::MAX), Ok(right), "{text}");
            assert_eq!(parse_size(&size(right), 0..=u64::MAX), Ok(right), "{text}");
        }
        for (bytes, right) in [(0, "0"), (64, "64"), (1025, "1025"), (60 * 1024, "60k"), (3 << 30, "3g")] {
            assert_eq!(size(bytes), right);
        }
    }

    #[test]
    fn bad_sizes_are_refused() {
        let cases = [
            ("", "empty; write a whole number of bytes, or one with k, m or g, like 32k"),
            ("-1", "not a size"),
            ("+1", "not a size"),
            ("k", "not a size"),
            (" 1", "not a size"),
            ("much", "not a size"),
            ("1.5k", "not a size"),
            (".5k", "not a size"),
            ("1 k", "\" k\" is not a unit"),
            ("1k ", "\"k \" is not a unit"),
            ("1t", "\"t\" is not a unit"),
            ("1bit", "\"bit\" is not a unit"),
            ("1ki", "\"ki\" is not a unit"),
            ("0x10", "\"x10\" is not a unit"),
            ("1e3", "\"e3\" is not a unit"),
            ("1,000", "\",000\" is not a unit"),
            ("1\n", "\"\\n\" is not a unit"),
            ("\u{661}", "not a size"),
            ("18446744073709551616", "too large; it must fit 64 bits"),
            ("17179869184g", "too large"),
            ("99999999999999999999999999999999999999999999999999k", "too large"),
        ];
        for (text, wrong) in cases {
            let message = parse_size(text, 0..=u64::MAX).expect_err(text);
            assert!(message.contains(wrong), "{text:?} gave {message:?}");
            assert!(!message.contains(char::is_control), "{text:?} gave {message:?}");
        }
        for text in ["0", "63", "60k", "18446744073709551615g"] {
            let message = parse_size(text, 64..=32 * 1024).expect_err(text);
            assert_eq!(message, "must be a size from 64 to 32k", "{text}");
        }
    }

    #[test]
    fn counts_keep_their_range() {
        for (text, right) in [("1", 1), ("15", 15), ("007", 7)] {
            assert_eq!(parse_count(text, 1..=15), Ok(right), "{text}");
        }
        for text in ["", "0", "16", "-1", "+1", "1.0", "0x1", " 1", "١", "four", "99999999999999999999"] {
            assert_eq!(
                parse_count(text, 1..=15),
                Err("must be a whole number from 1 to 15".into()),
                "{text}"
            );
        }
    }

    #[test]
    fn percents_may_say_so() {
        assert_eq!(parse_percent("20", 0..=100), Ok(20));
        assert_eq!(parse_percent("100%", 0..=100), Ok(100));
        for text in ["", "%", "20 %", "20%%", "101", "-1%", "0.5"] {
            assert_eq!(parse_percent(text, 0..=100), parse_count("", 0..=100), "{text}");
        }
    }

    #[test]
    fn status_paths_are_checked() {
        assert_eq!(parse_status_path(""), Ok(None));
        for text in ["/", "/lb-status", "/a/b%20c", "/~x"] {
            assert_eq!(parse_status_path(text), Ok(Some(text.to_owned())));
        }
        let cases = [
            ("lb-status", "must begin with /"),
            ("http://x/", "must begin with /"),
            (" /x", "must begin with /"),
            ("/x?y", "'?' may not"),
            ("/x#y", "'#' may not"),
            ("/x y", "' ' may not"),
            ("/x\ty", "'\\t' may not"),
            ("/x\r\n", "'\\r' may not"),
            ("/x\0", "'\\0' may not"),
            ("/x\u{7f}", "'\\u{7f}' may not"),
            ("/zustände", "'ä' may not"),
        ];
        for (text, wrong) in cases {
            let message = parse_status_path(text).expect_err(text);
            assert!(message.contains(wrong), "{text:?} gave {message:?}");
        }
    }

    #[test]
    fn quoting_keeps_one_short_line() {
        assert_eq!(quoted("a\nb\u{1b}[1m\u{202e}"), r#""a\nb\u{1b}[1m\u{202e}""#);
        assert_eq!(quoted(&"ä".repeat(100)), format!("\"{}\"", "ä".repeat(100)));
        assert_eq!(quoted(&"ä".repeat(101)), format!("\"{}\"…", "ä".repeat(100)));
    }
}
