//! What a client sent, written so that it stays within its place in the line.

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Printable ASCII that means nothing within quotes, in text or in JSON.
fn is_plain(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\'
}

/// Looks at many bytes at once, whatever it finds; at some of the last ones twice, so that hardly any is looked at alone.
#[inline]
fn all_plain(bytes: &[u8], spaces: bool) -> bool {
    let plain = |byte: u8| is_plain(byte) & !(spaces & (byte == b' '));
    let all = |block: &[u8]| block.iter().fold(true, |all, &byte| all & plain(byte));
    let (blocks, rest) = bytes.as_chunks::<16>();
    match (bytes.last_chunk::<16>(), bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(last), ..) => blocks.iter().fold(true, |so_far, block| so_far & all(block)) & all(last),
        (None, Some(first), Some(last)) => all(first) & all(last),
        _ => all(rest),
    }
}

/// Writes `bytes` for a line of text: a quote, a backslash, and what is not printable ASCII, become `\xXX`, as nginx
/// does it. With `spaces` they do too, for a place that no quotes enclose.
pub(super) fn text(out: &mut Vec<u8>, bytes: &[u8], spaces: bool) {
    let plain = |byte: u8| is_plain(byte) && !(spaces && byte == b' ');
    if all_plain(bytes, spaces) {
        out.extend_from_slice(bytes);
        return;
    }
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| !plain(byte)) {
        let byte = rest[at];
        out.extend_from_slice(&rest[..at]);
        let hex = |digit: u8| HEX[usize::from(digit)];
        out.extend_from_slice(&[b'\\', b'x', hex(byte >> 4), hex(byte & 15)]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Writes `bytes` as a JSON string in ASCII: there are characters beyond it that end a line for some readers, or that a
/// terminal obeys. What is not UTF-8 becomes U+FFFD.
pub(super) fn json(out: &mut Vec<u8>, bytes: &[u8]) {
    if all_plain(bytes, false) {
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    out.push(b'"');
    for character in String::from_utf8_lossy(bytes).chars() {
        match character {
            '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
            ' '..='~' => out.push(character as u8),
            _ => character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| code_unit(out, *unit)),
        }
    }
    out.push(b'"');
}

/// `\uXXXX`, of which two make a character beyond the first 65,536.
fn code_unit(out: &mut Vec<u8>, unit: u16) {
    let hex = |shift: u16| HEX[usize::from(unit >> shift & 15)];
    out.extend_from_slice(&[b'\\', b'u', hex(12), hex(8), hex(4), hex(0)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_value_stays_in_its_place() {
        for byte in 0..=255_u8 {
            let value = [b'a', byte, b'z'];
            let mut out = Vec::new();
            text(&mut out, &value, false);
            let right = match byte {
                b'"' | b'\\' | ..b' ' | 0x7f.. => format!("a\\x{byte:02X}z"),
                _ => format!("a{}z", char::from(byte)),
            };
            assert_eq!(out, right.as_bytes(), "{byte}");
            let mut out = Vec::new();
            text(&mut out, &value, true);
            assert!(!out.contains(&b' ') && out.starts_with(b"a") && out.ends_with(b"z"), "{byte}");
            let mut out = Vec::new();
            json(&mut out, &value);
            let read: String = serde_json::from_slice(&out).unwrap_or_else(|e| panic!("{byte}: {e}"));
            assert_eq!(read, String::from_utf8_lossy(&value), "{byte}");
            assert!(out.iter().all(|b| matches!(b, b' '..=b'~')), "{byte}: {out:?}");
        }
    }

    /// Line ends of Unicode, a terminal's escape, a change of direction, and a character of two units.
    #[test]
    fn json_is_ascii_and_says_the_same() {
        let value = "ä\u{85}\u{2028}\u{9b}31m\u{202e}\u{1f600}\0";
        let mut out = Vec::new();
        json(&mut out, value.as_bytes());
        assert_eq!(out, br#""\u00E4\u0085\u2028\u009B31m\u202E\uD83D\uDE00\u0000""#);
        assert_eq!(serde_json::from_slice::<String>(&out).expect("a string"), value);
    }

    #[test]
    fn nothing_and_everything_at_once() {
        let all: Vec<u8> = (0..=255).collect();
        let mut out = Vec::new();
        text(&mut out, &all, false);
        assert_eq!(out.len(), 256 + 3 * (32 + 2 + 129));
        out.clear();
        text(&mut out, b"", false);
        assert!(out.is_empty());
    }
}
