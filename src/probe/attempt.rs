//! One attempt: a connection, and on it at most one request and its answer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::answer::Answer;
use super::dial;
use super::fault::{Failure, Fault};
use super::request::request;
use crate::config::{BackendUrl, Check};

/// An attempt that runs. It closes its connection when dropped.
#[derive(Debug)]
pub(super) struct Attempt {
    stream: TcpStream,
    path: usize,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Connecting,
    Sending { request: Vec<u8>, sent: usize },
    Reading(Answer),
}

/// How far an attempt has come.
#[derive(Debug)]
pub(super) enum Progress {
    /// It waits for the network.
    Waiting,
    /// It succeeded; the status, if something was asked.
    Good(Option<u16>),
    /// There is no connection: it makes no sense to ask there for something else.
    Unreachable(Fault),
    /// It was not answered well.
    Bad(Fault),
}

impl Attempt {
    /// Begins to connect.
    pub(super) fn new(
        registry: &Registry,
        token: Token,
        address: SocketAddr,
        path: usize,
    ) -> io::Result<Self> {
        let stream = dial::dial(registry, address, token)?;
        Ok(Self { stream, path, stage: Stage::Connecting })
    }

    /// Events come under another token from now on.
    pub(super) fn rename(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.reregister(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// The fault, with the path if it was asked for.
    pub(super) fn fault(&self, failure: Failure) -> Fault {
        let asked = !matches!(self.stage, Stage::Connecting);
        Fault { path: asked.then_some(self.path), failure }
    }

    /// Goes on until it waits for the network or ends; `room` is where answers are read to.
    pub(super) fn advance(&mut self, check: &Check, backend: &BackendUrl, room: &mut [u8]) -> Progress {
        if matches!(self.stage, Stage::Connecting) {
            match (dial::check(&self.stream), check) {
                (Ok(false), _) => return Progress::Waiting,
                (Err(error), _) => return Progress::Unreachable(self.fault(Failure::Error(error))),
                (Ok(true), Check::Http(check)) => {
                    self.stage = Stage::Sending { request: request(check, self.path, backend), sent: 0 };
                }
                (Ok(true), Check::None | Check::Tcp) => return Progress::Good(None),
            }
        }
        match self.exchange(check, room) {
            Ok(None) => Progress::Waiting,
            Ok(Some(Ok(status))) => Progress::Good(Some(status)),
            Ok(Some(Err(failure))) => Progress::Bad(self.fault(failure)),
            Err(error) => Progress::Bad(self.fault(Failure::Error(error))),
        }
    }

    /// Sends and reads; `None` while it waits. Every answer comes to an end: its parts are limited in bytes.
    fn exchange(&mut self, check: &Check, room: &mut [u8]) -> io::Result<Option<Result<u16, Failure>>> {
        let Check::Http(check) = check else { return Ok(None) };
        loop {
            let moved = match &mut self.stage {
                Stage::Connecting => return Ok(None),
                Stage::Sending { request, sent } => self.stream.write(&request[*sent..]),
                Stage::Reading(_) => self.stream.read(room),
            };
            let count = match moved {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            match &mut self.stage {
                Stage::Sending { request, sent } => {
                    *sent += count;
                    if *sent == request.len() {
                        self.stage = Stage::Reading(Answer::default());
                    }
                }
                Stage::Reading(answer) if count == 0 => {
                    return Ok(Some(Err(std::mem::take(answer).closed())));
                }
                Stage::Reading(answer) => {
                    let result = answer.take(check, &room[..count]);
                    if result.is_some() {
                        return Ok(result);
                    }
                }
                Stage::Connecting => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::net::TcpListener;
    use std::time::Duration;

    #[test]
    fn events_come_under_the_new_name() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut poll = Poll::new().unwrap();
        let address = listener.local_addr().unwrap();
        let mut attempt = Attempt::new(poll.registry(), Token(1), address, 0).unwrap();
        attempt.rename(poll.registry(), Token(2)).unwrap();
        let mut events = Events::with_capacity(8);
        poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
        assert_eq!(events.iter().map(|event| event.token()).collect::<Vec<_>>(), [Token(2)]);
        let url = BackendUrl { host: "b".into(), port: 80 };
        assert!(matches!(attempt.advance(&Check::Tcp, &url, &mut []), Progress::Good(None)));
    }
}
