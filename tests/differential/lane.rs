//! A lane: one proxy before one backend. Cases run through it one after the other, so that every byte the backend sees is
//! known to be of the case in hand.

use std::io;
use std::time::Duration;

use crate::backend::{Backend, FOLLOW, HEALTHY, Seen};
use crate::case::{Case, Step};
use crate::client::{Client, Received};
use crate::proxy::{Kind, Proxy};

/// What came of a case.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) client: Received,
    /// What of the case the backend saw.
    pub(crate) backend: Vec<Seen>,
    /// A plain request on a fresh connection was answered afterwards, as itself.
    pub(crate) healthy: bool,
    /// That request came to the backend on a connection that the case had used.
    pub(crate) reused: bool,
}

pub(crate) struct Lane {
    backend: Backend,
    pub(crate) proxy: Proxy,
    patience: Duration,
}

fn of_case(seen: &Seen) -> bool {
    !seen.asks_for(HEALTHY) && !seen.asks_for(FOLLOW)
}

impl Lane {
    pub(crate) fn start(kind: Kind, number: usize) -> io::Result<Self> {
        let backend = Backend::start()?;
        let proxy = kind.start(backend.port, number)?;
        Ok(Self { backend, proxy, patience: kind.patience() })
    }

    pub(crate) fn run(&self, case: &Case) -> io::Result<Observed> {
        self.backend.begin(&case.script);
        let client = Client::connect(self.proxy.port, self.patience)?;
        let client = client.run(&case.steps, case.expect.statuses.len(), case.expect.in_part, &self.backend);
        let healthy = self.is_healthy()?;
        // A connection that broke off may still be read by the backend; what is expected is waited for.
        let seen = self.backend.seen_when(self.patience / 5, |seen| {
            let whole = seen.iter().filter(|seen| of_case(seen) && seen.whole).count();
            let in_part = seen.iter().any(|seen| of_case(seen) && !seen.whole);
            whole == case.expect.requests && in_part == case.expect.in_part
        });
        let last = seen.iter().rev().find(|seen| seen.asks_for(HEALTHY)).map(|seen| seen.connection);
        let backend: Vec<_> = seen.iter().filter(|seen| of_case(seen)).cloned().collect();
        let reused = backend.iter().any(|seen| Some(seen.connection) == last);
        Ok(Observed { client, backend, healthy, reused })
    }

    fn is_healthy(&self) -> io::Result<bool> {
        let request = format!("GET {HEALTHY} HTTP/1.1\r\nHost: healthy.test\r\nConnection: close\r\n\r\n");
        let steps = [Step::Send(request.into_bytes())];
        // The others are given as long here: whether they still work is the question.
        let client = Client::connect(self.proxy.port, Kind::Evenkeel.patience())?;
        let received = client.run(&steps, 1, false, &self.backend);
        let body = format!("seen GET {HEALTHY}");
        Ok(received.answers.len() == 1 && received.bytes.ends_with(body.as_bytes()))
    }
}
