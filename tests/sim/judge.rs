//! What must hold of a run as a whole.

use evenkeel::limits;

use crate::ledger::{Outcome, Plan};
use crate::world::{World, millis};

impl World {
    /// Longer than the balancer may wait for anything.
    pub(crate) fn longest_wait(&self) -> u64 {
        let t = &self.timeouts;
        let waits = [t.head, t.idle, t.response, t.stall, t.stall, t.tunnel, limits::LINGER_TIMEOUT];
        let tries = u64::from(self.ledger.retries) + 1;
        let each = 2 * millis(t.connect) + millis(t.response) + 100;
        waits.into_iter().map(millis).sum::<u64>() + tries * each
    }

    /// Nobody but the guilty is blamed, and every connection is counted out.
    pub(crate) fn judge_backends(&mut self) {
        let good = self.ledger.mood.has_good_backends();
        for (i, backend) in self.table.backends().iter().enumerate() {
            if good && !backend.is_healthy() && !backend.is_gone() {
                self.ledger.wrong(format!("backend {i} is down for what others did"));
            }
            if (backend.connections(), backend.in_flight()) != (0, 0) {
                self.ledger.wrong(format!("connections or requests to backend {i} are counted at rest"));
            }
        }
        let blamed = |plan: &Plan| matches!(plan.outcome, Outcome::Ours { status: 502..=504 });
        if let (true, Some(number)) = (good, self.ledger.plans.iter().position(blamed)) {
            self.ledger.wrong(format!("request {number} was refused for a backend's fault"));
        }
    }

    /// Connections to a backend that the balancer has open, against its limit.
    pub(crate) fn count_upstreams(&mut self) {
        if self.reloads.as_ref().is_some_and(|reloads| reloads.done() > 0) {
            // A limit that was lowered closes nothing.
            return;
        }
        let pool = &self.table.pools()[0];
        for (backend, config) in pool.config().backends.iter().enumerate() {
            let Some(most) = config.max_connections else { continue };
            let wires = self.wires.borrow();
            let own = self.addresses.iter().filter(|(_, b)| *b == backend);
            let open: usize = own.map(|(address, _)| wires.dialled(*address)).sum();
            if open > most as usize {
                self.ledger.wrong(format!("{open} connections to backend {backend}, {most} are allowed"));
            }
        }
    }

    /// The last outcomes that the mood demands.
    pub(crate) fn judge(&mut self) {
        self.judge_backends();
        let held = self.reloads.as_mut().map(|reloads| reloads.past().held(&self.table));
        held.into_iter().flatten().for_each(|wrong| self.ledger.wrong(wrong));
        if self.ledger.mood.is_rough() {
            return;
        }
        for number in 0..self.ledger.plans.len() {
            let plan = &self.ledger.plans[number];
            let well = match (&plan.outcome, plan.tunnel) {
                (Outcome::Ours { status: 200 }, _) => plan.local,
                (Outcome::Own { .. }, None) => true,
                (Outcome::Tunnelled { got, ended }, Some(t)) => {
                    let other = self.ledger.tunnels.get(&number);
                    *ended && *got == t.from_backend && other == Some(&(t.from_client, true))
                }
                _ => false,
            };
            if !well {
                let tunnel = self.ledger.tunnels.get(&number);
                let what = format!("request {number} fared badly: {:?}, backend {tunnel:?}", plan.outcome);
                self.ledger.wrong(what);
            }
        }
    }
}
