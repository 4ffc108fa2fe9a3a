//! Every framing of a request with every framing of a response, for every kind of client, however the bytes are cut.

use std::io;

use crate::support::{Backend, Client, Evenkeel, Framing, Reply, Request, Response, Split};

const ASKED: &str = "what the client sends";
const ANSWERED: &str = "what the backend answers, a little longer";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ask {
    Nothing,
    Length,
    LengthZero,
    Chunked,
    ChunkedEmpty,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Length,
    LengthZero,
    Chunked,
    ChunkedEmpty,
    UntilClose,
    UntilCloseOld,
    Head,
    NoContent,
    NotModified,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    KeepAlive,
    Close,
    Old,
    OldKeepAlive,
}

use Ask::{ChunkedEmpty as AskChunkedEmpty, LengthZero as AskLengthZero};

const ASKS: [Ask; 5] = [Ask::Nothing, Ask::Length, AskLengthZero, Ask::Chunked, AskChunkedEmpty];
const ANSWERS: [Answer; 9] = [
    Answer::Length,
    Answer::LengthZero,
    Answer::Chunked,
    Answer::ChunkedEmpty,
    Answer::UntilClose,
    Answer::UntilCloseOld,
    Answer::Head,
    Answer::NoContent,
    Answer::NotModified,
];
const KINDS: [Kind; 4] = [Kind::KeepAlive, Kind::Close, Kind::Old, Kind::OldKeepAlive];

/// One exchange: the target carries what the backend is to answer and how to cut it.
#[derive(Clone, Debug)]
struct Case {
    ask: Ask,
    answer: Answer,
    kind: Kind,
    request_split: Split,
    response_split: Split,
}

impl Case {
    fn method(&self) -> &'static str {
        match (self.answer, self.ask) {
            (Answer::Head, _) => "HEAD",
            (_, Ask::Nothing) => "GET",
            _ => "POST",
        }
    }

    fn request(&self) -> Vec<u8> {
        let (version, connection) = match self.kind {
            Kind::KeepAlive => ("1.1", ""),
            Kind::Close => ("1.1", "Connection: close\r\n"),
            Kind::Old => ("1.0", ""),
            Kind::OldKeepAlive => ("1.0", "Connection: keep-alive\r\n"),
        };
        let rest = match self.ask {
            Ask::Nothing => "\r\n".to_string(),
            Ask::Length => format!("Content-Length: {}\r\n\r\n{ASKED}", ASKED.len()),
            Ask::LengthZero => "Content-Length: 0\r\n\r\n".to_string(),
            Ask::Chunked => format!("Transfer-Encoding: chunked\r\n\r\n{}", chunks(ASKED)),
            Ask::ChunkedEmpty => "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_string(),
        };
        let split = match self.response_split {
            Split::Whole => "whole/0".to_string(),
            Split::At(n) => format!("at/{n}"),
            Split::Every(n) => format!("every/{n}"),
        };
        let (method, answer) = (self.method(), ANSWERS.iter().position(|a| *a == self.answer).unwrap_or(0));
        format!("{method} /{answer}/{split} HTTP/{version}\r\nHost: h\r\n{connection}{rest}").into_bytes()
    }

    /// Whether the connection has to live on: what both sides could say the end of.
    fn persists(&self) -> bool {
        match self.kind {
            Kind::KeepAlive => true,
            Kind::OldKeepAlive => !matches!(
                self.answer,
                Answer::Chunked | Answer::ChunkedEmpty | Answer::UntilClose | Answer::UntilCloseOld
            ),
            Kind::Close | Kind::Old => false,
        }
    }

    #[track_caller]
    fn check(&self, response: &Response, seen: &Request) {
        let status = match self.answer {
            Answer::NoContent => 204,
            Answer::NotModified => 304,
            _ => 200,
        };
        let body = match self.answer {
            Answer::Length | Answer::Chunked | Answer::UntilClose | Answer::UntilCloseOld => ANSWERED,
            _ => "",
        };
        assert_eq!((response.status, response.text().as_str()), (status, body), "{self:?}");
        assert_eq!(response.head.all("x-answer"), ["1"], "{self:?}");
        if self.answer == Answer::Head {
            assert_eq!(response.head.all("content-length"), [ANSWERED.len().to_string()], "{self:?}");
        }
        if matches!(self.kind, Kind::Old | Kind::OldKeepAlive) {
            assert_ne!(response.framing, Framing::Chunked, "HTTP/1.0 knows no chunks: {self:?}");
        }
        let (asked, framing) = match self.ask {
            Ask::Nothing => ("", Framing::Empty),
            Ask::Length => (ASKED, Framing::Length(ASKED.len() as u64)),
            Ask::LengthZero => ("", Framing::Length(0)),
            Ask::Chunked => (ASKED, Framing::Chunked),
            Ask::ChunkedEmpty => ("", Framing::Chunked),
        };
        assert_eq!((seen.method.as_str(), seen.text().as_str()), (self.method(), asked), "{self:?}");
        // Chunks that are all at hand may as well leave as one body of known length.
        let known = framing == Framing::Chunked && seen.framing == Framing::Length(asked.len() as u64);
        assert!(seen.framing == framing || known, "{:?}: {self:?}", seen.framing);
    }
}

fn chunks(body: &str) -> String {
    let (first, second) = body.split_at(7);
    format!("7;name=\"value\"\r\n{first}\r\n{:X}\r\n{second}\r\n0\r\nX-Trailer: t\r\n\r\n", second.len())
}

