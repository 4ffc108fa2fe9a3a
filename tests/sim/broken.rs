//! Requests that no backend may see.

use crate::ledger::{Broken, Outcome, Plan};
use crate::peer::{Act, Mark, Wait};
use crate::script::Author;

impl Author<'_> {
    /// A head that is always about to go on and never ends; the client waits to be thrown out.
    pub(crate) fn drip(&mut self, number: usize, acts: &mut Vec<Act>) {
        self.ledger.plans.push(refused());
        acts.push(Act::Mark(number, Mark::Begun));
        let drop: &[u8] = self.rng.pick(&[b"\r\n", b"\r", b"G"]);
        for _ in 0..20 {
            acts.extend([Act::Send(drop.to_vec()), Act::Pause(self.patience / 2)]);
        }
        acts.push(Act::Await(Wait::Forever));
    }

    /// A head that breaks a rule, with a body that may follow it.
    pub(crate) fn break_head(&mut self, number: usize, acts: &mut Vec<Act>) {
        let rest = format!("X-Number: {number}\r\nHost: sim.example\r\n");
        let heads = [
            format!("GET /{number} HTTP/1.1\r\nX-Number: {number}\r\n\r\n"),
            format!("\r\n\r\n\r\nGET /{number} HTTP/1.1\r\n{rest}\r\n"),
            format!("GET /{number} HTTP/1.1\r\n{rest}Host: other\r\n\r\n"),
            format!(
                "POST /{number} HTTP/1.1\r\n{rest}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
            ),
            format!("POST /{number} HTTP/1.1\r\n{rest}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
            format!("POST /{number} HTTP/1.1\r\n{rest}Content-Length: +5\r\n\r\nhello"),
            format!("POST /{number} HTTP/1.0\r\n{rest}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            format!("POST /{number} HTTP/1.1\r\n{rest}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
            format!("GET  /{number} HTTP/1.1\r\n{rest}\r\n"),
            format!("GET /{number} HTTP/2.0\r\n{rest}\r\n"),
            format!("GET /{number} HTTP/1.1\r\n{rest}A : b\r\n\r\n"),
            format!("GET /{number} HTTP/1.1\r\n{rest}A: b\r\n c\r\n\r\n"),
            format!("GET /{number} HTTP/1.1\n{rest}\r\n"),
            format!("CONNECT sim.example:{number} HTTP/1.1\r\n{rest}\r\n"),
            format!("GET /{number} HTTP/1.1\r\n{rest}A: \0\r\n\r\n"),
            format!("GET /{number} HTTP/1.1\r\n{rest}A: {}\r\n\r\n", "a".repeat(33 * 1024)),
            format!("GET /{number}{} HTTP/1.1\r\n{rest}\r\n", "a".repeat(9 * 1024)),
        ];
        // The long ones only where the pipes are wide enough to end in time.
        let kinds =
            if self.most < 5000 && !self.mood().is_timeless() { heads.len() - 2 } else { heads.len() };
        let head = heads[self.rng.below(kinds as u64) as usize].clone();
        self.ledger.plans.push(refused());
        acts.push(Act::Mark(number, Mark::Begun));
        self.send(head.into_bytes(), acts);
    }
}

/// The plan of a request that no backend may see.
fn refused() -> Plan {
    Plan {
        method: "GET",
        target: String::new(),
        http10: false,
        body: 0,
        chunk: None,
        expect: false,
        tunnel: None,
        local: false,
        broken: Broken::Head,
        answers: Vec::new(),
        begun: false,
        begun_at: 0,
        head_sent: false,
        seen: 0,
        seen_whole: false,
        outcome: Outcome::Unanswered,
    }
}
