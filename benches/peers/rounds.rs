//! The rounds: every proxy once a round, in an order that turns, so that drift of the machine hits all alike.

use std::path::PathBuf;
use std::time::Duration;

use crate::latency::{self, Latencies};
use crate::load::Scenario;
use crate::machine::Machine;
use crate::origin::Origin;
use crate::peers::Peer;

/// Everything that stays the same over a run.
pub(crate) struct Rounds {
    pub(crate) machine: Machine,
    pub(crate) origin: Origin,
    pub(crate) wrk: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) rounds: usize,
    /// Length of a measured window; a second of warm-up comes before it.
    pub(crate) secs: u64,
}

/// One proxy in one round.
pub(crate) struct Sample {
    pub(crate) rate: f64,
    /// CPU time of the proxy's process tree for each request, in microseconds.
    pub(crate) cpu_us: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) errors: u64,
    /// Upstream connections opened for 1,000 requests: proof that the proxy reuses them.
    pub(crate) dials: f64,
}

/// What a scenario gave: for each proxy one sample a round, and what disturbed it.
pub(crate) struct Outcome<S> {
    pub(crate) samples: Vec<Vec<S>>,
    pub(crate) warnings: Vec<String>,
}

impl Rounds {
    /// Runs one scenario against every proxy in every round.
    pub(crate) fn throughput(&self, peers: &[Peer], scenario: &Scenario) -> Result<Outcome<Sample>, String> {
        self.turns(peers, scenario.name, |peer, warnings| self.sample(peer, scenario, warnings))
    }

    /// Runs the open loop at `rate` requests a second against every proxy in every round.
    pub(crate) fn latency(&self, peers: &[Peer], rate: u32) -> Result<Outcome<Latencies>, String> {
        self.turns(peers, "open loop", |peer, _| {
            let running = peer.start(&self.machine, &self.origin, &self.dir)?;
            latency::measure(running.port, rate, Duration::from_secs(1))?;
            latency::measure(running.port, rate, Duration::from_secs(self.secs))
        })
    }

    fn turns<S>(
        &self,
        peers: &[Peer],
        what: &str,
        mut sample: impl FnMut(&Peer, &mut Vec<String>) -> Result<S, String>,
    ) -> Result<Outcome<S>, String> {
        let mut samples: Vec<Vec<S>> = peers.iter().map(|_| Vec::new()).collect();
        let mut warnings = Vec::new();
        for round in 0..self.rounds {
            eprintln!("{what}: round {} of {}", round + 1, self.rounds);
            for place in 0..peers.len() {
                let index = (place + round) % peers.len();
                let before = self.machine.account();
                samples[index].push(sample(&peers[index], &mut warnings)?);
                let stolen = self.machine.account().stolen_since(&before);
                if stolen > 0.01 {
                    let name = peers[index].name;
                    warnings.push(format!(
                        "round {}: {:.1} % of the time was stolen from {name}",
                        round + 1,
                        stolen * 100.0
                    ));
                }
            }
        }
        Ok(Outcome { samples, warnings })
    }

    fn sample(&self, peer: &Peer, scenario: &Scenario, warnings: &mut Vec<String>) -> Result<Sample, String> {
        let running = peer.start(&self.machine, &self.origin, &self.dir)?;
        let drive = |secs| scenario.drive(&self.wrk, self.machine.load_cpu, running.port, secs, &self.dir);
        drive(1)?;
        let (served, account, cpu) = (self.origin.served()?, self.machine.account(), running.cpu_time()?);
        let report = drive(self.secs)?;
        let cpu = running.cpu_time()? - cpu;
        running.check()?;
        let worked = self.machine.account().worked_since(&account);
        let used = cpu.as_secs_f64() / report.seconds;
        // wrk's start and end belong to the window of the account but not to wrk's seconds.
        if worked > used + 0.05 {
            let others = (worked - used) * 100.0;
            warnings.push(format!(
                "{others:.0} % of CPU {} went to others during {}",
                self.machine.proxy_cpu, peer.name
            ));
        }
        let now = self.origin.served()?;
        let requests = (now.requests - served.requests).max(1);
        // Asking for the counters is a connection too.
        let accepts = (now.accepts - served.accepts).saturating_sub(1);
        Ok(Sample {
            rate: report.requests as f64 / report.seconds,
            cpu_us: cpu.as_secs_f64() * 1e6 / report.requests as f64,
            p50_ms: report.p50_ms,
            p99_ms: report.p99_ms,
            errors: report.errors,
            dials: accepts as f64 * 1000.0 / requests as f64,
        })
    }
}
