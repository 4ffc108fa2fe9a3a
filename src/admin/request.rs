//! A request as far as it matters here, with everything that was checked of it.

use crate::limits;
use crate::proto::h1::request::{self, Request};
use crate::proto::h1::response::Connection;
use crate::proto::h1::{Body, Refusal, Version, scan};

/// A request.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) method: String,
    /// Without its query.
    pub(super) path: String,
    pub(super) host: Option<String>,
    pub(super) authorization: Option<Vec<u8>>,
    pub(super) origin: Option<String>,
    pub(super) fetch_site: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) accept: Option<String>,
    /// It carries the field `X-Evenkeel`, which no page of another site can send unasked.
    pub(super) marked: bool,
    pub(super) body: Vec<u8>,
}

/// A request whose body is still to be read.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) asked: Asked,
    pub(super) body: Body,
    pub(super) expects_continue: bool,
    pub(super) connection: Connection,
    /// Bytes of the input that it took.
    pub(super) length: usize,
}

/// Reads a head from the front of `input`; `None` when there must be more.
pub(super) fn read(input: &[u8]) -> Result<Option<Begun>, Refusal> {
    let (start, unfinished) = scan::empty_lines(input, limits::EMPTY_LINES)?;
    let end = if unfinished { None } else { scan::end_of_head(&input[start..], 0)? };
    if end.unwrap_or(input.len() - start) > limits::ADMIN_HEAD {
        return Err(Refusal::HeadSize);
    }
    let Some(end) = end else { return Ok(None) };
    let mut space = request::fields();
    let request = Request::parse(&input[start..start + end], &mut space)?;
    let text = |name| request.field(name).map(|value| String::from_utf8_lossy(value).into_owned());
    let path = request.path().split('?').next().unwrap_or("/");
    let asked = Asked {
        method: request.method.to_owned(),
        path: path.to_owned(),
        host: request.authority.map(|host| String::from_utf8_lossy(host).into_owned()),
        authorization: request.field("authorization").map(<[u8]>::to_vec),
        origin: text("origin"),
        fetch_site: text("sec-fetch-site"),
        content_type: text("content-type"),
        accept: text("accept"),
        marked: request.field("x-evenkeel").is_some(),
        body: Vec::new(),
    };
    let connection = match (request.persistent(), request.version) {
        (false, _) => Connection::Close,
        (true, Version::Http10) => Connection::KeptHttp10,
        (true, Version::Http11) => Connection::Kept,
    };
    Ok(Some(Begun {
        asked,
        body: Body::new(request.framing),
        expects_continue: request.expects_continue,
        connection,
        length: start + end,
    }))
}

impl Begun {
    /// Takes what belongs to the body from the front of `input`, and says how many bytes that was.
    pub(super) fn take(&mut self, input: &[u8]) -> Result<usize, Refusal> {
        if self.body.rest() > limits::ADMIN_BODY as u64 {
            return Err(Refusal::BodySize);
        }
        let relayed = self.body.relay(input, false, &mut self.asked.body)?;
        self.asked.body.extend_from_slice(&input[relayed.pass]);
        if self.asked.body.len() > limits::ADMIN_BODY {
            return Err(Refusal::BodySize);
        }
        Ok(relayed.consumed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request in `bytes`, which come in pieces of that size.
    fn outcome(bytes: &[u8], piece: usize) -> Result<Option<(String, Vec<u8>)>, Refusal> {
        let (mut input, mut begun) = (Vec::new(), None::<Begun>);
        for piece in bytes.chunks(piece) {
            input.extend_from_slice(piece);
            if begun.is_none() {
                begun = read(&input)?;
                input.drain(..begun.as_ref().map_or(0, |begun| begun.length));
            }
            if let Some(begun) = &mut begun {
                let taken = begun.take(&input)?;
                input.drain(..taken);
            }
        }
        Ok(begun.filter(|begun| begun.body.is_done()).map(|begun| (begun.asked.path, begun.asked.body)))
    }

    #[test]
    fn any_split_gives_the_same_request() {
        let sized = b"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
        let chunked = b"\r\nPOST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";
        for piece in 1..=sized.len().max(chunked.len()) {
            for bytes in [&sized[..], &chunked[..]] {
                let expected = Ok(Some(("/a".to_owned(), b"hello".to_vec())));
                assert_eq!(outcome(bytes, piece), expected, "in pieces of {piece}");
                assert_eq!(outcome(&bytes[..bytes.len() - 1], piece), Ok(None));
            }
        }
    }

    #[test]
    fn heads_and_bodies_are_bounded() {
        let head = [b"GET / HTTP/1.1\r\nHost: x\r\nA: ".as_slice(), &vec![b'a'; limits::ADMIN_HEAD]].concat();
        assert_eq!(outcome(&head, 100), Err(Refusal::HeadSize));
        let most = limits::ADMIN_BODY;
        let sized = |length: usize| {
            let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
            [head.into_bytes(), vec![b'a'; length]].concat()
        };
        assert_eq!(outcome(&sized(most), 100).unwrap().unwrap().1.len(), most);
        assert_eq!(outcome(&sized(most + 1), 100), Err(Refusal::BodySize));
        let chunks = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        let chunks = [chunks, b"1\r\na\r\n".repeat(most + 1)].concat();
        assert_eq!(outcome(&chunks, 100), Err(Refusal::BodySize));
    }
}
