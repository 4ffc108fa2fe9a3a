//! The client: does a case's steps and keeps every byte that came back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::backend::{Backend, FOLLOW};
use crate::case::Step;
use crate::wire::{self, Framing, Head};

/// What became of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It answered one more request.
    Kept,
    Closed,
    Reset,
    /// Nothing more came within the limit.
    Open,
    /// It answered one more request with something else.
    Confused,
}

/// A final answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) whole: bool,
    closes: bool,
}

/// What the client received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    pub(crate) answers: Vec<Answer>,
    /// Bytes that are part of no answer.
    pub(crate) stray: bool,
    pub(crate) ended: Ended,
}

pub(crate) struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
    ended: Option<Ended>,
    limit: Duration,
    to_head: bool,
    tunnel: bool,
}

impl Client {
    /// Connects; each wait of this client ends after `limit`.
    pub(crate) fn connect(port: u16, limit: Duration) -> std::io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, bytes: Vec::new(), ended: None, limit, to_head: false, tunnel: false })
    }

    /// Does the steps, waits for so many final answers, and then finds out whether the connection still works. A client
    /// whose request is `unfinished` can only wait for the connection to be closed.
    pub(crate) fn run(
        mut self,
        steps: &[Step],
        answers: usize,
        unfinished: bool,
        backend: &Backend,
    ) -> Received {
        if let Some(Step::Send(bytes)) = steps.first() {
            self.to_head = bytes.starts_with(b"HEAD ");
        }
        let mut shut = false;
        for step in steps {
            match step {
                Step::Send(bytes) => self.send(bytes),
                Step::Await(needle) => self.read_while(|c| !contains(&c.bytes, needle)),
                Step::AwaitBackend(needle) => drop(backend.wait_for(needle, self.limit)),
                Step::Release => backend.release(),
                Step::Late(bytes) => {
                    self.read_while(|c| c.answers().0.len() < answers);
                    backend.send_late(bytes.as_bytes());
                }
                Step::Shut => {
                    // A connection that is closed already has what it asked for.
                    let _ = self.stream.shutdown(Shutdown::Write);
                    shut = true;
                }
            }
        }
        self.read_while(|c| {
            let (got, _) = c.answers();
            let whole = got.iter().filter(|answer| answer.whole).count();
            whole < answers.max(1) && !got.iter().any(|answer| answer.whole && answer.closes)
        });
        let own = self.bytes.len();
        let (got, _) = self.answers();
        let closes = got.last().is_some_and(|answer| answer.closes || !answer.whole);
        if shut || closes || got.is_empty() || self.tunnel || unfinished {
            self.read_while(|_| true);
        } else if self.ended.is_none() {
            self.follow(got.len());
        }
        let (mut answers, stray) = self.answers();
        if self.ended == Some(Ended::Kept) {
            answers.pop();
            self.bytes.truncate(own);
        }
        Received { bytes: self.bytes, answers, stray, ended: self.ended.unwrap_or(Ended::Open) }
    }

    /// One more request on the same connection.
    fn follow(&mut self, before: usize) {
        let from = self.bytes.len();
        self.to_head &= before > 0;
        self.send(
            format!("GET {FOLLOW} HTTP/1.1\r\nHost: follow.test\r\nConnection: close\r\n\r\n").as_bytes(),
        );
        self.read_while(|_| true);
        if self.bytes.len() > from {
            let (answers, stray) = self.answers();
            let ours = self.bytes.ends_with(format!("\r\n\r\nseen GET {FOLLOW}").as_bytes());
            let right = ours && !stray && answers.len() > before;
            self.ended = Some(if right { Ended::Kept } else { Ended::Confused });
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        // A proxy may refuse and close while the client still sends: what it answered is what counts.
        let _ = self.stream.write_all(bytes);
    }

    /// Reads while the condition holds, the connection is open and there is time.
    fn read_while(&mut self, condition: impl Fn(&mut Self) -> bool) {
        let deadline = Instant::now() + self.limit;
        let mut piece = [0; 16 * 1024];
        while self.ended.is_none() && condition(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stream.set_read_timeout(Some(left)).is_err() {
                return;
            }
            match self.stream.read(&mut piece) {
                Ok(0) => self.ended = Some(Ended::Closed),
                Ok(n) => self.bytes.extend_from_slice(&piece[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.ended = Some(Ended::Reset),
            }
        }
    }

    /// The final answers so far, and whether there are bytes that are part of none.
    fn answers(&mut self) -> (Vec<Answer>, bool) {
        let (mut answers, mut at) = (Vec::new(), 0);
        while let Some(head) = Head::read(&self.bytes[at..]) {
            let Some(status) = status(&head) else { return (answers, true) };
            let rest = at + head.len;
            if status == 101 {
                self.tunnel = true;
                answers.push(Answer { status, whole: true, closes: false });
                return (answers, false);
            }
            if status < 200 {
                at = rest;
                continue;
            }
            let bodiless = status == 204 || status == 304 || (self.to_head && answers.is_empty());
            let framing = match head.framing() {
                _ if bodiless => Framing::Length(0),
                Some(framing) => framing,
                None => Framing::UntilClose,
            };
            let ended_well = self.ended == Some(Ended::Closed) || self.ended == Some(Ended::Kept);
            let (_, end) = wire::body(framing, &self.bytes[rest..], ended_well);
            let closes = head.closes() || framing == Framing::UntilClose;
            answers.push(Answer { status, whole: end.is_some(), closes });
            match end {
                Some(end) => at = rest + end,
                None => return (answers, false),
            }
        }
        (answers, at < self.bytes.len())
    }
}

fn status(head: &Head) -> Option<u16> {
    head.start.starts_with("HTTP/1.").then(|| head.second_word().parse().ok()).flatten()
}

fn contains(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|w| w == needle.as_bytes())
}
