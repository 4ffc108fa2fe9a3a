//! One connection, on a thread of its own: reads requests, answers each in one write.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Shared;
use super::request::{Head, Refusal, read_head};

/// Holds any common head; a thousand connections take 16 MiB.
const INPUT: usize = 16 * 1024;
/// The largest head taken, and the most read at once of a large body.
const INPUT_MAX: usize = 64 * 1024;
/// A peer that neither sends nor takes anything is gone: nginx waits as long for the next request.
const QUIET_MAX: Duration = Duration::from_secs(75);
/// After the last answer we read this long, so that the peer reads it before a reset.
const LINGER: Duration = Duration::from_secs(1);

/// Answers on `stream` until one side has had enough.
pub(super) fn serve(stream: TcpStream, shared: &Shared) {
    let timeouts = stream.set_read_timeout(Some(QUIET_MAX)).and(stream.set_write_timeout(Some(QUIET_MAX)));
    if timeouts.is_err() {
        return;
    }
    let mut connection = Connection {
        stream,
        shared,
        input: vec![0; INPUT],
        start: 0,
        end: 0,
        echo: Vec::new(),
        output: Vec::new(),
        date: Date::default(),
    };
    loop {
        match connection.exchange() {
            Ok(true) => {}
            Ok(false) => return connection.linger(),
            Err(End::Gone) => return,
            Err(End::Refused(refusal)) => {
                if connection.refuse(refusal).is_ok() {
                    connection.linger();
                }
                return;
            }
        }
    }
}

/// Why a connection ends other than by agreement.
enum End {
    Gone,
    Refused(Refusal),
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

struct Connection<'a> {
    stream: TcpStream,
    shared: &'a Shared,
    /// Bytes read and not yet used are at `start..end`.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// What the answer says of the request.
    echo: Vec<u8>,
    output: Vec<u8>,
    date: Date,
}

impl Connection<'_> {
    /// One request and its answer; says whether there may be another.
    fn exchange(&mut self) -> Result<bool, End> {
        let mut head = self.read_head()?;
        self.read_body(&mut head)?;
        if !self.shared.delay.is_zero() {
            thread::sleep(self.shared.delay);
        }
        let keep_alive = head.keep_alive && !self.shared.stopped.load(Ordering::Relaxed);
        self.answer(&head, keep_alive)?;
        Ok(keep_alive)
    }

    fn read_head(&mut self) -> Result<Head, End> {
        loop {
            if self.start < self.end
                && let Some(head) = read_head(&self.input[self.start..self.end], &mut self.echo)?
            {
                self.start += head.length;
                return Ok(head);
            }
            let between_requests = self.start == self.end;
            self.fill(between_requests)?;
        }
    }

    fn read_body(&mut self, head: &mut Head) -> Result<(), End> {
        if head.expects_continue && !head.body.is_done() && self.start == self.end {
            self.output.clear();
            self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.send()?;
        }
        loop {
            self.start += head.body.take(&self.input[self.start..self.end])?;
            if head.body.is_done() {
                break;
            }
            self.fill(false)?;
        }
        let _ = write!(self.echo, "\nbody: {} bytes\n", head.body.content);
        Ok(())
    }

    /// Reads once, behind what is there. Only between requests may the peer fall silent or leave.
    fn fill(&mut self, between_requests: bool) -> Result<(), End> {
        let full = self.end == self.input.len();
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if full && self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        // Either it must hold more at once, or the last read could have brought more.
        if full && self.input.len() < INPUT_MAX {
            self.input.resize(INPUT_MAX, 0);
        }
        if self.end == self.input.len() {
            return Err(Refusal::TooLarge.into());
        }
        loop {
            let refusal = match self.stream.read(&mut self.input[self.end..]) {
                Ok(0) => Refusal::Malformed,
                Ok(count) => {
                    self.end += count;
                    return Ok(());
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Refusal::TooLate,
                Err(_) => return Err(End::Gone),
            };
            return Err(if between_requests { End::Gone } else { refusal.into() });
        }
    }

    fn answer(&mut self, head: &Head, keep_alive: bool) -> Result<(), End> {
        let failing = self.shared.failing();
        // The request that tells it to fail is itself still answered well: it did what it was asked, and a
        // balancer that tries a 503 elsewhere would carry the order on to the next server.
        if head.tells_to_fail {
            self.shared.told_to_fail.store(true, Ordering::Relaxed);
        }
        let (status, first_line) = if failing {
            ("503 Service Unavailable", &self.shared.failure)
        } else {
            ("200 OK", &self.shared.hello)
        };
        let connection = match (keep_alive, head.is_http_10) {
            (false, _) => "Connection: close\r\n",
            (true, true) => "Connection: keep-alive\r\n",
            (true, false) => "",
        };
        let length = first_line.len() + self.echo.len();
        start_answer(&mut self.output, status, self.date.now(), length, connection);
        if !head.wants_head_only {
            self.output.extend_from_slice(first_line.as_bytes());
            self.output.extend_from_slice(&self.echo);
        }
        self.send()
    }

    fn refuse(&mut self, refusal: Refusal) -> Result<(), End> {
        let status = refusal.status();
        let length = status.len() + 1;
        start_answer(&mut self.output, status, self.date.now(), length, "Connection: close\r\n");
        self.output.extend_from_slice(status.as_bytes());
        self.output.push(b'\n');
        self.send()
    }

    fn send(&mut self) -> Result<(), End> {
        self.stream.write_all(&self.output).map_err(|_| End::Gone)
    }

    /// Closes so that the peer still gets the last answer: closing over unread bytes would reset it away.
    fn linger(&mut self) {
        let deadline = Instant::now() + LINGER;
        if self.stream.shutdown(Shutdown::Write).is_err()
            || self.stream.set_read_timeout(Some(LINGER)).is_err()
        {
            return;
        }
        while Instant::now() < deadline && self.stream.read(&mut self.input).is_ok_and(|count| count > 0) {}
    }
}

/// Replaces `output` by an answer's head.
fn start_answer(output: &mut Vec<u8>, status: &str, date: &str, length: usize, connection: &str) {
    output.clear();
    // Writing to a vector cannot fail.
    let _ = write!(
        output,
        "HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {length}\r\n{connection}\r\n"
    );
}

/// The Date header's value, written anew once a second.
#[derive(Default)]
struct Date {
    second: u64,
    text: String,
}

impl Date {
    fn now(&mut self) -> &str {
        let now = SystemTime::now();
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if second != self.second || self.text.is_empty() {
            self.second = second;
            self.text = httpdate::fmt_http_date(now);
        }
        &self.text
    }
}
