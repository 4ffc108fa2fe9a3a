//! One connection, on a thread of its own: reads requests, answers each. Every wait has an end.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use super::answer::Answer;
use super::request::{self, Asked, Begun};
use super::routes;
use super::seats::Seat;
use super::server::Site;
use crate::limits;
use crate::proto::h1::Refusal;
use crate::proto::h1::response::Connection as After;

/// Read at once.
const PIECE: usize = 4 * 1024;

/// Answers on `stream` until one side has had enough.
pub(super) fn serve(stream: TcpStream, seat: &Seat, site: &Site) {
    let mut connection = Connection { stream, input: Vec::new(), output: Vec::new() };
    loop {
        seat.waits(Some(Instant::now()));
        let next = connection.next_request();
        let (asked, after) = match next {
            Ok(next) => next,
            Err(End::Gone) => return,
            Err(End::Refused(status, why)) => {
                if connection.send(&Answer::error(status, why), false, After::Close) {
                    connection.linger();
                }
                return;
            }
        };
        seat.waits(None);
        let draining = (site.sources.draining)();
        let after = if draining { After::Close } else { after };
        let answer = routes::answer(&asked, site);
        // One that does not read what it asked for makes room as well.
        seat.waits(Some(Instant::now()));
        if !connection.send(&answer, asked.method == "HEAD", after) {
            return;
        }
        if after == After::Close {
            return connection.linger();
        }
    }
}

/// Why a connection ends other than by agreement.
enum End {
    Gone,
    Refused(u16, &'static str),
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.status(), refusal.text())
    }
}

struct Connection {
    stream: TcpStream,
    /// Read and not yet used.
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Connection {
    fn next_request(&mut self) -> Result<(Asked, After), End> {
        if self.input.is_empty() {
            self.fill(Instant::now() + limits::ADMIN_IDLE, true)?;
        }
        let deadline = Instant::now() + limits::ADMIN_TIMEOUT;
        let mut begun = loop {
            match request::read(&self.input)? {
                Some(begun) => break begun,
                None => self.fill(deadline, false)?,
            }
        };
        self.input.drain(..begun.length);
        self.read_body(&mut begun, deadline)?;
        Ok((begun.asked, begun.connection))
    }

    fn read_body(&mut self, begun: &mut Begun, deadline: Instant) -> Result<(), End> {
        loop {
            let taken = begun.take(&self.input)?;
            self.input.drain(..taken);
            if begun.body.is_done() {
                return Ok(());
            }
            if std::mem::take(&mut begun.expects_continue) && self.input.is_empty() {
                self.output.clear();
                self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                if !self.flush() {
                    return Err(End::Gone);
                }
            }
            self.fill(deadline, false)?;
        }
    }

    /// Reads once, behind what is there. Only between requests may the client fall silent or leave.
    fn fill(&mut self, deadline: Instant, between_requests: bool) -> Result<(), End> {
        let held = self.input.len();
        self.input.resize(held + PIECE, 0);
        let read = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break Err(ErrorKind::TimedOut.into());
            }
            let read = self.stream.set_read_timeout(Some(left));
            match read.and_then(|()| self.stream.read(&mut self.input[held..])) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.input.truncate(held + read.as_ref().map_or(0, |&count| count));
        match read {
            Ok(count) if count > 0 => Ok(()),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
                    && !between_requests =>
            {
                Err(End::Refused(408, "the request did not arrive in time"))
            }
            _ => Err(End::Gone),
        }
    }

    /// False when the client has gone, or does not take the answer.
    fn send(&mut self, answer: &Answer, to_head: bool, after: After) -> bool {
        self.output.clear();
        answer.write(&date(), to_head, after, &mut self.output);
        self.flush()
    }

    fn flush(&mut self) -> bool {
        let (deadline, mut sent) = (Instant::now() + limits::ADMIN_TIMEOUT, 0);
        while sent < self.output.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stream.set_write_timeout(Some(left)).is_err() {
                return false;
            }
            match self.stream.write(&self.output[sent..]) {
                Ok(count) if count > 0 => sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return false,
            }
        }
        true
    }

    /// Closes so that the client still gets the last answer: closing over unread bytes would reset it away.
    fn linger(&mut self) {
        let deadline = Instant::now() + limits::LINGER_TIMEOUT;
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let mut waste = [0; PIECE];
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let over = Instant::now() >= deadline || self.stream.set_read_timeout(Some(left)).is_err();
            if over || !self.stream.read(&mut waste).is_ok_and(|count| count > 0) {
                return;
            }
        }
    }
}

/// The value of a Date field.
pub(super) fn date() -> String {
    httpdate::fmt_http_date(SystemTime::now())
}
