//! A client: sends by its script, reads answers, and judges them.

use crate::http::{Framing, Head, Reader};
use crate::ledger::{Broken, Ledger, Outcome, Plan, Stream, answer_body, tunnel_bytes};
use crate::net::{Tail, Wires};
use crate::peer::{Act, Mark, Peer, Wait};
use crate::script::{ClientScript, Reading};

/// A client with its connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) peer: Peer,
    numbers: Vec<usize>,
    reading: Reading,
    /// Next read of a slow one.
    next_read: u64,
    reader: Reader,
    /// Final answers read to their end.
    answers: usize,
    /// Interim ones to the request at hand.
    interim: usize,
    /// The answer whose body is being read.
    current: Option<Current>,
    /// Nothing may follow the answer at hand.
    last: bool,
    /// The balancer's own word ended it.
    settled: bool,
    /// In a tunnel: what came.
    tunnel: Option<Stream>,
    /// The other side has ended.
    ended: bool,
    /// Requests begun.
    begun: usize,
    /// When the last answer ended.
    answered: u64,
    /// When the first byte of the head at hand was sent.
    head_since: Option<u64>,
}

#[derive(Debug)]
struct Current {
    status: u16,
    /// The attempt it answers; `None` when it is the balancer's own.
    attempt: Option<u32>,
    bodiless: bool,
}

impl Client {
    pub(crate) fn new(line: usize, script: ClientScript) -> Self {
        Self {
            peer: Peer::new(line, script.acts),
            numbers: script.numbers,
            reading: script.reading,
            next_read: 0,
            reader: Reader::default(),
            answers: 0,
            interim: 0,
            current: None,
            last: false,
            settled: false,
            tunnel: None,
            ended: false,
            begun: 0,
            answered: 0,
            head_since: None,
        }
    }

    /// One turn.
    pub(crate) fn turn(&mut self, wires: &mut Wires, ledger: &mut Ledger) {
        if self.peer.gone {
            return;
        }
        if let Err(wrong) = self.read(wires, ledger) {
            ledger.wrong(format!("line {}: {wrong}", self.peer.line));
            self.peer.close(wires);
        }
        self.act(wires, ledger);
        self.ended |= self.reading == Reading::Never && !wires.near_is_open(self.peer.line);
        if self.ended && !self.peer.gone && (self.tunnel.is_none() || self.peer.is_done()) {
            self.peer.close(wires);
        }
        if self.peer.gone {
            self.hang_up(ledger);
        }
    }

    fn act(&mut self, wires: &mut Wires, ledger: &mut Ledger) {
        let (answers, any, ended) = (self.answers, self.answers + self.interim.min(1), self.ended);
        let begun = usize::from(self.current.is_some());
        let marks = self.peer.act(wires, |wait| match wait {
            Wait::Answers(n) => answers >= n,
            Wait::AnyAnswers(n) => any + begun >= n,
            Wait::End => ended,
            Wait::Request | Wait::Forever => false,
        });
        for (number, mark) in marks {
            let plan = &mut ledger.plans[number];
            match mark {
                Mark::Begun => {
                    (plan.begun, plan.begun_at) = (true, wires.now);
                    self.begun += 1;
                    self.head_since = Some(wires.now);
                }
                Mark::Head => {
                    plan.head_sent = true;
                    self.head_since = None;
                }
            }
        }
    }

    /// When it goes on by itself.
    pub(crate) fn wakes(&self, now: u64) -> Option<u64> {
        let read = match self.reading {
            Reading::Slow { .. } => self.next_read,
            Reading::Late(due) => due,
            Reading::Eager | Reading::Never => 0,
        };
        let read = (!self.peer.gone && read > now).then_some(read);
        read.into_iter().chain(self.peer.wakes(now)).min()
    }

