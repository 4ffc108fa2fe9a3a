//! The open loop: requests are due at a fixed rate whatever the answers do, and their latency counts from then.
//!
//! A closed loop such as wrk's stops asking while a proxy stalls, and so hides the stall.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::process::interrupted;

const CONNECTIONS: usize = 64;
const TIMER: Token = Token(CONNECTIONS);
/// An answer that has not come this long after the last request was due counts as an error.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest time told apart, in nanoseconds: ten minutes, longer than any sensible run.
const LONGEST: u64 = 600_000_000_000;

/// Latencies of one run in microseconds, counted from the moment each request was due.
pub(crate) struct Latencies {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    /// Answers that are not 200, connections that ended, answers that never came.
    pub(crate) errors: u64,
}

/// Sends `rate` requests a second to `port` for `duration`.
pub(crate) fn measure(port: u16, rate: u32, duration: Duration) -> Result<Latencies, String> {
    let mut run = Run::new(port, rate, duration).map_err(|e| format!("open loop: {e}"))?;
    while run.answered < run.total && run.start.elapsed() < duration + PATIENCE {
        interrupted()?;
        run.turn().map_err(|e| format!("open loop: {e}"))?;
    }
    run.give_up();
    let at = |quantile| run.times.value_at_quantile(quantile) as f64 / 1e3;
    let max = run.times.max() as f64 / 1e3;
    Ok(Latencies { p50: at(0.5), p99: at(0.99), p999: at(0.999), max, errors: run.errors })
}

struct Run {
    poll: Poll,
    events: Events,
    timer: OwnedFd,
    address: SocketAddr,
    head: Vec<u8>,
    connections: Vec<Connection>,
    /// Connections without a request, the latest used last.
    free: Vec<usize>,
    start: Instant,
    period: Duration,
    total: u64,
    sent: u64,
    answered: u64,
    errors: u64,
    /// Nanoseconds.
    times: Histogram<u64>,
}

struct Connection {
    stream: TcpStream,
    /// When the request under way was due.
    due: Option<Instant>,
    input: Vec<u8>,
}

impl Run {
    fn new(port: u16, rate: u32, duration: Duration) -> std::io::Result<Run> {
        let poll = Poll::new()?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let connections = (0..CONNECTIONS).map(|index| connect(&poll, index, address));
        Ok(Run {
            connections: connections.collect::<std::io::Result<_>>()?,
            events: Events::with_capacity(256),
            timer,
            address,
            head: format!("GET /b/128 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").into_bytes(),
            free: (0..CONNECTIONS).collect(),
            // The connections get a moment to be accepted before the first request is due.
            start: Instant::now() + Duration::from_millis(50),
            period: Duration::from_secs(1) / rate,
            total: u64::from(rate) * duration.as_secs(),
            sent: 0,
            answered: 0,
            errors: 0,
            times: Histogram::new_with_bounds(1, LONGEST, 3).map_err(std::io::Error::other)?,
            poll,
        })
    }

    fn due(&self, index: u64) -> Instant {
        self.start + Duration::from_nanos(self.period.as_nanos() as u64 * index)
    }

    fn turn(&mut self) -> std::io::Result<()> {
        let mut now = Instant::now();
        while self.sent < self.total && self.due(self.sent) <= now {
            let Some(index) = self.free.pop() else { break };
            self.connections[index].due = Some(self.due(self.sent));
            self.sent += 1;
            if self.connections[index].stream.write(&self.head).ok() != Some(self.head.len()) {
                self.fail(index)?;
            }
            now = Instant::now();
        }
        if self.sent < self.total && !self.free.is_empty() {
            self.wake_in(self.due(self.sent).saturating_duration_since(now))?;
        }
        match self.poll.poll(&mut self.events, Some(Duration::from_millis(100))) {
            Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        let ready: Vec<usize> =
            self.events.iter().map(|e| e.token()).filter(|&t| t != TIMER).map(|t| t.0).collect();
        for index in ready {
            self.read(index)?;
        }
        Ok(())
    }

    /// Sets the timer: poll's own timeout knows only milliseconds.
    fn wake_in(&self, wait: Duration) -> std::io::Result<()> {
        // Zero would switch the timer off.
        let nanos = i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX).max(1);
        let value = Timespec { tv_sec: nanos / 1_000_000_000, tv_nsec: nanos % 1_000_000_000 };
        let interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(
            &self.timer,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: interval, it_value: value },
        )?;
        Ok(())
    }

    fn read(&mut self, index: usize) -> std::io::Result<()> {
        let connection = &mut self.connections[index];
        let mut bytes = [0; 8192];
        loop {
            match connection.stream.read(&mut bytes) {
                Ok(0) => return self.fail(index),
                Ok(n) => connection.input.extend_from_slice(&bytes[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.fail(index),
            }
        }
        let Some(good) = whole_answer(&connection.input) else { return Ok(()) };
        connection.input.clear();
        let Some(due) = connection.due.take() else { return self.fail(index) };
        self.record(due);
        self.errors += u64::from(!good);
        self.free.push(index);
        Ok(())
    }

    /// Replaces a connection that has ended; a request under way on it is an error.
    fn fail(&mut self, index: usize) -> std::io::Result<()> {
        let due = self.connections[index].due.take();
        self.connections[index] = connect(&self.poll, index, self.address)?;
        if let Some(due) = due {
            self.record(due);
            self.errors += 1;
            self.free.push(index);
        }
        Ok(())
    }

    fn record(&mut self, due: Instant) {
        self.answered += 1;
        self.times.saturating_record(due.elapsed().as_nanos() as u64);
    }

    /// What was not answered, or could not even be sent, still took at least until now.
    fn give_up(&mut self) {
        let waiting: Vec<Instant> = self.connections.iter_mut().filter_map(|c| c.due.take()).collect();
        let unsent: Vec<Instant> = (self.sent..self.total).map(|index| self.due(index)).collect();
        for due in waiting.into_iter().chain(unsent) {
            self.record(due);
            self.errors += 1;
        }
    }
}

fn connect(poll: &Poll, index: usize, address: SocketAddr) -> std::io::Result<Connection> {
    // A blocking connect: the run begins with connections that stand.
    let stream = std::net::TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream);
    poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
    Ok(Connection { stream, due: None, input: Vec::new() })
}

/// Whether a whole answer is there, and then whether it is a 200.
fn whole_answer(input: &[u8]) -> Option<bool> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(input) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return None,
        Err(_) => return Some(false),
    };
    let length = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|h| std::str::from_utf8(h.value).ok()?.parse::<usize>().ok());
    let body = length.unwrap_or(0);
    (input.len() >= head + body).then_some(response.code == Some(200))
}
