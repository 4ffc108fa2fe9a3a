//! Finding the end of a head without reading any byte twice.

use super::Refusal;

/// Bytes looked at together: what one register of any x86-64 or AArch64 holds.
const BLOCK: usize = 16;

/// The offset behind the empty line that ends the head, or `None` while it has not come.
///
/// `from` is where the last look at these bytes stopped (their length at that time). Lines must end in CRLF.
pub fn end_of_head(bytes: &[u8], from: usize) -> Result<Option<usize>, Refusal> {
    let quiet = quiet_until(bytes, from);
    for (lf, &byte) in bytes.iter().enumerate().skip(quiet) {
        if byte != b'\n' {
            continue;
        }
        if lf == 0 || bytes[lf - 1] != b'\r' {
            return Err(Refusal::BareLf);
        }
        if lf >= 3 && bytes[lf - 2] == b'\n' {
            return Ok(Some(lf + 1));
        }
    }
    Ok(None)
}

/// Passes over whole blocks in which no line is empty and each LF has its CR: most of a head. Written so that the
/// compiler compares a block at once; a search for each line's end costs more than the lines are long.
fn quiet_until(bytes: &[u8], from: usize) -> usize {
    let mut at = from.max(2);
    if bytes.len() < at || bytes[from..at].contains(&b'\n') {
        return from;
    }
    let views = bytes[at..].chunks_exact(BLOCK).zip(bytes[at - 1..].chunks_exact(BLOCK));
    for ((now, before), earlier) in views.zip(bytes[at - 2..].chunks_exact(BLOCK)) {
        let mut stop = false;
        for i in 0..BLOCK {
            stop |= (now[i] == b'\n') & ((before[i] != b'\r') | (earlier[i] == b'\n'));
        }
        if stop {
            return at;
        }
        at += BLOCK;
    }
    at
}

/// Bytes of empty lines before a request line, and whether more could follow (the bytes end within them).
pub fn empty_lines(bytes: &[u8], most: usize) -> Result<(usize, bool), Refusal> {
    let mut at = 0;
    for _ in 0..=most {
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'\r'), Some(b'\n')) => at += 2,
            (None, _) | (Some(b'\r'), None) => return Ok((at, true)),
            _ => return Ok((at, false)),
        }
    }
    Err(Refusal::EmptyLines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_from_any_stop() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\n";
        for stop in 0..head.len() {
            let first = end_of_head(&head[..stop], 0).unwrap();
            assert_eq!(first.is_some(), stop >= 27);
            if first.is_none() {
                assert_eq!(end_of_head(head, stop).unwrap(), Some(27));
            }
        }
        assert_eq!(end_of_head(b"GET / HTTP/1.1\nHost: a", 0), Err(Refusal::BareLf));
        assert_eq!(end_of_head(b"\n", 0), Err(Refusal::BareLf));
        assert_eq!(end_of_head(b"a\nbcdefghijklmnopqrstuvwxyz", 0), Err(Refusal::BareLf));
    }

    /// Line by line, byte by byte: what the blocks must find too.
    fn plainly(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        for lf in (0..bytes.len()).filter(|&at| bytes[at] == b'\n') {
            if lf == 0 || bytes[lf - 1] != b'\r' {
                return Err(Refusal::BareLf);
            }
            if bytes[..lf].ends_with(b"\r\n\r") {
                return Ok(Some(lf + 1));
            }
        }
        Ok(None)
    }

    #[test]
    fn blocks_find_what_a_look_at_each_byte_finds() {
        let mut dice = fastrand::Rng::with_seed(1);
        for _ in 0..200_000 {
            let sides = dice.u8(3..40);
            let byte = |_| match dice.u8(..sides) {
                0 => b'\n',
                1 => b'\r',
                _ => b'a',
            };
            let mut bytes: Vec<u8> = (0..100).map(byte).collect();
            bytes.truncate(dice.usize(..100));
            for _ in 0..dice.usize(..6) {
                let at = dice.usize(..=bytes.len());
                bytes.splice(at..at, *b"\r\n");
            }
            let from = dice.usize(..=bytes.len());
            let whole = plainly(&bytes);
            assert_eq!(end_of_head(&bytes, 0), whole, "{bytes:?}");
            if plainly(&bytes[..from]) == Ok(None) {
                assert_eq!(end_of_head(&bytes, from), whole, "{bytes:?} from {from}");
            }
        }
    }

    #[test]
    fn two_empty_lines_are_passed_over() {
        assert_eq!(empty_lines(b"GET", 2), Ok((0, false)));
        assert_eq!(empty_lines(b"\r\nGET", 2), Ok((2, false)));
        assert_eq!(empty_lines(b"\r\n\r", 2), Ok((2, true)));
        assert_eq!(empty_lines(b"\r\n\r\n\r\n", 2), Err(Refusal::EmptyLines));
        assert_eq!(empty_lines(b"\rG", 2), Ok((0, false)));
    }
}