    /// Since when the head at hand is on its way, and nothing else.
    pub(crate) fn head_since(&self) -> Option<u64> {
        let watched = !self.peer.gone && !self.ended && self.reading == Reading::Eager;
        if watched && self.begun == self.answers + 1 {
            self.head_since.map(|s| s.max(self.answered))
        } else {
            None
        }
    }

    fn read(&mut self, wires: &mut Wires, ledger: &mut Ledger) -> Result<(), String> {
        let most = match self.reading {
            Reading::Eager => usize::MAX,
            Reading::Never => return Ok(()),
            Reading::Late(due) if wires.now < due => return Ok(()),
            Reading::Late(_) => usize::MAX,
            Reading::Slow { .. } if wires.now < self.next_read => return Ok(()),
            Reading::Slow { bytes, every } => {
                self.next_read = wires.now + every;
                bytes
            }
        };
        let bytes = wires.far_read(self.peer.line, most);
        if !bytes.is_empty() {
            let before = self.answers;
            self.reader.feed(&bytes);
            self.take(ledger)?;
            if self.answers > before {
                self.answered = wires.now;
            }
        }
        match wires.far_tail(self.peer.line) {
            Tail::Open => Ok(()),
            _ if self.ended => Ok(()),
            tail => {
                self.ended = true;
                self.end(tail, ledger)
            }
        }
    }

    fn take(&mut self, ledger: &mut Ledger) -> Result<(), String> {
        loop {
            if let Some(got) = &mut self.tunnel {
                let fits = got.take(&self.reader.take_rest());
                return if fits { Ok(()) } else { Err("wrong bytes in a tunnel".into()) };
            }
            if self.current.is_none() {
                if self.last && self.settled {
                    // A head that was refused or late may have been a HEAD, which nobody could know.
                    return Ok(());
                }
                if self.last && !self.reader.rest().is_empty() {
                    return Err("bytes behind an answer that said close".into());
                }
                let Some(head) = self.reader.head()? else { return Ok(()) };
                self.head(&head, ledger)?;
                if self.current.is_none() {
                    continue;
                }
            }
            if !self.reader.body()? {
                return Ok(());
            }
            self.finish(ledger)?;
        }
    }

    fn head(&mut self, head: &Head, ledger: &mut Ledger) -> Result<(), String> {
        let number =
            *self.numbers.get(self.answers).ok_or(format!("an answer to nothing: {}", head.start))?;
        let plan = ledger.plans[number].clone();
        if !plan.begun {
            return Err(format!("an answer to request {number} before it was sent: {}", head.start));
        }
        let status =
            head.start.strip_prefix("HTTP/1.1 ").and_then(|s| s.get(..3)).and_then(|s| s.parse().ok());
        let status: u16 = status.ok_or(format!("a bad status line {:?}", head.start))?;
        let attempt = attempt(head, number)?;
        if !head.all("x-hop").is_empty() || !head.all("keep-alive").is_empty() {
            return Err(format!("hop-by-hop fields came through to request {number}"));
        }
        if (100..200).contains(&status) && status != 101 {
            self.interim += 1;
            let framed = head.framing()?.is_some();
            return if attempt.is_none() || plan.http10 || framed {
                Err(format!("a bad {status}"))
            } else {
                Ok(())
            };
        }
        if let Some(attempt) = attempt {
            let said = ledger.said.get(&(number, attempt));
            let meant = said.ok_or(format!("an answer that no backend gave: {}", head.start))?.status;
            if meant != status || plan.broken == Broken::Head || plan.local {
                return Err(format!("request {number} was answered {status}, {meant} was meant"));
            }
        } else if !((400..600).contains(&status) || plan.local && status == 200) {
            return Err(format!("our own answer to request {number} is {status}"));
        }
        if status == 101 {
            return self.switch(&plan, number);
        }
        let bodiless = plan.method == "HEAD" || status == 204 || status == 304;
        let told = head.framing()?;
        let framing = if bodiless { Framing::Length(0) } else { told.unwrap_or(Framing::UntilClose) };
        if framing == Framing::Chunked && plan.http10 {
            return Err("chunks to HTTP/1.0".into());
        }
        self.last = head.connection("close")
            || framing == Framing::UntilClose
            || (plan.http10 && !head.connection("keep-alive"));
        if framing == Framing::UntilClose && !plan.http10 {
            return Err("a body without framing to HTTP/1.1".into());
        }
        self.reader.begin_body(framing);
        self.current = Some(Current { status, attempt, bodiless });
        Ok(())
    }

