//! What the access log says of an exchange: noted on its way, written as a line at its end. Nothing is noted where no
//! access log is kept.

use std::net::IpAddr;

use super::connection::{Downstream, Flight};
use super::pump::Pump;
use crate::access::{Line, Queue, Stamps, Times};
use crate::balance::Table;
use crate::exchange::Cause;
use crate::id::{BackendId, PoolId};
use crate::limits;
use crate::proto::tls;
use crate::slab::Key;
use crate::transport::Net;

/// A worker's part of the access log.
#[derive(Debug)]
pub(super) struct Access {
    queue: Queue,
    stamps: Stamps,
    /// Whole lines that are not passed on yet.
    batch: Vec<u8>,
    lines: u64,
    /// Since when they wait, in the worker's milliseconds.
    since: u64,
    /// Notes of exchanges that are over, for the next ones.
    #[expect(clippy::vec_box, reason = "a flight holds its note in the same box")]
    spare: Vec<Box<Note>>,
    /// Of the request at hand, while no flight has it.
    present: Option<Box<Note>>,
    /// By [`BackendId`].
    backends: Vec<String>,
}

/// What is known of one exchange.
#[derive(Debug)]
pub(super) struct Note {
    client: IpAddr,
    port: u16,
    listener: u16,
    began_us: u64,
    times: Times,
    status: u16,
    retries: u8,
    cause: Option<Cause>,
    pool: Option<PoolId>,
    backend: Option<BackendId>,
    bytes: u64,
    received: u64,
    /// The values of its parts, one behind the other.
    text: Vec<u8>,
    /// Where each of them begins and ends.
    parts: [(u32, u32); PARTS],
}

/// A value that a line says as it was sent, or that may have gone when the line is written.
#[derive(Clone, Copy, Debug)]
enum Part {
    Request,
    Host,
    Referer,
    Agent,
    Id,
    Route,
}

const PARTS: usize = Part::Route as usize + 1;

impl Note {
    fn new<S>(down: &Downstream<S>, began_us: u64, text: Vec<u8>) -> Self {
        Self {
            client: down.peer,
            port: down.port,
            listener: down.listener,
            began_us,
            times: Times::default(),
            status: 0,
            retries: 0,
            cause: None,
            pool: None,
            backend: None,
            bytes: 0,
            received: 0,
            text,
            parts: [(0, 0); PARTS],
        }
    }

    /// Notes the value of a part; of several the first counts.
    fn put(&mut self, part: Part, value: &[u8]) {
        let place = &mut self.parts[part as usize];
        if place.0 == place.1 {
            let start = self.text.len() as u32;
            self.text.extend_from_slice(&value[..value.len().min(limits::LOG_VALUE)]);
            *place = (start, self.text.len() as u32);
        }
    }

    /// A line that is too long loses the end of its target, not what stands behind that.
    fn put_request(&mut self, line: &[u8]) {
        self.put(Part::Request, line);
        let tail = memchr::memrchr(b' ', line).map_or(&line[..0], |at| &line[at..]);
        if line.len() > limits::LOG_VALUE && tail.starts_with(b" HTTP/") && tail.len() <= limits::METHOD {
            let end = self.parts[Part::Request as usize].1 as usize;
            self.text[end - tail.len()..end].copy_from_slice(tail);
        }
    }

    fn get(&self, part: Part) -> &[u8] {
        let (start, end) = self.parts[part as usize];
        &self.text[start as usize..end as usize]
    }

    /// Notes what a head, or the beginning of one, says.
    fn read(&mut self, head: &[u8]) {
        let mut rest = head;
        let mut line = next_line(&mut rest);
        self.put_request(line);
        while !rest.is_empty() {
            line = next_line(&mut rest);
            // What stands behind the head of a refused request is not its own.
            if line.is_empty() {
                break;
            }
            let part = match line.first() {
                Some(b'h' | b'H') => (Part::Host, "host"),
                Some(b'r' | b'R') => (Part::Referer, "referer"),
                Some(b'u' | b'U') => (Part::Agent, "user-agent"),
                _ => continue,
            };
            let (part, name) = part;
            if line.len() > name.len()
                && line[name.len()] == b':'
                && line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
            {
                self.put(part, line[name.len() + 1..].trim_ascii());
            }
        }
    }
}

