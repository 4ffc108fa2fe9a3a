//! The answer to an HTTP check: read as it comes, in any pieces, and judged as soon as it can be.

use memchr::memmem;

use super::fault::Failure;
use crate::config::HttpCheck;
use crate::limits;
use crate::proto::h1::request::fields;
use crate::proto::h1::response::Response;
use crate::proto::h1::{Body, Framing, Refusal, scan};

/// What every answer that we understand begins with.
const START: &[u8] = b"HTTP/1.";

/// An answer of which so much has come. Good ones end in their status.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The head that is being read, and what came with it.
    head: Vec<u8>,
    /// So far no end of the head was found.
    scanned: usize,
    interim: u8,
    search: Option<Search>,
}

/// A body in which a text is looked for.
#[derive(Debug)]
struct Search {
    status: u16,
    body: Body,
    /// What has come and could still hold the text.
    window: Vec<u8>,
    /// Bytes of the body still to be looked at.
    left: usize,
}

/// A head, as far as a check needs it.
enum Head {
    Interim,
    Final(u16, Framing),
}

impl Answer {
    /// Takes what has come; `None` while more is needed.
    pub(super) fn take(&mut self, check: &HttpCheck, bytes: &[u8]) -> Option<Result<u16, Failure>> {
        if let Some(search) = &mut self.search {
            return search.take(check, bytes);
        }
        self.head.extend_from_slice(bytes);
        self.take_heads(check).unwrap_or_else(|failure| Some(Err(failure)))
    }

    /// Nothing more will come.
    pub(super) fn closed(mut self) -> Failure {
        match &mut self.search {
            Some(search) => {
                let is_whole = search.body.end(false, &mut Vec::new());
                if is_whole { Failure::Text(search.status) } else { Failure::Broken }
            }
            None if self.head.is_empty() && self.interim == 0 => Failure::Closed,
            None => Failure::Broken,
        }
    }

    fn take_heads(&mut self, check: &HttpCheck) -> Result<Option<Result<u16, Failure>>, Failure> {
        loop {
            let begun = self.head.len().min(START.len());
            if self.head[..begun] != START[..begun] {
                return Err(Refusal::StartLine.into());
            }
            let found = scan::end_of_head(&self.head, self.scanned)?;
            if found.unwrap_or(self.head.len()) > limits::HEAD {
                return Err(Refusal::HeadSize.into());
            }
            let Some(end) = found else {
                self.scanned = self.head.len();
                return Ok(None);
            };
            match read(&self.head[..end], check)? {
                Head::Interim if self.interim == limits::INTERIM_RESPONSES => return Err(Failure::Interim),
                Head::Interim => {
                    self.interim += 1;
                    self.head.drain(..end);
                    self.scanned = 0;
                }
                Head::Final(status, framing) => return Ok(self.judge(check, status, framing, end)),
            }
        }
    }

    fn judge(
        &mut self,
        check: &HttpCheck,
        status: u16,
        framing: Framing,
        end: usize,
    ) -> Option<Result<u16, Failure>> {
        if !check.expected.contains(status) {
            return Some(Err(Failure::Status(status)));
        }
        if check.body.is_none() {
            return Some(Ok(status));
        }
        let search =
            Search { status, body: Body::new(framing), window: Vec::new(), left: limits::HEALTH_BODY };
        let head = std::mem::take(&mut self.head);
        self.search.insert(search).take(check, &head[end..])
    }
}

fn read(head: &[u8], check: &HttpCheck) -> Result<Head, Refusal> {
    let mut space = fields();
    let response = Response::parse(head, check.method == "HEAD", &mut space)?;
    if response.is_interim() {
        return Ok(Head::Interim);
    }
    Ok(Head::Final(response.status, response.framing))
}

