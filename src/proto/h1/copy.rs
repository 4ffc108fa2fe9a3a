//! Copying a head without the lines that must not leave.

use httparse::Header;

/// Appends `head` from offset `from` up to its empty line, without the fields whose bit is set in `dropped`.
///
/// Kept lines are copied as they came: they were checked, so writing them anew would give the same bytes.
pub(super) fn fields(head: &[u8], from: usize, fields: &[Header<'_>], mut dropped: u128, out: &mut Vec<u8>) {
    let end = head.len() - 2;
    let start_of =
        |i: usize| fields.get(i).map_or(end, |f| f.name.as_ptr() as usize - head.as_ptr() as usize);
    let mut run = from;
    while dropped != 0 {
        let i = dropped.trailing_zeros() as usize;
        dropped &= dropped - 1;
        out.extend_from_slice(&head[run..start_of(i)]);
        run = start_of(i + 1);
    }
    out.extend_from_slice(&head[run..end]);
}

/// Appends a number in decimal.
pub(super) fn decimal(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The framing field for a body of that framing; none where there is no body or it ends with the connection.
pub(super) fn framing(framing: super::Framing, out: &mut Vec<u8>) {
    match framing {
        super::Framing::None | super::Framing::UntilClose => {}
        super::Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        super::Framing::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            decimal(length, out);
            out.extend_from_slice(b"\r\n");
        }
    }
}
