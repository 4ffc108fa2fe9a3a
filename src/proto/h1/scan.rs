//! Finding the end of a head without reading any byte twice.

use memchr::memchr_iter;

use super::Refusal;

/// The offset behind the empty line that ends the head, or `None` while it has not come.
///
/// `from` is where the last look at these bytes stopped (their length at that time). Lines must end in CRLF.
pub fn end_of_head(bytes: &[u8], from: usize) -> Result<Option<usize>, Refusal> {
    for lf in memchr_iter(b'\n', &bytes[from..]) {
        let lf = from + lf;
        if lf == 0 || bytes[lf - 1] != b'\r' {
            return Err(Refusal::BareLf);
        }
        if lf >= 3 && bytes[lf - 2] == b'\n' {
            return Ok(Some(lf + 1));
        }
    }
    Ok(None)
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