fn response(answer: Answer) -> String {
    let length = ANSWERED.len();
    match answer {
        Answer::Length => {
            format!("HTTP/1.1 200 OK\r\nX-Answer: 1\r\nContent-Length: {length}\r\n\r\n{ANSWERED}")
        }
        Answer::LengthZero => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Answer: 1\r\n\r\n".into(),
        Answer::Chunked => {
            format!(
                "HTTP/1.1 200 OK\r\nX-Answer: 1\r\nTransfer-Encoding: chunked\r\n\r\n{}",
                chunks(ANSWERED)
            )
        }
        Answer::ChunkedEmpty => {
            "HTTP/1.1 200 OK\r\nX-Answer: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into()
        }
        Answer::UntilClose => format!("HTTP/1.1 200 OK\r\nX-Answer: 1\r\n\r\n{ANSWERED}"),
        Answer::UntilCloseOld => format!("HTTP/1.0 200 OK\r\nX-Answer: 1\r\n\r\n{ANSWERED}"),
        Answer::Head => format!("HTTP/1.1 200 OK\r\nX-Answer: 1\r\nContent-Length: {length}\r\n\r\n"),
        Answer::NoContent => "HTTP/1.1 204 No Content\r\nX-Answer: 1\r\n\r\n".into(),
        Answer::NotModified => {
            format!(
                "HTTP/1.1 304 Not Modified\r\nX-Answer: 1\r\nETag: \"e\"\r\nContent-Length: {length}\r\n\r\n"
            )
        }
    }
}

fn obey(request: &Request, reply: &mut Reply<'_>) -> io::Result<()> {
    let parts: Vec<&str> = request.target.split('/').collect();
    let number = |i: usize| parts.get(i).and_then(|p| p.parse::<usize>().ok()).unwrap_or(0);
    let split = match parts.get(2) {
        Some(&"at") => Split::At(number(3)),
        Some(&"every") => Split::Every(number(3)),
        _ => Split::Whole,
    };
    let answer = ANSWERS[number(1)];
    if matches!(answer, Answer::UntilClose | Answer::UntilCloseOld) {
        reply.close();
    }
    reply.send_pieces(response(answer).as_bytes(), &split)
}

/// Two exchanges on one connection where it persists, else one and its end.
fn run(case: &Case, backend: &Backend, client: &mut Option<Client>, balancer: &Evenkeel) {
    let mut connection = client.take().unwrap_or_else(|| Client::connect(balancer.address));
    connection.send_pieces(&case.request(), &case.request_split).expect("send");
    let response = connection.response(case.method()).unwrap_or_else(|e| panic!("{e}: {case:?}"));
    case.check(&response, &backend.last());
    let old = matches!(case.kind, Kind::Old | Kind::OldKeepAlive);
    let stays = !response.closes() && (!old || response.head.lists("connection", "keep-alive"));
    match (case.persists(), stays) {
        (true, true) => *client = Some(connection),
        (true, false) => {
            let unframed = matches!(case.answer, Answer::UntilClose | Answer::UntilCloseOld);
            assert!(unframed, "the connection could have lived on: {case:?}: {:?}", response.head);
            connection.assert_ended();
        }
        (false, stays) => {
            assert!(!stays || old, "the end was not announced: {case:?}: {:?}", response.head);
            connection.assert_ended();
        }
    }
}

fn every_case(kinds: &[Kind], splits: &[(Split, Split)]) {
    let backend = Backend::start(obey);
    let balancer = Evenkeel::start(&["--backends", &backend.url(), "--workers", "1"]);
    for (request_split, response_split) in splits {
        for &kind in kinds {
            let mut client = None;
            for ask in ASKS {
                if matches!(kind, Kind::Old | Kind::OldKeepAlive)
                    && matches!(ask, Ask::Chunked | Ask::ChunkedEmpty)
                {
                    continue;
                }
                for answer in ANSWERS {
                    let (request_split, response_split) = (request_split.clone(), response_split.clone());
                    run(
                        &Case { ask, answer, kind, request_split, response_split },
                        &backend,
                        &mut client,
                        &balancer,
                    );
                }
            }
        }
    }
}

#[test]
fn every_framing_both_ways_in_whole_pieces() {
    every_case(&KINDS, &[(Split::Whole, Split::Whole)]);
}

#[test]
fn every_framing_both_ways_cut_at_several_points() {
    let cuts = [1, 16, 17, 40, 77].map(|at| (Split::At(at), Split::At(at)));
    every_case(&KINDS, &cuts);
    every_case(&KINDS, &[(Split::Every(7), Split::Every(13))]);
}

#[test]
fn every_framing_both_ways_byte_by_byte() {
    every_case(&KINDS, &[(Split::Every(1), Split::Every(1))]);
}

#[test]
fn every_split_point_of_a_chunked_exchange_gives_the_same_outcome() {
    let whole = Case {
        ask: Ask::Chunked,
        answer: Answer::Chunked,
        kind: Kind::KeepAlive,
        request_split: Split::Whole,
        response_split: Split::Whole,
    };
    let backend = Backend::start(obey);
    let balancer = Evenkeel::start(&["--backends", &backend.url(), "--workers", "1"]);
    let mut client = None;
    for at in 1..whole.request().len() {
        run(&Case { request_split: Split::At(at), ..whole.clone() }, &backend, &mut client, &balancer);
    }
    for at in 1..response(whole.answer).len() {
        run(&Case { response_split: Split::At(at), ..whole.clone() }, &backend, &mut client, &balancer);
    }
}
