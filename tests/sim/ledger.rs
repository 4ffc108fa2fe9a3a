//! What was planned, what each side saw of it, and what must never have happened.

use std::collections::BTreeMap;

use crate::rng;

/// How kind a world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Nobody does anything wrong: every request must have its own answer.
    Calm,
    /// Backends come and go, idempotent requests only: every one must have its own answer all the same.
    Flaky,
    /// Clients do anything, backends nothing wrong: no backend may be blamed.
    Rude,
    /// Anything.
    Rough,
    /// One client and one backend that break all rules, but nothing whose outcome depends on who is faster.
    Timeless,
    /// The same, with a backend that sends more than its answers.
    Poisoned,
}

impl Mood {
    pub(crate) fn is_timeless(self) -> bool {
        matches!(self, Self::Timeless | Self::Poisoned)
    }

    /// Backends keep all rules and promises.
    pub(crate) fn has_good_backends(self) -> bool {
        matches!(self, Self::Calm | Self::Rude)
    }

    /// Nobody is owed an answer of its own.
    pub(crate) fn is_rough(self) -> bool {
        !matches!(self, Self::Calm | Self::Flaky)
    }
}

/// What a request is worth to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    No,
    /// Must never reach a backend.
    Head,
    /// Must never be whole at a backend.
    Body,
}

/// How an answer is framed by the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Length,
    /// In chunks of that size.
    Chunked(usize),
    UntilClose,
}

/// What goes wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    CloseInstead,
    ResetInstead,
    Stall,
    /// Cut after that many thousandths.
    Cut {
        at: usize,
        reset: bool,
    },
    Garbage(u64),
    /// Breaks a rule of framing.
    Misframed(u64),
    /// Bytes behind its end.
    Extra,
    /// Another answer behind its end, at once, where a reader's buffer is just full.
    Poison,
    /// The connection closes behind it without having said so.
    CloseAfter,
    /// 101 that nobody asked for.
    Switch,
}

/// What the backend does with one attempt of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) frame: Frame,
    pub(crate) len: usize,
    pub(crate) http10: bool,
    /// Interim responses before it.
    pub(crate) interim: u8,
    /// Says that it closes, and does.
    pub(crate) closes: bool,
    /// Before the body of the request has come.
    pub(crate) early: bool,
    /// Comes so much later.
    pub(crate) delay: u64,
    pub(crate) fault: Fault,
}

/// What is sent in a tunnel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TunnelPlan {
    pub(crate) from_client: usize,
    pub(crate) from_backend: usize,
    /// Sends its second half only when the other side has ended.
    pub(crate) client_waits: bool,
    pub(crate) backend_waits: bool,
    /// Nobody says anything for so long.
    pub(crate) quiet: u64,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) http10: bool,
    pub(crate) body: usize,
    /// In chunks of that size; else by length.
    pub(crate) chunk: Option<usize>,
    /// Waits for `100 Continue` before its body.
    pub(crate) expect: bool,
    pub(crate) tunnel: Option<TunnelPlan>,
    /// The balancer answers it.
    pub(crate) local: bool,
    pub(crate) broken: Broken,
    /// One for each attempt; the last one for all that follow.
    pub(crate) answers: Vec<Answer>,
    /// The client has begun to send it.
    pub(crate) begun: bool,
    /// When that was.
    pub(crate) begun_at: u64,
    /// The client has sent its head.
    pub(crate) head_sent: bool,
    /// Attempts that a backend saw.
    pub(crate) seen: u32,
    /// A backend saw it whole.
    pub(crate) seen_whole: bool,
    pub(crate) outcome: Outcome,
}

impl Plan {
    pub(crate) fn is_idempotent(&self) -> bool {
        self.method != "POST" && self.method != "PATCH"
    }
}

/// What became of a request, as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Unanswered,
    /// The planned answer, whole.
    Own {
        status: u16,
        attempt: u32,
    },
    /// The balancer's own answer.
    Ours {
        status: u16,
    },
    /// Through a tunnel came so many bytes, and its end.
    Tunnelled {
        got: usize,
        ended: bool,
    },
    Cut,
}

/// What a backend meant to send for one attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    /// Length of the body as far as it goes.
    pub(crate) len: usize,
    /// A reader can take it for complete.
    pub(crate) whole: bool,
}

/// All that is known of one run.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) mood: Mood,
    pub(crate) plans: Vec<Plan>,
    pub(crate) said: BTreeMap<(usize, u32), Said>,
    /// Requests sent again at most so often.
    pub(crate) retries: u32,
    /// Longest body of a request that is let through.
    pub(crate) body: Option<u64>,
    /// Since when a backend is in no pool; none of those that are in one.
    pub(crate) left: BTreeMap<usize, Option<u64>>,
    /// Rules that were broken.
    pub(crate) wrongs: Vec<String>,
    /// For each tunnel, what the backend got: bytes and whether the end came.
    pub(crate) tunnels: BTreeMap<usize, (usize, bool)>,
}

impl Ledger {
    pub(crate) fn wrong(&mut self, what: impl Into<String>) {
        self.wrongs.push(what.into());
    }

    /// That backend has read a request head.
    pub(crate) fn saw_head(&mut self, number: usize, backend: usize) -> u32 {
        let retries = self.retries;
        let left = self.left.get(&backend).copied().flatten();
        let plan = &mut self.plans[number];
        plan.seen += 1;
        let most = if plan.is_idempotent() { 1 + retries } else { 1 };
        let attempt = plan.seen;
        let (broken, sent, local, begun) = (plan.broken, plan.head_sent, plan.local, plan.begun_at);
        if left.is_some_and(|left| begun > left) {
            self.wrong(format!(
                "request {number} came to backend {backend}, which had been removed before it"
            ));
        }
        if attempt > most {
            self.wrong(format!("request {number} came to a backend {attempt} times, {most} are allowed"));
        }
        if broken == Broken::Head || local {
            self.wrong(format!("request {number} should never have come to a backend"));
        }
        if !sent {
            self.wrong(format!("request {number} came to a backend before its client had sent it"));
        }
        attempt
    }

    /// A client has its answer.
    pub(crate) fn settle(&mut self, number: usize, outcome: Outcome) {
        let plan = &mut self.plans[number];
        if plan.outcome != Outcome::Unanswered {
            let earlier = plan.outcome.clone();
            self.wrong(format!("request {number} ended twice: {earlier:?}, then {outcome:?}"));
        } else {
            plan.outcome = outcome;
        }
    }
}

/// Bytes that are to come, and how many of them did.
#[derive(Debug)]
pub(crate) struct Stream {
    meant: Vec<u8>,
    got: usize,
}

impl Stream {
    pub(crate) fn new(meant: Vec<u8>) -> Self {
        Self { meant, got: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.got
    }

    /// Bytes that came; false when they are not those that were meant.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> bool {
        let fits = self.meant[self.got..].starts_with(bytes);
        self.got += bytes.len() * usize::from(fits);
        fits
    }
}

/// The body of a request.
pub(crate) fn request_body(number: usize, len: usize) -> Vec<u8> {
    rng::bytes(number as u64 * 64, len)
}

/// The body of an answer.
pub(crate) fn answer_body(number: usize, attempt: u32, len: usize) -> Vec<u8> {
    rng::bytes(number as u64 * 64 + u64::from(attempt.min(60)), len)
}

/// What goes through a tunnel.
pub(crate) fn tunnel_bytes(number: usize, from_client: bool, len: usize) -> Vec<u8> {
    rng::bytes(number as u64 * 64 + 61 + u64::from(from_client), len)
}
