//! What must hold: each byte at the right side and in order, each end as it was meant, and nothing left.

use evenkeel::config::ProxyVersion;
use evenkeel::proto::proxy::{self, Ends};
use evenkeel::stats::Counter;

use super::plan::Fate;
use super::world::{Client, World};
use crate::ledger::Mood;
use crate::near;

/// As much of a stream as nothing else begins with.
const TELLING: usize = 8;

/// What became of the one client of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    got: usize,
    saw_end: bool,
    /// For each connection of a backend: its pool, what it got, and whether it saw the end.
    servings: Vec<(usize, usize, bool)>,
}

impl Client {
    /// All that a backend is to get, with the header that it is told.
    fn expected(&self, told: Option<ProxyVersion>) -> Vec<u8> {
        let mut all = Vec::new();
        if let Some(version) = told {
            let (source, destination) = near::ends(self.side.peer.line);
            proxy::write(version, &self.plan.named.unwrap_or(Ends { source, destination }), &mut all);
        }
        all.extend(&self.plan.said);
        all
    }
}

impl World {
    pub(crate) fn outcome(&self) -> Outcome {
        let side = &self.clients[0].side;
        let of = |s: &super::world::Serving| (s.pool, s.side.got.len(), s.side.saw_end);
        let servings = self.servings.iter().map(of).collect();
        Outcome { got: side.got.len(), saw_end: side.saw_end, servings }
    }

    /// Nothing is held for connections that are over.
    pub(crate) fn judge_rest(&mut self) {
        let held = (self.pump.open_downstreams(), self.pump.held(), self.pump.pipes_held());
        if held != (0, (0, 0), 0) {
            self.wrong(format!("connections, buffers, flights or pipes are held at rest: {held:?}"));
        }
        let gauges = [Counter::Downstreams, Counter::Flights, Counter::Upstreams].map(|c| self.stats.get(c));
        if gauges != [0; 3] {
            self.wrong(format!("connections are counted at rest: {gauges:?}"));
        }
        let mut wrongs: Vec<String> =
            self.reloads.iter().flat_map(|reloads| reloads.past.held(&self.table)).collect();
        for (at, backend) in self.table.backends().iter().enumerate() {
            if (backend.connections(), backend.in_flight()) != (0, 0) {
                wrongs.push(format!("connections to backend {at} are counted at rest"));
            }
            if self.plot.mood == Mood::Calm && !backend.is_healthy() && !backend.is_gone() {
                wrongs.push(format!("backend {at} is down for nothing"));
            }
        }
        for client in &self.clients {
            let named = client.plan.named.map(|ends| ends.source.ip());
            for address in [Some(client.plan.address), named].into_iter().flatten() {
                let Some(counts) = &self.counts else { continue };
                let room = [(); 2].map(|()| counts.enter(address));
                room.iter().filter(|entered| **entered).for_each(|_| counts.leave(address));
                if room != [true; 2] {
                    wrongs.push(format!("connections of {address} are counted at rest"));
                }
            }
        }
        self.wrongs.extend(wrongs);
    }

    /// For each backend's connection, the client that it serves; none where too little has come either way.
    fn pairs(&self) -> Result<Vec<Option<usize>>, String> {
        let mut pairs = Vec::new();
        if self.clients.iter().any(|client| client.plan.fate == Fate::Unknown) {
            return Ok(vec![None; self.servings.len()]);
        }
        for serving in &self.servings {
            let told = self.told[serving.pool];
            let (line, got) = (serving.side.peer.line, &serving.side.got);
            let sends = |c: &Client| c.expected(told).starts_with(got);
            let gets = |c: &Client| c.side.got.len() >= TELLING && serving.said.starts_with(&c.side.got);
            let candidates: Vec<usize> =
                (0..self.clients.len()).filter(|&at| sends(&self.clients[at])).collect();
            if candidates.is_empty() {
                return Err(format!("line {line}: what came is what no client sent"));
            }
            let answered: Vec<usize> =
                (0..self.clients.len()).filter(|&at| gets(&self.clients[at])).collect();
            let pair = match (&candidates[..], &answered[..]) {
                (_, []) if got.len() < TELLING => None,
                ([only], []) => Some(*only),
                (_, []) => None,
                (_, [only]) if candidates.contains(only) => Some(*only),
                _ => return Err(format!("line {line}: it was joined with several clients")),
            };
            if pair.is_some() && pairs.contains(&pair) {
                return Err(format!("client {pair:?} was joined with several backends"));
            }
            pairs.push(pair);
        }
        Ok(pairs)
    }

    pub(crate) fn judge(&mut self) {
        let pairs = match self.pairs() {
            Ok(pairs) => pairs,
            Err(wrong) => return self.wrong(wrong),
        };
        let mut wrongs = Vec::new();
        for (serving, pair) in self.servings.iter().zip(&pairs) {
            let (side, Some(client)) = (&serving.side, pair.map(|at| &self.clients[at])) else {
                let unknown = self.clients.iter().any(|client| client.plan.fate == Fate::Unknown);
                if !unknown && serving.side.saw_end && !serving.side.got.is_empty() {
                    wrongs.push(format!("line {}: it ended well for nobody", serving.side.peer.line));
                }
                continue;
            };
            let line = side.peer.line;
            match client.plan.fate {
                Fate::Pool(pool) if pool != serving.pool => {
                    wrongs.push(format!("line {line}: pool {} and not {pool}", serving.pool));
                }
                Fate::Refused => wrongs.push(format!("line {line}: it should have been refused")),
                Fate::Pool(_) | Fate::Unknown => {}
            }
            if side.saw_end && !(client.side.ended && side.got == client.expected(self.told[serving.pool])) {
                wrongs.push(format!("line {line}: an end that the client did not make"));
            }
            if client.side.saw_end && !(side.ended && client.side.got == serving.said) {
                wrongs.push(format!("line {line}: the client saw an end that this side did not make"));
            }
        }
        let mild = self.plot.mood != Mood::Rough;
        for (at, client) in self.clients.iter().enumerate() {
            let side = &client.side;
            let pair = pairs.iter().position(|pair| *pair == Some(at));
            if pair.is_none()
                && (side.saw_end || side.got.len() >= TELLING)
                && client.plan.fate != Fate::Unknown
            {
                wrongs.push(format!("client {at}: it was answered by nobody"));
            }
            let well = match (client.plan.fate, pair) {
                (Fate::Refused, None) => side.saw_reset,
                (Fate::Pool(_), Some(serving)) => side.saw_end && self.servings[serving].side.saw_end,
                (Fate::Unknown, _) => true,
                _ => false,
            };
            if mild && !well {
                wrongs.push(format!("client {at} fared badly: {:?}, {side:?}", client.plan.fate));
            }
        }
        self.wrongs.extend(wrongs);
    }
}
