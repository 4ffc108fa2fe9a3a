use evenkeel::limits;
use evenkeel::proto::h1::edits::Edits;
use evenkeel::proto::h1::request;
use evenkeel::proto::h1::response::{Connection, Response};
use evenkeel::proto::h1::{Framing, Refusal, scan};

use super::lines::Lines;

/// A response head that is accepted is written as one head that means the same.
pub(crate) fn response_head(bytes: &[u8]) {
    // A response has no empty lines before it that could be passed over.
    let Ok(Some(end)) = scan::end_of_head(bytes, 0) else { return };
    let head = &bytes[..end];
    for to_head in [false, true] {
        let mut space = request::fields();
        let Ok(response) = Response::parse(head, to_head, &mut space) else { continue };
        assert!((100..1000).contains(&response.status));
        if response.is_interim() || response.status == 101 {
            assert_eq!(response.framing, Framing::None);
            check(head, &response, to_head, Framing::None, Connection::Kept);
            continue;
        }
        let to_http_11 =
            if response.framing == Framing::UntilClose { Framing::Chunked } else { response.framing };
        check(head, &response, to_head, to_http_11, Connection::Kept);
        check(head, &response, to_head, to_http_11, Connection::Close);
        let to_http_10 =
            if response.framing == Framing::Chunked { Framing::UntilClose } else { response.framing };
        let connection =
            if to_http_10 == Framing::UntilClose { Connection::Close } else { Connection::KeptHttp10 };
        check(head, &response, to_head, to_http_10, connection);
    }
}

fn check(head: &[u8], response: &Response<'_, '_>, to_head: bool, framing: Framing, connection: Connection) {
    let mut out = Vec::new();
    response.write(framing, connection, &Edits::default(), b"", &mut out);
    assert_eq!(scan::end_of_head(&out, 0), Ok(Some(out.len())), "one head, no more");
    let (before, after) = (Lines::read(head), Lines::read(&out));
    after.check_sent();
    if response.status != 101 {
        assert_eq!(after.all("upgrade").count(), 0);
    }
    let kept = |lines: &Lines| {
        let all = lines.end_to_end();
        all.into_iter().cloned().collect::<Vec<_>>()
    };
    assert_eq!(kept(&before), kept(&after), "fields to be passed on");

    let mut space = request::fields();
    let again = match Response::parse(&out, to_head, &mut space) {
        Ok(again) => again,
        Err(Refusal::FieldCount) if before.0.len() + 3 > limits::FIELDS => return,
        Err(refusal) => panic!("{refusal:?} in what was written: {}", String::from_utf8_lossy(&out)),
    };
    assert_eq!(again.status, response.status);
    assert_eq!(again.framing, framing);
    let ended_by_close = framing == Framing::UntilClose;
    assert_eq!(again.persistent(), connection != Connection::Close && !ended_by_close);
}