/// Takes the first line off, without its end.
fn next_line<'h>(rest: &mut &'h [u8]) -> &'h [u8] {
    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    let line = &rest[..end];
    *rest = rest.get(end + 1..).unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

impl Access {
    /// A note, used again if one is at hand.
    fn note<S>(&mut self, down: &Downstream<S>, began_us: u64) -> Box<Note> {
        let Some(mut note) = self.spare.pop() else {
            return Box::new(Note::new(down, began_us, Vec::with_capacity(limits::SMALL_BUFFER)));
        };
        let mut text = std::mem::take(&mut note.text);
        text.clear();
        *note = Note::new(down, began_us, text);
        note
    }

    fn give(&mut self, note: Box<Note>) {
        if self.spare.len() < limits::SPARE_SMALL_BUFFERS && note.text.capacity() <= limits::SMALL_BUFFER {
            self.spare.push(note);
        }
    }

    /// Passes the lines on that are there.
    fn pass(&mut self, last: bool) {
        // A line of many escapes may have made it larger than a batch is.
        let fits = |bytes: &Vec<u8>| bytes.capacity() <= 2 * limits::LOG_BATCH;
        let mut next = std::iter::from_fn(|| self.queue.returned()).find(fits);
        let lines = std::mem::take(&mut self.lines);
        let batch = std::mem::take(&mut self.batch);
        let passed = match last {
            true => self.queue.pass_last(batch, lines),
            false => self.queue.pass(batch, lines),
        };
        if let Err(mut bytes) = passed {
            bytes.clear();
            next = Some(bytes);
        }
        self.batch = next.unwrap_or_else(|| Vec::with_capacity(limits::LOG_BATCH + limits::LOG_VALUE));
    }
}

impl<N: Net> Pump<N> {
    /// Has a line written there for each exchange that begins from now on, or none any more. Those that are there already
    /// go where they were meant to go; exchanges in flight have theirs at the new place, if they were noted.
    pub fn log_to(&mut self, queue: Option<Queue>) {
        let known = self.access.as_ref().map(|access| &access.queue);
        if known.zip(queue.as_ref()).is_some_and(|(known, queue)| known.is(queue)) {
            return;
        }
        if self.lines_due().is_some() {
            self.pass_lines(false);
        }
        self.access = queue.map(|queue| {
            Box::new(Access {
                queue,
                stamps: Stamps::default(),
                batch: Vec::with_capacity(limits::LOG_BATCH + limits::LOG_VALUE),
                lines: 0,
                since: 0,
                spare: Vec::new(),
                present: None,
                backends: backends(&self.table),
            })
        });
    }

    /// Another table is in force.
    pub(super) fn rename_backends(&mut self) {
        if let Some(access) = &mut self.access {
            access.backends = backends(&self.table);
        }
    }

    /// A request has come that far, with that number if it has one yet.
    pub(super) fn note_request(&mut self, key: Key, head: &[u8], id: &[u8]) {
        if let Some(access) = &mut self.access {
            let mut note = access.note(&self.downstreams[key], self.now_us);
            note.read(head);
            note.received = head.len() as u64;
            note.put(Part::Id, id);
            access.present = Some(note);
        }
    }

    /// It takes this line of its listener's.
    pub(super) fn note_route(&mut self, key: Key, line: usize) {
        if let Some(access) = &mut self.access
            && let Some(note) = &mut access.present
        {
            let site = &self.settings.sites[usize::from(self.downstreams[key].listener)];
            note.put(Part::Route, site.lines[line].name.as_bytes());
        }
    }

