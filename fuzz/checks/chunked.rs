use evenkeel::proto::h1::{Body, Framing, Refusal};

use super::split::{Cut, Pieces, seed};

/// What became of a chunked body.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    data: Vec<u8>,
    taken: usize,
    done: bool,
}

/// Any split of a chunked body gives the same data, end and refusal.
pub(crate) fn chunked_body(bytes: &[u8]) {
    let whole = decode(bytes, Cut::Whole, false).map(|(decoded, _)| decoded);
    for cut in [Cut::Every(1), Cut::Every(3), Cut::Random(seed(bytes))] {
        assert_eq!(decode(bytes, cut, false).map(|(decoded, _)| decoded), whole, "cut: {cut:?}");
        check_written(bytes, cut, &whole);
    }
    check_written(bytes, Cut::Whole, &whole);
    if let Ok(Decoded { data, taken, done: true }) = &whole {
        assert_eq!(reference(bytes), Some((data.clone(), *taken)));
    }
}

/// What is framed anew reads the same, and holds nothing behind its end.
fn check_written(bytes: &[u8], cut: Cut, whole: &Result<Decoded, Refusal>) {
    let (written, out) = match (decode(bytes, cut, true), whole) {
        (Ok(decoded), Ok(_)) => decoded,
        (Err(refusal), whole) => return assert_eq!(Err(&refusal), whole.as_ref(), "cut: {cut:?}"),
        (Ok(_), Err(refusal)) => panic!("{refusal:?} was not noticed with {cut:?}"),
    };
    let whole = whole.as_ref().expect("compared above");
    assert_eq!((written.taken, written.done), (whole.taken, whole.done));
    let again = decode(&out, Cut::Whole, false).expect("what was written is valid").0;
    assert_eq!((again.data.as_slice(), again.done), (whole.data.as_slice(), whole.done));
    assert_eq!(again.taken, out.len());
    let (_, twice) = decode(&out, Cut::Whole, true).expect("what was written is valid");
    assert_eq!(twice, out, "trailers and chunks that we wrote are passed on as they are");
}

/// The body's data when it is not framed anew; the bytes that leave in either case.
fn decode(bytes: &[u8], cut: Cut, chunked: bool) -> Result<(Decoded, Vec<u8>), Refusal> {
    let (mut body, mut pieces, mut out) = (Body::new(Framing::Chunked), Pieces::new(bytes, cut), Vec::new());
    loop {
        let input = pieces.at_hand();
        let relayed = body.relay(input, chunked, &mut out)?;
        out.extend_from_slice(&input[relayed.pass]);
        pieces.take(relayed.consumed);
        if body.is_done() || !pieces.arrive() {
            break;
        }
    }
    let data = if chunked { Vec::new() } else { out.clone() };
    Ok((Decoded { data, taken: pieces.taken(), done: body.is_done() }, out))
}

/// A second decoder, which trusts the first that the body is well-formed.
fn reference(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let line_end = |from: usize| Some(from + bytes.get(from..)?.windows(2).position(|w| w == b"\r\n")?);
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let end = line_end(at)?;
        let digits: String =
            bytes[at..end].iter().map(|&b| b as char).take_while(char::is_ascii_hexdigit).collect();
        let size = usize::from_str_radix(&digits, 16).ok()?;
        at = end + 2;
        if size == 0 {
            break;
        }
        data.extend_from_slice(bytes.get(at..at + size)?);
        at += size + 2;
    }
    loop {
        let end = line_end(at)?;
        let empty = end == at;
        at = end + 2;
        if empty {
            return Some((data, at));
        }
    }
}
