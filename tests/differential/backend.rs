//! The recording backend: notes what bytes come on which connection, and answers as the case in hand tells.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use crate::case::{End, Script, When};
use crate::wire::{self, Framing, Head};

/// Asked for on a fresh connection after each case.
pub(crate) const HEALTHY: &str = "/healthy";
/// Asked for on the case's own connection, to see whether it still works.
pub(crate) const FOLLOW: &str = "/follow";
const WAIT: Duration = Duration::from_secs(5);

/// A message that came, or what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    id: usize,
    /// Which connection brought it.
    pub(crate) connection: usize,
    pub(crate) bytes: Vec<u8>,
    pub(crate) whole: bool,
}

impl Seen {
    /// It is this request of ours and not one of the case's.
    pub(crate) fn asks_for(&self, target: &str) -> bool {
        self.bytes.starts_with(format!("GET {target} HTTP/1.").as_bytes())
    }
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    next_id: usize,
    script: Script,
    /// How many pieces of the script may leave.
    released: usize,
    /// The connection on which the script was last played.
    played_on: Option<TcpStream>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// A listening backend; its threads end with the test.
pub(crate) struct Backend {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

impl Backend {
    pub(crate) fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for (connection, stream) in listener.incoming().flatten().enumerate() {
                // Else late bytes wait for the proxy's next ones, and are no longer late.
                drop(stream.set_nodelay(true));
                let shared = Arc::clone(&accepting);
                // It ends when the proxy closes or breaks the connection; neither is the test's business.
                thread::spawn(move || drop(Connection::new(connection, stream, &shared).serve()));
            }
        });
        Ok(Self { port, shared })
    }

    /// Forgets what was seen and takes up the next case.
    pub(crate) fn begin(&self, script: &Script) {
        let mut state = self.shared.lock();
        state.seen.clear();
        (state.script, state.released, state.played_on) = (script.clone(), 1, None);
    }

    /// Lets the next piece of the script leave.
    pub(crate) fn release(&self) {
        self.shared.lock().released += 1;
        self.shared.changed.notify_all();
    }

    /// Sends bytes behind the response that was played.
    pub(crate) fn send_late(&self, bytes: &[u8]) {
        if let Some(stream) = &mut self.shared.lock().played_on {
            // A proxy that has closed the connection already is one that does not use it again.
            let _ = stream.write_all(bytes);
        }
    }

    /// What has been seen since the case began, once it is as `expected` or the time is over.
    pub(crate) fn seen_when(&self, limit: Duration, expected: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let unlike = |state: &mut State| !expected(&state.seen);
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), limit, unlike);
        waited.expect("no thread panics with the lock").0.seen.clone()
    }

    /// Waits until these bytes have come.
    pub(crate) fn wait_for(&self, needle: &str, limit: Duration) -> bool {
        let came = |state: &mut State| {
            !state.seen.iter().any(|s| s.bytes.windows(needle.len()).any(|w| w == needle.as_bytes()))
        };
        let state = self.shared.lock();
        self.shared.changed.wait_timeout_while(state, limit, came).is_ok_and(|(_, wait)| !wait.timed_out())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics with the lock")
    }

    fn note(&self, seen: &Seen) {
        let mut state = self.lock();
        match state.seen.iter_mut().find(|s| s.id == seen.id) {
            Some(earlier) => *earlier = seen.clone(),
            None => state.seen.push(seen.clone()),
        }
        self.changed.notify_all();
    }

    fn next_id(&self) -> usize {
        let mut state = self.lock();
        state.next_id += 1;
        state.next_id
    }

    /// Waits until piece number `i` may leave.
    fn wait_release(&self, i: usize) {
        let held = |state: &mut State| state.released <= i;
        // A case that never releases has failed already and says so.
        drop(self.changed.wait_timeout_while(self.lock(), WAIT, held));
    }
}

struct Connection<'a> {
    number: usize,
    stream: TcpStream,
    shared: &'a Shared,
    buffer: Vec<u8>,
}

impl<'a> Connection<'a> {
    fn new(number: usize, stream: TcpStream, shared: &'a Shared) -> Self {
        Self { number, stream, shared, buffer: Vec::new() }
    }

    /// Reads and answers requests until either side has enough.
    fn serve(mut self) -> std::io::Result<()> {
        loop {
            let mut seen =
                Seen { id: self.shared.next_id(), connection: self.number, bytes: Vec::new(), whole: false };
            let (mut told_to_go_on, mut answered) = (false, false);
            let head = loop {
                if let Some((head, end)) = self.look(&mut seen) {
                    if let Some(end) = end {
                        self.buffer.drain(..end);
                        break head;
                    }
                    let ours = seen.asks_for(HEALTHY) || seen.asks_for(FOLLOW);
                    if !answered && !ours && self.script().when == When::Head {
                        answered = true;
                        self.answer(&head, &seen)?;
                    } else if !answered && !told_to_go_on && head.lists("expect", "100-continue") {
                        told_to_go_on = true;
                        self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                    }
                }
                if !self.read()? {
                    return Ok(());
                }
            };
            if !answered && !self.answer(&head, &seen)? {
                return Ok(());
            }
            if head.closes() {
                return Ok(());
            }
        }
    }

    /// Notes what has come of a message; its head, and its end when it has come.
    fn look(&self, seen: &mut Seen) -> Option<(Head, Option<usize>)> {
        let head = Head::read(&self.buffer);
        let end = head.as_ref().and_then(|head| {
            let framing = head.framing().unwrap_or(Framing::Length(0));
            Some(head.len + wire::body(framing, &self.buffer[head.len..], false).1?)
        });
        seen.bytes = self.buffer[..end.unwrap_or(self.buffer.len())].to_vec();
        seen.whole = end.is_some();
        if !seen.bytes.is_empty() {
            self.shared.note(seen);
        }
        head.map(|head| (head, end))
    }

    fn read(&mut self) -> std::io::Result<bool> {
        let mut piece = [0; 16 * 1024];
        let n = self.stream.read(&mut piece)?;
        self.buffer.extend_from_slice(&piece[..n]);
        Ok(n > 0)
    }

    fn script(&self) -> Script {
        self.shared.lock().script.clone()
    }

    /// Answers; false when the connection is done for.
    fn answer(&mut self, head: &Head, seen: &Seen) -> std::io::Result<bool> {
        let script = self.script();
        if seen.asks_for(HEALTHY) || seen.asks_for(FOLLOW) || script.pieces.is_empty() {
            let method = head.start.split(' ').next().unwrap_or_default();
            let body = format!("seen {method} {}", head.second_word());
            let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            if method != "HEAD" {
                answer.push_str(&body);
            }
            return self.stream.write_all(answer.as_bytes()).map(|()| true);
        }
        // Before the answer leaves, or the client might have it while there is nothing yet to be late on.
        if script.end == End::Keep {
            self.shared.lock().played_on = Some(self.stream.try_clone()?);
        }
        for (i, piece) in script.pieces.iter().enumerate() {
            self.shared.wait_release(i);
            self.stream.write_all(piece)?;
        }
        match script.end {
            End::Keep => Ok(true),
            End::Close => Ok(false),
            End::Reset => {
                socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
                Ok(false)
            }
            End::Shout => self.shout().map(|()| false),
        }
    }

    /// What a tunnel leads to: says everything again in capitals, then ends its side.
    fn shout(&mut self) -> std::io::Result<()> {
        loop {
            let loud = self.buffer.to_ascii_uppercase();
            self.buffer.clear();
            self.stream.write_all(&loud)?;
            if !self.read()? {
                return self.stream.write_all(b"THE END");
            }
        }
    }
}
