//! A client that knows the right answer to each of its requests, and leaves now and then within one.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::time::Instant;

use crate::ledger::Ledger;
use crate::plan::{Ends, Plan};
use crate::rng::Rng;
use crate::support::wire::{Body, Head};
use crate::support::{Client, Framing, Split};

/// Where a client leaves, in percent of its requests.
const LEAVES: u64 = 6;

pub(crate) struct Soaker<'a> {
    to: SocketAddr,
    ledger: &'a Ledger,
    rng: Rng,
    next: u64,
    client: Option<Client>,
}

/// What came of a request.
enum Outcome {
    /// A whole answer.
    Whole(u16, Head, Body),
    /// What came of one, if any did.
    Cut(Option<(u16, Head, Body)>, io::Error),
}

impl<'a> Soaker<'a> {
    /// The numbers of its requests begin at `first`.
    pub(crate) fn new(to: SocketAddr, ledger: &'a Ledger, rng: Rng, first: u64) -> Self {
        Self { to, ledger, rng, next: first, client: None }
    }

    pub(crate) fn run(mut self) {
        while !self.ledger.is_over() {
            let mut client = match self.client.take() {
                Some(client) => client,
                None => Client::connect(self.to),
            };
            let plan = Plan::draw(&mut self.rng, self.next);
            self.next += 1;
            if self.rng.chance(LEAVES) {
                self.leave(client, &plan);
                continue;
            }
            let began = Instant::now();
            let (outcome, last) = self.ask(&mut client, &plan);
            let goes_on = self.judge(&plan, began, outcome);
            if goes_on && !last && !self.rng.chance(10) {
                self.client = Some(client);
            }
        }
    }

    /// Sends the request and takes what comes; also whether the connection was half closed for it.
    fn ask(&mut self, client: &mut Client, plan: &Plan) -> (Outcome, bool) {
        let (request, _) = plan.request(&mut self.rng);
        let split = match self.rng.below(10) {
            0 => Split::At(self.rng.length(request.len())),
            1 if request.len() < 2000 => Split::Every(50),
            _ => Split::Whole,
        };
        // An early answer, and a failure, may come while the body is still being sent.
        let sent = client.send_pieces(&request, &split);
        let last = sent.is_ok() && self.rng.chance(3) && client.stream().shutdown(Shutdown::Write).is_ok();
        (take(client), last)
    }

    /// Begins a request, or its answer, and goes.
    fn leave(&mut self, client: Client, plan: &Plan) {
        let (request, head) = plan.request(&mut self.rng);
        let until = match self.rng.below(4) {
            0 => self.rng.length(head - 1),
            1 => head + self.rng.length(request.len() - head),
            _ => request.len(),
        };
        let mut client = client;
        let _ = client.send(&request[..until]);
        if until == request.len() && self.rng.chance(50) {
            let _ = client.head();
        }
        if self.rng.chance(50) {
            client.reset_on_close();
        }
        self.ledger.count("left");
    }

    /// Holds an outcome against the plan; true when the connection goes on.
    fn judge(&self, plan: &Plan, began: Instant, outcome: Outcome) -> bool {
        let right = plan.answer();
        let own = |head: &Head| head.joined("x-number") == plan.number.to_string();
        let (what, goes_on) = match outcome {
            Outcome::Whole(200, head, body) => {
                // An answer that ends with its connection ends with its backend too, and nobody can tell.
                let shortened = || plan.ends == Ends::Close && self.ledger.killed_since(began);
                if own(&head) && body.bytes == right && body.length == right.len() as u64 {
                    self.ledger.count("answered");
                } else if own(&head) && right.starts_with(&body.bytes) && shortened() {
                    self.ledger.count("ended by a kill");
                } else {
                    let number = head.joined("x-number");
                    self.ledger.wrong(format!("{plan:?} was answered by {number}: {} bytes", body.length));
                }
                return !head.lists("connection", "close");
            }
            Outcome::Whole(status @ 502..=504, head, _) => {
                (status.to_string(), !head.lists("connection", "close"))
            }
            Outcome::Cut(Some((200, head, body)), error) => {
                if !own(&head) || !right.starts_with(&body.bytes) {
                    self.ledger.wrong(format!("{plan:?} was cut within an answer that is not its own"));
                }
                (format!("cut: {:?}", error.kind()), false)
            }
            Outcome::Cut(None, error) => (format!("closed: {:?}", error.kind()), false),
            Outcome::Whole(status, ..) | Outcome::Cut(Some((status, ..)), _) => {
                self.ledger.wrong(format!("{plan:?} was answered with {status}"));
                return false;
            }
        };
        self.ledger.count(&what);
        let hung = what.ends_with("WouldBlock") || what.ends_with("InvalidData");
        if hung || !self.ledger.excuses(plan, began) {
            self.ledger.wrong(format!("{what} after {:?} without a fault for {plan:?}", began.elapsed()));
        }
        goes_on
    }
}

/// Reads one answer as far as it comes.
fn take(client: &mut Client) -> Outcome {
    let (status, head, framing) = match client.head() {
        Ok(head) => head,
        Err(error) => return Outcome::Cut(None, error),
    };
    let mut body = Body::default();
    let outcome = client.body(framing, &mut body);
    // A whole answer can only be told from a cut one where its end is told.
    match outcome {
        Ok(()) if framing != Framing::UntilClose => Outcome::Whole(status, head, body),
        Ok(()) => Outcome::Cut(Some((status, head, body)), io::ErrorKind::InvalidData.into()),
        Err(error) => Outcome::Cut(Some((status, head, body)), error),
    }
}
