//! What clients will ask and what backends will answer, drawn from the seed before anything happens.

use crate::http::chunked;
use crate::ledger::{Answer, Broken, Fault, Frame, Ledger, Mood, Outcome, Plan, TunnelPlan, request_body};
use crate::peer::{Act, Mark, Wait};
use crate::rng::Rng;

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Eager,
    /// So many bytes every so many milliseconds.
    Slow {
        bytes: usize,
        every: u64,
    },
    /// Nothing before that time.
    Late(u64),
    Never,
}

/// One client's part.
#[derive(Clone, Debug)]
pub(crate) struct ClientScript {
    pub(crate) born: u64,
    pub(crate) numbers: Vec<usize>,
    pub(crate) acts: Vec<Act>,
    pub(crate) reading: Reading,
}

/// Draws scripts.
#[derive(Debug)]
pub(crate) struct Author<'a> {
    pub(crate) rng: Rng,
    pub(crate) ledger: &'a mut Ledger,
    /// Longest body.
    pub(crate) most: usize,
    /// Longest pause that is no fault.
    pub(crate) patience: u64,
}

impl Author<'_> {
    pub(crate) fn mood(&self) -> Mood {
        self.ledger.mood
    }

    fn rough(&mut self, percent: u64) -> bool {
        self.mood().is_rough() && self.rng.chance(percent)
    }

    pub(crate) fn client(&mut self) -> ClientScript {
        let born = self.rng.pick(&[0, 0, 1, 30, 200]);
        let count = self.rng.between(1, 6) as usize;
        let pipelined = !self.mood().is_timeless() && self.rng.chance(40);
        let (mut numbers, mut acts) = (Vec::new(), Vec::new());
        for i in 0..count {
            let last = i + 1 == count;
            let number = self.ledger.plans.len();
            numbers.push(number);
            let broken =
                if self.rough(6) { self.rng.pick(&[Broken::Head, Broken::Body]) } else { Broken::No };
            if self.rough(2) && !self.mood().is_timeless() {
                self.drip(number, &mut acts);
                break;
            }
            if broken == Broken::Head {
                self.break_head(number, &mut acts);
                break;
            }
            let ends = self.request(number, last, broken, i, &mut acts);
            if ends || broken != Broken::No {
                break;
            }
            if !pipelined && !last {
                acts.push(Act::Await(Wait::Answers(i + 1)));
                if self.rng.chance(30) {
                    acts.push(Act::Pause(self.rng.below(self.patience)));
                }
            }
        }
        let all = Wait::Answers(numbers.len());
        if self.rough(35) && !self.mood().is_timeless() {
            self.misbehave(&mut acts);
        } else if self.rng.chance(15) && acts.last() != Some(&Act::Await(Wait::Forever)) {
            // A half-close says no more than that no request will follow.
            acts.extend([Act::Fin, Act::Await(all), Act::Close]);
        } else if acts.last() != Some(&Act::Await(Wait::Forever)) {
            acts.extend([Act::Await(all), Act::Close]);
        }
        ClientScript { born, numbers, acts, reading: self.reading() }
    }

    fn reading(&mut self) -> Reading {
        if self.mood().is_timeless() {
            return Reading::Eager;
        }
        let slow = Reading::Slow { bytes: 1 + self.most / 20, every: self.rng.between(1, self.patience / 8) };
        let late = Reading::Late(self.rng.below(self.patience));
        match self.rng.below(10) {
            0 => slow,
            1 => late,
            2 if self.rough(30) => Reading::Never,
            _ => Reading::Eager,
        }
    }

    /// Cuts the acts somewhere, and ends the connection in a way that nobody asked for.
    fn misbehave(&mut self, acts: &mut Vec<Act>) {
        let at = self.rng.below(acts.len() as u64) as usize;
        let cut = acts.drain(at..).next();
        match cut {
            Some(Act::Send(bytes)) if bytes.len() > 1 => {
                let part = self.rng.between(1, bytes.len() as u64 - 1) as usize;
                acts.push(Act::Send(bytes[..part].to_vec()));
            }
            // A mark tells of what was sent before it, or of a byte that is sent behind it.
            Some(Act::Mark(_, Mark::Begun)) | None => {}
            Some(Act::Send(_)) if !matches!(acts.last(), Some(Act::Mark(_, Mark::Begun))) => {}
            Some(act) => acts.push(act),
        }
        if self.rng.chance(50) {
            acts.push(Act::Pause(self.rng.below(self.patience)));
        }
        match self.rng.below(4) {
            0 => acts.extend([Act::Fin, Act::Await(Wait::Forever)]),
            1 => acts.push(Act::Reset),
            2 => acts.push(Act::Close),
            _ => acts.push(Act::Await(Wait::Forever)),
        }
    }

    /// Plans a request and the acts that send it; true when the connection cannot outlive it.
    fn request(&mut self, number: usize, last: bool, broken: Broken, at: usize, acts: &mut Vec<Act>) -> bool {
        let calm = !self.mood().is_rough();
        let http10 = self.rng.chance(15);
        let safe: &[&str] = &["GET", "GET", "HEAD", "DELETE", "OPTIONS"];
        let any: &[&str] = &["GET", "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "POST", "POST", "PATCH"];
        let method = self.rng.pick(if self.mood() == Mood::Flaky { safe } else { any });
        // Only what is whole when it is sent on can be sent again, and no split decides that of an empty body.
        let extra = self.mood() != Mood::Flaky && self.rng.chance(5);
        let bodied = matches!(method, "PUT" | "POST" | "PATCH") || extra || broken == Broken::Body;
        let body = if bodied { self.rng.length(self.most) } else { 0 };
        let chunk = (broken == Broken::Body || (bodied && !http10 && self.rng.chance(50)))
            .then(|| self.rng.between(1, body as u64 + 1) as usize);
        let http10 = http10 && broken == Broken::No;
        let ends_here = last || (!calm && !self.mood().is_timeless());
        let upgrade = method == "GET" && !bodied && !http10 && last && self.rng.chance(25);
        let tunnel = upgrade.then(|| self.tunnel());
        let local = !upgrade && self.rng.chance(4) && !bodied && method == "GET";
        let expect = bodied && !http10 && self.rng.chance(20) && broken == Broken::No;
        let mut answers = Vec::new();
        for attempt in 0..4 {
            let keeps = !ends_here || (http10 && !last);
            let answer = self.answer(bodied, keeps && !(http10 && last), tunnel.is_some(), http10, attempt);
            answers.push(answer);
        }
        let closes = ends_here && !upgrade && self.rng.chance(20);
        let target = match self.rng.below(8) {
            _ if local => "/lb-status".to_owned(),
            0 => format!("http://sim.example/{number}?a=b|c"),
            1 if broken == Broken::No => format!("http://sim.example?{number}"),
            _ => format!("/{number}/x?y={number}"),
        };
        let plan = Plan {
            method,
            target,
            http10,
            body,
            chunk,
            expect,
            tunnel,
            local,
            broken,
            answers,
            begun: false,
            begun_at: 0,
            head_sent: false,
            seen: 0,
            seen_whole: false,
            outcome: Outcome::Unanswered,
        };
        let head = self.head(&plan, number, closes, expect, upgrade);
        self.ledger.plans.push(plan);
        acts.push(Act::Mark(number, Mark::Begun));
        self.send(head, acts);
        acts.push(Act::Mark(number, Mark::Head));
        if expect && self.rng.chance(80) {
            acts.push(Act::Await(Wait::AnyAnswers(at + 1)));
        }
        let sent = self.body(number, body, chunk, broken);
        self.send(sent, acts);
        if tunnel.is_some() {
            acts.push(Act::Await(Wait::Forever));
        }
        closes || upgrade
    }

    /// The body as it is sent.
    fn body(&mut self, number: usize, len: usize, chunk: Option<usize>, broken: Broken) -> Vec<u8> {
        let data = request_body(number, len);
        let Some(size) = chunk else { return data };
        let trailer = self.rng.pick(&["", "", "X-Sum: 1\r\n", "Host: evil\r\n"]);
        let mut sent = chunked(&data, size, trailer);
        if broken == Broken::Body {
            let bad: &[u8] =
                self.rng.pick(&[b"5 \r\nhello", b"zz\r\n", b"3\r\nabcd", b"\r\n", b"1\nx", b"-1\r\n"]);
            // In place of the last chunk.
            let end = memchr::memmem::rfind(&sent, b"0\r\n").unwrap_or(0);
            sent.truncate(end);
            sent.extend_from_slice(bad);
            sent.extend_from_slice(b"\r\n0\r\n\r\n");
        }
        sent
    }

    /// Sends it, with pauses or without.
    pub(crate) fn send(&mut self, bytes: Vec<u8>, acts: &mut Vec<Act>) {
        let mut rest = &bytes[..];
        while !self.mood().is_timeless() && rest.len() > 1 && self.rng.chance(20) {
            let part = self.rng.between(1, rest.len() as u64 - 1) as usize;
            acts.push(Act::Send(rest[..part].to_vec()));
            let long = self.rough(8);
            acts.push(Act::Pause(if long { self.patience * 6 } else { self.rng.below(self.patience / 4) }));
            rest = &rest[part..];
        }
        acts.push(Act::Send(rest.to_vec()));
    }

    fn head(&mut self, plan: &Plan, number: usize, closes: bool, expect: bool, upgrade: bool) -> Vec<u8> {
        let mut lines = if self.rng.chance(5) { "\r\n".to_owned() } else { String::new() };
        let version = if plan.http10 { "1.0" } else { "1.1" };
        lines += &format!("{} {} HTTP/{version}\r\n", plan.method, plan.target);
        if !plan.http10 || self.rng.chance(50) {
            lines += "Host: sim.example\r\n";
        }
        lines += &format!("X-Number: {number}\r\nX-Keep: {number}\r\n");
        if self.rng.chance(20) {
            lines += &format!("X-Long: {}\r\n", "l".repeat(self.rng.length(self.most.min(9000))));
        }
        let options = match (closes, plan.http10, upgrade) {
            (true, ..) => "close",
            (_, true, _) => "keep-alive",
            (.., true) => "Upgrade",
            _ => "",
        };
        let named = self.rng.chance(20);
        match (named, options) {
            (true, _) => lines += &format!("Connection: {options}, X-Drop\r\nX-Drop: 1\r\nTE: trailers\r\n"),
            (false, "") => {}
            (false, options) => lines += &format!("Connection: {options}\r\n"),
        }
        if upgrade {
            lines += "Upgrade: echo\r\n";
        }
        if expect {
            lines += "Expect: 100-continue\r\n";
        }
        if plan.chunk.is_some() {
            lines += "Transfer-Encoding: chunked\r\n";
        } else if plan.body > 0 || matches!(plan.method, "PUT" | "POST" | "PATCH") {
            lines += &format!("Content-Length: {}\r\n", plan.body);
        }
        (lines + "\r\n").into_bytes()
    }

    fn tunnel(&mut self) -> TunnelPlan {
        let waits = self.rng.below(3);
        TunnelPlan {
            from_client: self.rng.length(self.most),
            from_backend: self.rng.length(self.most),
            client_waits: waits == 1,
            backend_waits: waits == 2,
            quiet: if self.rng.chance(30) { self.patience * 3 } else { 0 },
        }
    }

    fn answer(&mut self, bodied: bool, keeps: bool, tunnel: bool, to_http10: bool, attempt: u32) -> Answer {
        let statuses = [200, 200, 200, 201, 204, 304, 404, 500];
        let frames = [
            Frame::Length,
            Frame::Length,
            Frame::Chunked(self.rng.between(1, self.most as u64) as usize),
            Frame::UntilClose,
        ];
        let frame = self.rng.pick(&frames);
        // To an HTTP/1.0 client only a length lets the connection live.
        let frame = if to_http10 && keeps { Frame::Length } else { frame };
        let fault = if !self.mood().has_good_backends() && self.rough(30) {
            self.fault(tunnel, bodied)
        } else if self.mood() == Mood::Flaky && attempt < 1 && self.rng.chance(20) {
            self.rng.pick(&[Fault::CloseInstead, Fault::ResetInstead])
        } else {
            Fault::None
        };
        let unhurried = self.mood().is_timeless() || self.rng.chance(70);
        let http10 = frame != Frame::Chunked(0) && !matches!(frame, Frame::Chunked(_)) && self.rng.chance(10);
        // The more often, the less of it comes: that is where a cut is hardest to tell from an end.
        let often = if matches!(fault, Fault::Cut { reset: true, .. }) { 70 } else { 25 };
        let may_be_early = bodied && !keeps && !self.mood().is_timeless() && !to_http10;
        let early = may_be_early && self.rng.chance(often);
        Answer {
            status: if tunnel { 101 } else { self.rng.pick(&statuses) },
            frame,
            len: self.rng.length(self.most),
            http10: http10 && !tunnel,
            interim: if self.rng.chance(12) { self.rng.between(1, 3) as u8 } else { 0 },
            closes: self.rng.chance(10) || frame == Frame::UntilClose || http10,
            early,
            delay: if unhurried { 0 } else { self.rng.below(self.patience / 2) },
            fault,
        }
    }

    fn fault(&mut self, tunnel: bool, bodied: bool) -> Fault {
        if self.mood() == Mood::Poisoned && !tunnel {
            return Fault::Poison;
        }
        let at = self.rng.below(1000) as usize;
        let drawn = self.rng.below(if self.mood().is_timeless() { 7 } else { 10 });
        // Whether a request with a body can be sent again is for the split to say.
        match if self.mood().is_timeless() && bodied { 2 + drawn % 4 } else { drawn } {
            0 => Fault::CloseInstead,
            1 => Fault::Cut { at, reset: false },
            2 => Fault::Garbage(self.rng.below(if self.mood().is_timeless() && bodied { 5 } else { 6 })),
            3 | 4 => Fault::Misframed(self.rng.below(9)),
            5 if !tunnel => Fault::Switch,
            5 => Fault::CloseInstead,
            6 => Fault::Cut { at, reset: false },
            7 => Fault::ResetInstead,
            8 => Fault::Stall,
            9 if tunnel => Fault::CloseAfter,
            _ => self.rng.pick(&[
                Fault::Extra,
                Fault::CloseAfter,
                Fault::Cut { at, reset: true },
                Fault::Cut { at, reset: true },
            ]),
        }
    }
}