    /// A head that broke a rule, unless it was read before that was seen.
    pub(super) fn note_refused(&mut self, key: Key, input: &[u8]) {
        if self.access.as_ref().is_none_or(|access| access.present.is_some()) {
            return;
        }
        self.note_request(key, input.trim_ascii_start(), b"");
        self.note_since(key);
    }

    /// A connection that is balanced as a whole takes this line of its listener's, or is closed before it does.
    pub(super) fn note_tunnel(&mut self, key: Key, line: Option<usize>) {
        if self.access.as_ref().is_none_or(|access| access.present.is_some()) {
            return;
        }
        self.note_request(key, b"", b"");
        self.note_since(key);
        line.into_iter().for_each(|line| self.note_route(key, line));
        if let (Some(access), Some(input)) = (&mut self.access, &self.downstreams[key].input)
            && let Some(note) = &mut access.present
        {
            note.received = input.filled().len() as u64;
            tls::wanted(input.filled()).into_iter().for_each(|name| note.put(Part::Host, &name));
        }
    }

    /// What is at hand was never whole: its time has begun with its first byte.
    fn note_since(&mut self, key: Key) {
        let since = self.downstreams[key].since_us;
        if let Some(note) = self.access.as_mut().and_then(|access| access.present.as_mut()) {
            note.began_us = since;
        }
    }

    /// Something is answered that nothing was noted of: a head that never came whole, or a mere connection.
    pub(super) fn note_unread(&mut self, key: Key) {
        if self.access.is_none() || self.downstreams[key].flight.is_some() {
            return;
        }
        let part = self.downstreams[key].input.as_ref().map(|input| input.filled().to_vec());
        self.note_refused(key, &part.unwrap_or_default());
    }

    /// The request at hand is now an exchange's.
    pub(super) fn take_note(&mut self) -> Option<Box<Note>> {
        let mut note = self.access.as_mut()?.present.take()?;
        // What it takes of the client's bytes is counted from here on, its head among them.
        note.received = 0;
        Some(note)
    }

    /// The note of a connection's exchange, or of the request that is being answered there.
    fn note_of(&mut self, flight: Option<Key>) -> Option<&mut Note> {
        let access = self.access.as_mut()?;
        match flight.and_then(|flight| self.flights.get_mut(flight)) {
            Some(flight) => flight.note.as_deref_mut(),
            None => access.present.as_deref_mut(),
        }
    }

    pub(super) fn note_sent(&mut self, key: Key, bytes: u64) {
        if self.access.is_none() {
            return;
        }
        let flight = self.downstreams[key].flight;
        if let Some(note) = self.note_of(flight) {
            note.bytes += bytes;
        }
    }

    pub(super) fn note_status(&mut self, flight: Option<Key>, status: u16) {
        if let Some(note) = self.note_of(flight) {
            note.status = status;
        }
    }

    pub(super) fn note_cause(&mut self, key: Key, cause: Cause) {
        if self.access.is_none() {
            return;
        }
        let flight = self.downstreams[key].flight;
        if let Some(note) = self.note_of(flight) {
            note.cause = Some(cause);
        }
    }

    /// An exchange is over, and its flight about to be: what the line needs of it is noted.
    pub(super) fn land(&mut self, flight_key: Key) {
        if self.access.is_none() {
            return;
        }
        let Some(mut note) = self.flights[flight_key].note.take() else { return };
        let flight = &self.flights[flight_key];
        note.pool = Some(flight.pool);
        if let Some(access) = &mut self.access {
            access.present = Some(note);
        }
    }

    /// The answer to the request at hand is with the client's connection: what waits there is sent too, if the client
    /// takes it.
    pub(super) fn end_line(&mut self, key: Key) {
        if let Some(access) = &mut self.access
            && let Some(note) = &mut access.present
        {
            let waiting = self.downstreams[key].output.as_ref().map_or(0, |output| output.filled().len());
            note.bytes += waiting as u64;
            self.write_line();
        }
    }

