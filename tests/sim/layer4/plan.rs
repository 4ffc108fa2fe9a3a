//! What a client means to do with a connection, and what should become of it.

use std::net::{IpAddr, Ipv4Addr};

use evenkeel::config::ProxyProtocol;
use evenkeel::proto::proxy::Ends;

use super::opening::{self, Opening};
use super::side::Reading;
use crate::ledger::Mood;
use crate::peer::{Act, Wait};
use crate::rng::{self, Rng};

/// The network whose headers of the PROXY protocol are taken.
pub(crate) const TRUSTED: &str = "192.0.2.0/24";
/// Names that routes lead, exactly and by wildcard; the pool of each is its place, behind the default one.
pub(crate) const ROUTED: [&str; 2] = ["a.sim", "*.sim"];

/// The listener, as far as clients must know it.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) proxy: Option<ProxyProtocol>,
    pub(crate) routed: bool,
    /// What no route means is served.
    pub(crate) default: bool,
}

/// What should become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is served by that pool.
    Pool(usize),
    /// It is reset, and no backend hears of it.
    Refused,
    /// Its first bytes are anything, but mean the same in any pieces.
    Unknown,
}

/// One connection.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) born: u64,
    pub(crate) address: IpAddr,
    pub(crate) acts: Vec<Act>,
    pub(crate) reading: Reading,
    /// All that a backend is to get.
    pub(crate) said: Vec<u8>,
    /// The ends that its header names, where that is believed.
    pub(crate) named: Option<Ends>,
    pub(crate) fate: Fate,
}

/// Draws plans.
pub(crate) struct Planner<'a> {
    pub(crate) rng: &'a mut Rng,
    pub(crate) mood: Mood,
    pub(crate) gate: &'a Gate,
    /// Longest stream of bytes.
    pub(crate) most: usize,
}

impl Planner<'_> {
    /// The plan of that client.
    pub(crate) fn client(&mut self, number: usize) -> Plan {
        let trusted = self.rng.chance(60);
        let net = if trusted { [192, 0, 2] } else { [198, 51, 100] };
        let last = self.rng.between(1, 4) as u8;
        let address = IpAddr::V4(Ipv4Addr::new(net[0], net[1], net[2], last));
        let Opening { mut header, named, rest, fate, stalls } =
            opening::draw(self.rng, self.gate, trusted, self.mood == Mood::Rough);
        let mut said = [rest, self.payload(number as u64 * 2)].concat();
        let mut fate = fate;
        if fate != Fate::Refused && self.mood == Mood::Timeless && self.rng.chance(70) {
            let joint = header.len();
            let mut all = [header, said].concat();
            let most = all.len().min(joint + 60);
            for _ in 0..self.rng.between(1, 3) {
                let at = self.rng.below(most as u64) as usize;
                all[at] = self.rng.pick(&[0, b' ', b'\r', b'\n', 0xff, b'1', 22, 3]);
            }
            (header, said, fate) = (Vec::new(), all, Fate::Unknown);
        }
        let mut acts = Vec::new();
        if !header.is_empty() {
            acts.push(Act::Send(header));
        }
        if stalls {
            acts.push(Act::Await(Wait::Forever));
            let reading = Reading::Eager;
            return Plan { born: self.born(), address, acts, reading, said: Vec::new(), named, fate };
        }
        let waits = self.rng.chance(20);
        acts.extend(self.script(&said, waits));
        Plan { born: self.born(), address, acts, reading: self.reading(), said, named, fate }
    }

    fn born(&mut self) -> u64 {
        if self.mood.is_timeless() { 0 } else { self.rng.below(600) }
    }

    /// What a backend does with a connection, and all that it says.
    pub(crate) fn server(&mut self, line: usize) -> (Vec<Act>, Reading, Vec<u8>) {
        let said = self.payload(line as u64 * 2 + 1);
        let waits = self.rough(20);
        (self.script(&said, waits), self.reading(), said)
    }

    /// Bytes that are this stream's alone; the first of them begins no header and no hello.
    fn payload(&mut self, stream: u64) -> Vec<u8> {
        let mut bytes = rng::bytes(stream, 8 + self.rng.length(self.most));
        bytes[0] = b'-';
        bytes
    }

    fn rough(&mut self, percent: u64) -> bool {
        self.mood == Mood::Rough && self.rng.chance(percent)
    }

    fn reading(&mut self) -> Reading {
        match self.rng.below(4) {
            0 if !self.mood.is_timeless() => {
                let most = if self.mood == Mood::Rough { 100 } else { 2_000 };
                Reading::Slow(most + self.rng.below(20_000) as usize, self.rng.between(1, 20))
            }
            1 if self.rough(30) => Reading::Never,
            _ => Reading::Eager,
        }
    }

    /// Says all that, and ends; if it waits, only when the other side has ended.
    fn script(&mut self, said: &[u8], waits: bool) -> Vec<Act> {
        let mut acts = Vec::new();
        let mut rest = said;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(self.rng.between(1, rest.len() as u64) as usize);
            acts.push(Act::Send(piece.to_vec()));
            rest = behind;
            if !self.mood.is_timeless() && self.rng.chance(30) {
                acts.push(Act::Pause(self.rng.below(300)));
            }
            if self.rough(4) {
                acts.push(Act::Reset);
            }
            if self.rough(3) {
                acts.push(Act::Await(Wait::Forever));
            }
        }
        if waits {
            acts.push(Act::Await(Wait::End));
        }
        if self.rough(15) {
            acts.push(if self.rng.chance(50) { Act::Close } else { Act::Reset });
        }
        acts.extend([Act::Fin, Act::Await(Wait::End), Act::Close]);
        acts
    }
}