impl Search {
    fn take(&mut self, check: &HttpCheck, bytes: &[u8]) -> Option<Result<u16, Failure>> {
        let text = check.body.as_deref().unwrap_or_default().as_bytes();
        let before = self.window.len();
        let relayed = self.body.relay(bytes, false, &mut self.window);
        if let Ok(relayed) = &relayed {
            self.window.extend_from_slice(&bytes[relayed.pass.clone()]);
        }
        self.window.truncate(before + self.left);
        self.left -= self.window.len() - before;
        if memmem::find(&self.window, text).is_some() {
            return Some(Ok(self.status));
        }
        if let Err(refusal) = relayed {
            return Some(Err(refusal.into()));
        }
        if self.left == 0 || self.body.is_done() {
            return Some(Err(Failure::Text(self.status)));
        }
        let kept = self.window.len().min(text.len().saturating_sub(1));
        self.window.drain(..self.window.len() - kept);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Statuses;

    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nal\r\n5;a=b\r\nl is \r\n4\r\nwell\r\n0\r\n\r\n";

    fn check(body: Option<&str>) -> HttpCheck {
        HttpCheck { body: body.map(str::to_owned), ..HttpCheck::default() }
    }

    /// What becomes of these bytes, which must be the same for every size of pieces that they come in.
    #[track_caller]
    fn outcome(check: &HttpCheck, bytes: &[u8]) -> Result<u16, String> {
        let outcomes = [1, 2, 3, 7, 100, 16 * 1024, usize::MAX].map(|size| {
            let mut answer = Answer::default();
            let taken =
                bytes.chunks(size.min(bytes.len().max(1))).find_map(|piece| answer.take(check, piece));
            taken.unwrap_or_else(|| Err(answer.closed())).map_err(|failure| format!("{failure:?}"))
        });
        assert!(outcomes.iter().all(|one| *one == outcomes[0]), "{outcomes:?}");
        outcomes[0].clone()
    }

    #[track_caller]
    fn assert_good(check: &HttpCheck, bytes: impl AsRef<[u8]>) {
        assert!(outcome(check, bytes.as_ref()).is_ok());
    }

    #[track_caller]
    fn assert_bad(check: &HttpCheck, bytes: impl AsRef<[u8]>, failure: &str) {
        assert_eq!(outcome(check, bytes.as_ref()), Err(failure.to_owned()));
    }

    #[test]
    fn the_status_decides_without_the_body() {
        let any = check(None);
        assert_eq!(outcome(&any, b"HTTP/1.1 204 No Content\r\n\r\n"), Ok(204));
        assert_eq!(outcome(&any, b"HTTP/1.0 404 Not Found\r\nContent-Length: 1000\r\n\r\n"), Ok(404));
        assert_bad(&any, "HTTP/1.1 500 Oh\r\n\r\n", "Status(500)");
        assert_bad(&any, "HTTP/1.1 999 Oh\r\n\r\n", "Status(999)");
        let strict = HttpCheck { expected: Statuses::from(200..=200), ..any };
        assert_bad(&strict, "HTTP/1.1 201 Created\r\n\r\n", "Status(201)");
        assert_eq!(outcome(&strict, b"HTTP/1.1 200\r\n\r\n"), Ok(200));
    }

    #[test]
    fn interim_answers_are_passed_over_but_not_without_end() {
        let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        let many = interim.repeat(usize::from(limits::INTERIM_RESPONSES));
        assert_eq!(outcome(&check(None), format!("{many}HTTP/1.1 200 OK\r\n\r\n").as_bytes()), Ok(200));
        assert_bad(&check(None), format!("{many}HTTP/1.1 503 No\r\n\r\n"), "Status(503)");
        assert_bad(&check(None), many.clone() + interim, "Interim");
        assert_bad(&check(None), interim, "Broken");
        assert_eq!(outcome(&check(None), b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), Ok(101));
    }

    #[test]
    fn what_is_not_http_is_refused_at_its_first_bytes() {
        let mut answer = Answer::default();
        let failure = answer.take(&check(None), b"SSH").unwrap().unwrap_err();
        assert!(matches!(failure, Failure::Refused(Refusal::StartLine)), "{failure:?}");
        assert_bad(&check(None), "HTTP/2 200\r\n\r\n", "Refused(StartLine)");
        assert_bad(&check(None), "HTTP/1.1 OK\r\n\r\n", "Refused(StartLine)");
        assert_bad(&check(None), "HTTP/1.1 200 OK\n\n", "Refused(BareLf)");
        assert_bad(&check(None), "HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "Refused(FieldLine)");
        assert_bad(&check(None), "", "Closed");
        assert_bad(&check(None), "HTTP/1.1 200 OK\r\n", "Broken");
        let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "a".repeat(limits::HEAD));
        assert_bad(&check(None), long, "Refused(HeadSize)");
    }

    #[test]
    fn the_text_is_found_however_the_body_is_framed() {
        let well = check(Some("all is well"));
        assert_good(&well, CHUNKED);
        assert_good(&well, "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n--all is well--");
        assert_good(&well, "HTTP/1.0 200 OK\r\n\r\n--all is well");
        assert_good(&well, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nall is all is well and ever");
        let broken = CHUNKED.replace("0\r\n\r\n", "zero");
        assert_good(&well, broken);
    }

    #[test]
    fn a_text_that_is_not_there_is_a_failure() {
        let ill = check(Some("all is ill"));
        assert_bad(&ill, CHUNKED, "Text(200)");
        assert_bad(&ill, "HTTP/1.0 200 OK\r\n\r\n--all is well", "Text(200)");
        assert_bad(&ill, "HTTP/1.1 204 No Content\r\n\r\n", "Text(204)");
        assert_bad(&ill, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nall is ill", "Text(200)");
        assert_bad(&ill, "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nall is", "Broken");
        assert_bad(&ill, CHUNKED.replace("5;", "five;"), "Refused(Chunk)");
        assert_bad(&ill, CHUNKED.replace("200 OK", "503 No"), "Status(503)");
        let to_head = HttpCheck { method: "HEAD".into(), ..check(Some("a")) };
        assert_bad(&to_head, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", "Text(200)");
    }

    #[test]
    fn only_so_much_of_a_body_is_looked_at() {
        for framing in ["Content-Length: 1000000", "A: b"] {
            let answer = |before: usize| {
                let mut bytes = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n").into_bytes();
                bytes.resize(bytes.len() + before, b'.');
                bytes.extend_from_slice(b"well, and so on");
                bytes
            };
            assert_good(&check(Some("well")), answer(limits::HEALTH_BODY - 4));
            assert_bad(&check(Some("well")), answer(limits::HEALTH_BODY - 3), "Text(200)");
        }
    }
}
