//! A backend's side of one connection: reads requests, judges them, and answers by the script.

use crate::answer::{answer_of, render};
use crate::client::tunnel_acts;
use crate::http::{Framing, Head, Reader};
use crate::ledger::{Broken, Fault, Ledger, Mood, Stream, request_body, tunnel_bytes};
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
        let attempt = ledger.saw_head(number, self.backend);
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
        if plan.expect
            && !early
            && matches!(answer.fault, Fault::None | Fault::Extra | Fault::Poison | Fault::CloseAfter)
        {
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
        if done && ledger.body.is_some_and(|most| got.len() as u64 > most) {
            return Err(format!("request {} is longer than is let through", current.number));
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
        let calm = ledger.mood.has_good_backends() || ledger.mood == Mood::Flaky;
        let (acts, said) = render(&plan, number, attempt, answer, calm, &mut self.rng);
        ledger.said.insert((number, attempt), said);
        let ends = acts.iter().any(|act| matches!(act, Act::Close | Act::Reset | Act::Await(Wait::Forever)));
        self.leaving = ends && !answer.early;
        self.babbles = matches!(answer.fault, Fault::Extra | Fault::Poison);
        self.peer.acts.extend(acts);
        if answer.status == 101 && answer.fault == Fault::None {
            let t = plan.tunnel.expect("101 is planned for tunnels");
            self.tunnel = Some((number, Stream::new(tunnel_bytes(number, true, t.from_client))));
            let data = tunnel_bytes(number, false, t.from_backend);
            self.peer.acts.extend(tunnel_acts(data, t.backend_waits, t.quiet));
        }
    }
}
