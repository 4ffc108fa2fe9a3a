//! A backend's side of one connection: reads requests, judges them, and answers by the script.

use crate::client::tunnel_acts;
use crate::http::{Framing, Head, Reader, chunked};
use crate::ledger::{
    Answer, Broken, Fault, Frame, Ledger, Mood, Plan, Said, Stream, answer_body, request_body, tunnel_bytes,
};
use crate::net::{Tail, Wires};
use crate::peer::{Act, Peer, Wait};
use crate::rng::Rng;

/// One connection that a backend has accepted.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) peer: Peer,
    pub(crate) backend: usize,
    reader: Reader,
    current: Option<Current>,
    /// The request at hand is whole.
    whole: bool,
    /// In a tunnel: the request, and what came.
    tunnel: Option<(usize, Stream)>,
    ended: bool,
    /// It closes when it has been idle for so long.
    patience: u64,
    idle_since: u64,
    /// It has said that it closes, or will without saying: what comes now is not read.
    leaving: bool,
    /// It has had a request.
    served: bool,
    /// It sends more than its answer.
    babbles: bool,
    rng: Rng,
}

#[derive(Debug)]
struct Current {
    number: usize,
    attempt: u32,
    answered: bool,
    /// The body of the request.
    body: Stream,
}

impl Serving {
    pub(crate) fn new(line: usize, backend: usize, patience: u64, now: u64, rng: Rng) -> Self {
        Self {
            peer: Peer::new(line, Vec::new()),
            backend,
            reader: Reader::default(),
            current: None,
            whole: true,
            tunnel: None,
            ended: false,
            patience,
            idle_since: now,
            leaving: false,
            served: false,
            babbles: false,
            rng,
        }
    }

    /// One turn.
    pub(crate) fn turn(&mut self, wires: &mut Wires, ledger: &mut Ledger) {
        if self.peer.gone {
            return;
        }
        if let Err(wrong) = self.read(wires, ledger) {
            ledger.wrong(format!("line {}, backend {}: {wrong}", self.peer.line, self.backend));
            return self.peer.close(wires);
        }
        let (whole, ended) = (self.whole, self.ended);
        self.peer.act(wires, |wait| match wait {
            Wait::Request => whole,
            Wait::End => ended,
            Wait::Forever | Wait::Answers(_) | Wait::AnyAnswers(_) => false,
        });
        let idle = self.peer.is_done()
            && self.current.is_none()
            && self.tunnel.is_none()
            && self.reader.rest().is_empty()
            && self.served;
        if !idle {
            self.idle_since = wires.now;
        } else if wires.now >= self.idle_since.saturating_add(self.patience) {
            self.peer.close(wires);
        }
        if self.ended && self.tunnel.is_none() {
            self.peer.close(wires);
        }
    }

    /// When it goes on by itself.
    pub(crate) fn wakes(&self, now: u64) -> Option<u64> {
        let tired = self.idle_since.saturating_add(self.patience);
        let tired = (!self.peer.gone && tired > now && tired < u64::MAX).then_some(tired);
        tired.into_iter().chain(self.peer.wakes(now)).min()
    }