    /// The client is gone, and the exchange with it.
    pub(super) fn cut_line(&mut self) {
        if let Some(access) = &mut self.access
            && let Some(note) = &mut access.present
        {
            note.cause.get_or_insert(Cause::ClientClosed);
            self.write_line();
        }
    }

    fn write_line(&mut self) {
        let (now, now_us) = (self.now, self.now_us);
        let Some(access) = &mut self.access else { return };
        let Some(note) = access.present.take() else { return };
        let pool = note.pool.map_or("", |pool| self.table.pool(pool).config().name.as_str());
        let backend = note.backend.and_then(|backend| access.backends.get(backend.index()));
        let listener = self.settings.traffic.get(usize::from(note.listener));
        let listener = listener.map_or("", |listener| match listener.name() {
            "" => listener.address(),
            name => name,
        });
        let line = Line {
            unix: self.clock.unix(now),
            client: note.client,
            request: note.get(Part::Request),
            host: note.get(Part::Host),
            referer: note.get(Part::Referer),
            agent: note.get(Part::Agent),
            status: note.status,
            bytes: note.bytes,
            times: Times { total: now_us.saturating_sub(note.began_us), ..note.times },
            backend: backend.map_or("", String::as_str),
            pool,
            route: std::str::from_utf8(note.get(Part::Route)).unwrap_or(""),
            retries: note.retries,
            cause: note.cause.map_or("", Cause::code),
            id: note.get(Part::Id),
            listener,
            port: note.port,
            received: note.received,
        };
        if access.lines == 0 {
            access.since = now;
        }
        access.lines += 1;
        line.write(access.queue.format(), &mut access.stamps, &mut access.batch);
        access.give(note);
        if access.batch.len() >= limits::LOG_BATCH {
            self.pass_lines(false);
        }
    }

    fn pass_lines(&mut self, last: bool) {
        if let Some(access) = &mut self.access {
            access.pass(last);
        }
    }

    /// When lines have waited long enough to be passed on as they are.
    pub fn lines_due(&self) -> Option<u64> {
        let access = self.access.as_ref().filter(|access| access.lines > 0)?;
        Some(access.since + limits::LOG_DELAY.as_millis() as u64)
    }

    /// Passes lines on that have waited long enough, at the end of a tick.
    pub fn pass_due_lines(&mut self) {
        if self.lines_due().is_some_and(|due| due <= self.now) {
            self.pass_lines(false);
        }
    }

    /// Passes on what is left: no more exchanges come.
    pub fn pass_last_lines(&mut self) {
        if self.lines_due().is_some() {
            self.pass_lines(true);
        }
    }
}

impl Flight {
    /// So many bytes of the client's were taken.
    pub(super) fn note_received(&mut self, bytes: u64) {
        if let Some(note) = &mut self.note {
            note.received += bytes;
        }
    }

    /// Waited for a backend for so many microseconds.
    pub(super) fn note_queue(&mut self, us: u64) {
        if let Some(note) = &mut self.note {
            note.times.queue += us;
        }
    }

    /// A try began, at that backend.
    pub(super) fn note_try(&mut self, backend: BackendId) {
        if let Some(note) = &mut self.note {
            (note.backend, note.times.connect, note.times.first_byte) = (Some(backend), None, None);
        }
    }

    /// The try's connection was made after so many microseconds.
    pub(super) fn note_connect(&mut self, us: u64) {
        if let Some(note) = &mut self.note {
            note.times.connect = Some(us);
        }
    }

    /// The try's answer came after so many microseconds.
    pub(super) fn note_answer(&mut self, us: u64) {
        if let Some(note) = &mut self.note {
            note.times.first_byte = Some(us);
        }
    }

    pub(super) fn note_retry(&mut self) {
        if let Some(note) = &mut self.note {
            note.retries = note.retries.saturating_add(1);
        }
    }
}

fn backends(table: &Table) -> Vec<String> {
    table.backends().iter().map(|backend| backend.identity()).collect()
}