    /// The answer at hand is whole.
    fn finish(&mut self, ledger: &mut Ledger) -> Result<(), String> {
        let number = self.numbers[self.answers];
        let Some(current) = self.current.take() else { return Ok(()) };
        self.answers += 1;
        self.interim = 0;
        let status = current.status;
        let Some(attempt) = current.attempt else {
            self.settled = true;
            ledger.settle(number, Outcome::Ours { status });
            return Ok(());
        };
        let said = ledger.said[&(number, attempt)];
        let body = if current.bodiless { Vec::new() } else { answer_body(number, attempt, said.len) };
        if !said.whole {
            return Err(format!("the cut answer to request {number} was completed falsely"));
        }
        if self.reader.body != body {
            let (got, meant) = (self.reader.body.len(), body.len());
            return Err(format!("a wrong body to request {number}: {got} bytes, {meant} were meant"));
        }
        ledger.settle(number, Outcome::Own { status, attempt });
        Ok(())
    }

    /// The balancer has ended its side, or reset.
    fn end(&mut self, tail: Tail, ledger: &mut Ledger) -> Result<(), String> {
        if let Some(got) = &self.tunnel {
            let outcome = Outcome::Tunnelled { got: got.len(), ended: tail == Tail::Ended };
            ledger.settle(self.numbers[self.answers], outcome);
            return Ok(());
        }
        if self.current.is_some() && tail == Tail::Ended && self.reader.ends_with_stream() {
            return self.finish(ledger);
        }
        Ok(())
    }

    /// What is not answered by now never will be.
    fn hang_up(&mut self, ledger: &mut Ledger) {
        for &number in &self.numbers {
            if ledger.plans[number].outcome == Outcome::Unanswered {
                ledger.settle(number, Outcome::Cut);
            }
        }
    }

    fn switch(&mut self, plan: &Plan, number: usize) -> Result<(), String> {
        let Some(tunnel) = plan.tunnel else { return Err(format!("request {number} never asked to switch")) };
        self.tunnel = Some(Stream::new(tunnel_bytes(number, false, tunnel.from_backend)));
        self.peer.acts.clear();
        let data = tunnel_bytes(number, true, tunnel.from_client);
        self.peer.acts.extend(tunnel_acts(data, tunnel.client_waits, tunnel.quiet));
        Ok(())
    }
}

/// One side's part of a tunnel.
pub(crate) fn tunnel_acts(data: Vec<u8>, waits: bool, quiet: u64) -> Vec<Act> {
    let (first, second) = data.split_at(data.len() / 2);
    let wait = if waits { Act::Await(Wait::End) } else { Act::Pause(quiet) };
    vec![
        Act::Send(first.to_vec()),
        wait,
        Act::Send(second.to_vec()),
        Act::Fin,
        Act::Await(Wait::End),
        Act::Close,
    ]
}

/// The attempt that an answer says it is of, which must be one of this request.
fn attempt(head: &Head, number: usize) -> Result<Option<u32>, String> {
    let Some(mark) = head.one("x-answer")? else { return Ok(None) };
    let (of, attempt) = mark.split_once('.').ok_or("a bad mark")?;
    if of.parse() != Ok(number) {
        return Err(format!("request {number} got the answer to request {of}"));
    }
    attempt.parse().map(Some).map_err(|_| "a bad mark".to_owned())
}