    fn read(&mut self, wires: &mut Wires, ledger: &mut Ledger) -> Result<(), String> {
        if !self.leaving {
            let bytes = wires.far_read(self.peer.line, usize::MAX);
            self.reader.feed(&bytes);
            self.take(ledger)?;
        }
        match wires.far_tail(self.peer.line) {
            Tail::Open => {}
            _ if self.ended => {}
            tail => {
                self.ended = true;
                if let Some((number, got)) = &self.tunnel {
                    ledger.tunnels.insert(*number, (got.len(), tail == Tail::Ended));
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, ledger: &mut Ledger) -> Result<(), String> {
        loop {
            if let Some((number, got)) = &mut self.tunnel {
                let fits = got.take(&self.reader.take_rest());
                return if fits { Ok(()) } else { Err(format!("wrong bytes in the tunnel of {number}")) };
            }
            if self.whole {
                if self.leaving {
                    return Ok(());
                }
                let busy = !self.peer.is_done();
                if busy && !self.babbles && !self.reader.rest().is_empty() {
                    return Err("bytes of a request before the last one was answered".into());
                }
                if busy {
                    return Ok(());
                }
                let Some(head) = self.reader.head()? else { return Ok(()) };
                self.head(&head, ledger)?;
            }
            let done = self.reader.body()?;
            self.check_body(ledger, done)?;
            if !done {
                return Ok(());
            }
            self.whole = true;
            self.answer(ledger);
            self.current = None;
        }
    }

    fn head(&mut self, head: &Head, ledger: &mut Ledger) -> Result<(), String> {
        let number = head.one("x-number")?.and_then(|n| n.parse().ok());
        let number: usize = number.ok_or(format!("a request without number: {}", head.start))?;
        let plan = ledger.plans.get(number).ok_or(format!("request {number} does not exist"))?.clone();
        let attempt = ledger.saw_head(number);
        let path = plan.target.strip_prefix("http://sim.example").unwrap_or(&plan.target);
        let root = if path.starts_with('/') { "" } else { "/" };
        if head.start != format!("{} {root}{path} HTTP/1.1", plan.method) {
            return Err(format!("request {number} came as {:?}", head.start));
        }
        if head.one("x-keep")? != Some(&number.to_string()) || head.one("host")?.is_none() {
            return Err(format!("request {number} has lost a field"));
        }
        for gone in ["x-drop", "te", "keep-alive"] {
            if !head.all(gone).is_empty() {
                return Err(format!("request {number} came with {gone}"));
            }
        }
        let upgrades = head.connection("upgrade") && head.one("upgrade")? == Some("echo");
        if upgrades != plan.tunnel.is_some() {
            return Err(format!("the upgrade of request {number} was lost, or invented"));
        }
        let told = head.framing()?;
        let meant = match plan.chunk {
            Some(_) => Some(Framing::Chunked),
            None if plan.body > 0 => Some(Framing::Length(plan.body)),
            None => None,
        };
        if head.connection("close") || (head.one("expect")?.is_some() != plan.expect) {
            return Err(format!("request {number} came with other options"));
        }
        if told.filter(|&f| f != Framing::Length(0)) != meant {
            return Err(format!("request {number} is framed as {told:?}"));
        }
        self.reader.begin_body(told.unwrap_or(Framing::Length(0)));
        (self.whole, self.served) = (false, true);
        let answer = answer_of(&plan, attempt);
        let early = answer.early;
        if plan.expect && !early && matches!(answer.fault, Fault::None | Fault::Extra | Fault::CloseAfter) {
            let go_on = format!("HTTP/1.1 100 Continue\r\nX-Answer: {number}.{attempt}\r\n\r\n");
            self.peer.acts.push_back(Act::Send(go_on.into_bytes()));
        }
        self.current = Some(Current {
            number,
            attempt,
            answered: false,
            body: Stream::new(request_body(number, plan.body)),
        });
        if early {
            self.answer(ledger);
        }
        Ok(())
    }

    fn check_body(&mut self, ledger: &mut Ledger, done: bool) -> Result<(), String> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let plan = &mut ledger.plans[current.number];
        let got = match plan.broken {
            // Some of the malformed chunk may have come.
            Broken::Body => &self.reader.body[..self.reader.body.len().min(plan.body)],
            _ => &self.reader.body[..],
        };
        let fits = current.body.take(&got[current.body.len()..]);
        if !fits || (done && got.len() < plan.body) {
            return Err(format!("request {} came with a wrong body", current.number));
        }
        if done && plan.broken != Broken::No {
            return Err(format!("the broken request {} was completed", current.number));
        }
        plan.seen_whole |= done;
        Ok(())
    }

    /// Says what the script has for this attempt.
    fn answer(&mut self, ledger: &mut Ledger) {
        let Some(current) = &mut self.current else { return };
        if std::mem::replace(&mut current.answered, true) {
            return;
        }
        let (number, attempt) = (current.number, current.attempt);
        let plan = ledger.plans[number].clone();
        let answer = answer_of(&plan, attempt);
        let calm = ledger.mood != Mood::Rough;
        let (acts, said) = render(&plan, number, attempt, answer, calm, &mut self.rng);
        ledger.said.insert((number, attempt), said);
        let ends = acts.iter().any(|act| matches!(act, Act::Close | Act::Reset | Act::Await(Wait::Forever)));
        self.leaving = ends && !answer.early;
        self.babbles = answer.fault == Fault::Extra;
        self.peer.acts.extend(acts);
        if answer.status == 101 && answer.fault == Fault::None {
            let t = plan.tunnel.expect("101 is planned for tunnels");
            self.tunnel = Some((number, Stream::new(tunnel_bytes(number, true, t.from_client))));
            let data = tunnel_bytes(number, false, t.from_backend);
            self.peer.acts.extend(tunnel_acts(data, t.backend_waits, t.quiet));
        }
    }
}

fn answer_of(plan: &Plan, attempt: u32) -> Answer {
    let last = plan.answers.len() - 1;
    plan.answers[last.min(attempt as usize - 1)]
}

/// The acts that give an answer, and what a reader may make of it.
fn render(
    plan: &Plan,
    number: usize,
    attempt: u32,
    answer: Answer,
    calm: bool,
    rng: &mut Rng,
) -> (Vec<Act>, Said) {
    let mark = format!("X-Answer: {number}.{attempt}\r\n");
    let mut acts = vec![Act::Pause(answer.delay)];
    let mut interim = String::new();
    for i in 0..answer.interim {
        let status = ["100 Continue", "103 Early Hints"][usize::from(i % 2)];
        interim += &format!("HTTP/1.1 {status}\r\n{mark}\r\n");
    }
    acts.push(Act::Send(interim.into_bytes()));
    let mut said = Said { status: answer.status, len: answer.len, whole: true };
    let bodiless = plan.method == "HEAD" || matches!(answer.status, 101 | 204 | 304);
    let body = if bodiless { Vec::new() } else { answer_body(number, attempt, answer.len) };
    let version = if answer.http10 { "1.0" } else { "1.1" };
    let mut head = format!("HTTP/{version} {} Any thing\r\n{mark}Connection: X-Hop", answer.status);
    head += if answer.closes { ", close" } else { "" };
    head += "\r\nX-Hop: 1\r\n";
    match answer.frame {
        _ if answer.status == 204 => {}
        _ if answer.status == 101 => head += "Connection: upgrade\r\nUpgrade: echo\r\n",
        Frame::Length => head += &format!("Content-Length: {}\r\n", answer.len),
        Frame::Chunked(_) => head += "Transfer-Encoding: chunked\r\n",
        Frame::UntilClose => {}
    }
    let head = head.into_bytes();
    let body = match answer.frame {
        Frame::Chunked(size) if !bodiless => chunked(&body, size, "X-Sum: 1\r\n"),
        _ => body,
    };
    let message = [&head[..], b"\r\n", &body].concat();
    match answer.fault {
        Fault::None if answer.status == 101 => acts.push(Act::Send(message)),
        Fault::None | Fault::Extra | Fault::CloseAfter => {
            acts.push(Act::Send(message));
            if answer.fault == Fault::Extra && (bodiless || answer.frame != Frame::UntilClose) {
                acts.push(Act::Send(b"EXTRA bytes\r\n\r\n".to_vec()));
            }
            // An early one that closes lets the rest of the request come first, or the reset would eat it.
            let closes = answer.closes || answer.fault == Fault::CloseAfter;
            if closes && answer.early && (calm || rng.chance(80)) {
                acts.extend([Act::Fin, Act::Await(Wait::Request)]);
            }
            if closes {
                acts.push(Act::Close);
            }
        }
        _ => {
            let until_close = answer.frame == Frame::UntilClose && !bodiless;
            let to_head = plan.method == "HEAD";
            spoil(answer, to_head, &head, &message, until_close, &mut acts, &mut said);
        }
    }
    (acts, said)
}

fn spoil(
    a: Answer,
    to_head: bool,
    head: &[u8],
    message: &[u8],
    until_close: bool,
    acts: &mut Vec<Act>,
    said: &mut Said,
) {
    said.whole = false;
    let before = acts.pop().filter(|_| !matches!(a.fault, Fault::CloseInstead | Fault::ResetInstead));
    acts.extend(before);
    let end = if matches!(a.fault, Fault::ResetInstead | Fault::Cut { reset: true, .. }) {
        Act::Reset
    } else {
        Act::Close
    };
    match a.fault {
        Fault::CloseInstead | Fault::ResetInstead => {}
        Fault::Stall => return acts.push(Act::Await(Wait::Forever)),
        Fault::Cut { at, reset } => {
            let kept = message.len() * at / 1000;
            if until_close && !reset && kept >= head.len() + 2 {
                (said.whole, said.len) = (true, kept - head.len() - 2);
            }
            acts.push(Act::Send(message[..kept].to_vec()));
        }
        Fault::Garbage(kind) => acts.push(Act::Send(garbage(kind).to_vec())),
        Fault::Misframed(kind) => {
            // Without a body, only a head can be wrong.
            let kind = if to_head { kind % 7 } else { kind };
            said.status = if matches!(a.status, 101 | 204 | 304) { 200 } else { a.status };
            acts.push(Act::Send(misframed(kind, head)));
        }
        Fault::Switch => {
            let switch = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: nothing\r\n\r\n";
            acts.push(Act::Send(switch.to_vec()));
        }
        Fault::None | Fault::Extra | Fault::CloseAfter => unreachable!("no fault of the answer itself"),
    }
    acts.push(end);
}

fn garbage(kind: u64) -> &'static [u8] {
    match kind {
        0 => b"\0\x01\x02\x03\r\n\r\n",
        1 => b"HTTP/2.0 200 OK\r\n\r\n",
        2 => b"HTTP/1.1 2000 OK\r\n\r\n",
        3 => b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        4 => b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
        // As far as it goes it could be the beginning of a head.
        _ => b"SSH-2.0-OpenSSH_9.2\r\n",
    }
}

/// A head like the given one with a framing that no reader may accept.
fn misframed(kind: u64, head: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(head);
    let unframed = text.lines().filter(|l| {
        let l = l.to_ascii_lowercase();
        !l.starts_with("content-length") && !l.starts_with("transfer-encoding")
    });
    let head: String = unframed.map(|line| format!("{line}\r\n")).collect();
    // A body that these statuses cannot have would be no error.
    let head = head.replacen(" 204 ", " 200 ", 1).replacen(" 304 ", " 200 ", 1).replacen("/1.0", "/1.1", 1);
    let head = head.replacen(" 101 ", " 200 ", 1);
    let rest = match kind {
        0 => "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        1 => "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        2 => "Content-Length: -3\r\n\r\nabc",
        3 => "Transfer-Encoding: gzip\r\n\r\nabc",
        4 => "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        5 => "A : b\r\nContent-Length: 0\r\n\r\n",
        6 => "A: b\nContent-Length: 0\r\n\r\n",
        7 => "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        _ => "Transfer-Encoding: chunked\r\n\r\nx\r\n\r\n",
    };
    (head + rest).into_bytes()
}
