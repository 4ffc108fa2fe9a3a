//! The tables: medians over the rounds, ratios with their spread, and a plain word for every case.

use crate::latency::Latencies;
use crate::load::Scenario;
use crate::peers::{Kind, Peer};
use crate::rounds::{Outcome, Sample};

/// Outside of this the same program differs from itself: the run does not count.
const CONTROL: std::ops::RangeInclusive<f64> = 0.97..=1.03;

/// A figure and the range it had over the rounds.
#[derive(Clone, Copy)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

#[derive(Clone, Copy)]
enum Better {
    Lower,
    Higher,
}

impl Spread {
    fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) =
            (values.first().copied().unwrap_or(f64::NAN), values.last().copied().unwrap_or(f64::NAN));
        let high = values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
        let low = values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN);
        Spread { median: (low + high) / 2.0, min, max }
    }

    /// Ratios of one figure, round by round.
    fn ratio<S>(of: &[S], to: &[S], figure: fn(&S) -> f64) -> Spread {
        Spread::of(of.iter().zip(to).map(|(a, b)| figure(a) / figure(b)))
    }

    /// Strict on the project's own side: a win must hold in every round, a loss only at the median.
    fn verdict(self, better: Better) -> &'static str {
        let (wins, loses) = match better {
            Better::Lower => (self.max < 1.0, self.median > 1.0),
            Better::Higher => (self.min > 1.0, self.median < 1.0),
        };
        match (wins, loses) {
            (true, _) => "wins",
            (_, true) => "**LOST**",
            _ if self.median.is_nan() => "**LOST**",
            _ => "even",
        }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ({:.2}–{:.2})", self.median, self.min, self.max)
    }
}

/// Rows for the table at the end: each scenario's comparisons.
#[derive(Default)]
pub(crate) struct Summary {
    rows: Vec<String>,
    lost: Vec<String>,
    unsound: Vec<String>,
}

fn cpu(sample: &Sample) -> f64 {
    sample.cpu_us
}

fn rate(sample: &Sample) -> f64 {
    sample.rate
}

fn position(peers: &[Peer], kind: Kind) -> Option<usize> {
    peers.iter().position(|p| p.kind == kind)
}

/// The second evenkeel.
fn control(peers: &[Peer]) -> Option<usize> {
    let first = position(peers, Kind::Evenkeel)?;
    peers.iter().skip(first + 1).position(|p| p.kind == Kind::Evenkeel).map(|after| first + 1 + after)
}

fn rivals(peers: &[Peer]) -> Vec<usize> {
    let mut found = Vec::new();
    found.extend(position(peers, Kind::Nginx));
    found.extend(position(peers, Kind::Haproxy));
    found
}

fn line<I: IntoIterator<Item = String>>(cells: I) {
    println!("| {} |", cells.into_iter().collect::<Vec<_>>().join(" | "));
}

fn head(cells: Vec<String>) {
    let count = cells.len();
    line(cells);
    println!("|---|{}", "---:|".repeat(count - 1));
}

impl Summary {
    /// Prints a scenario's table and keeps its comparisons.
    pub(crate) fn scenario(&mut self, scenario: &Scenario, peers: &[Peer], outcome: &Outcome<Sample>) {
        let rivals = rivals(peers);
        println!("\n### {}: {}\n", scenario.name, scenario.about);
        let mut titles = vec!["proxy".to_string(), "req/s".into(), "CPU µs/request".into()];
        titles.extend(rivals.iter().map(|&r| format!("CPU to {} (min–max)", peers[r].name)));
        titles.extend(["p50 ms", "p99 ms", "errors", "dials/1000"].map(String::from));
        head(titles);
        for (peer, samples) in peers.iter().zip(&outcome.samples) {
            let median = |figure: fn(&Sample) -> f64| Spread::of(samples.iter().map(figure)).median;
            let errors: u64 = samples.iter().map(|s| s.errors).sum();
            let mut cells =
                vec![peer.name.into(), format!("{:.0}", median(rate)), format!("{:.2}", median(cpu))];
            cells
                .extend(rivals.iter().map(|&r| Spread::ratio(samples, &outcome.samples[r], cpu).to_string()));
            cells.extend([format!("{:.2}", median(|s| s.p50_ms)), format!("{:.2}", median(|s| s.p99_ms))]);
            cells.push(if errors > 0 { format!("**{errors}**") } else { "0".into() });
            cells.push(format!("{:.1}", median(|s| s.dials)));
            line(cells);
        }
        for warning in &outcome.warnings {
            println!("\nWarning: {warning}.");
        }
        self.compare(scenario.name, peers, &rivals, &outcome.samples);
    }

    fn compare(&mut self, name: &str, peers: &[Peer], rivals: &[usize], samples: &[Vec<Sample>]) {
        let Some(ours) = position(peers, Kind::Evenkeel) else { return };
        let mut cells = vec![name.to_string()];
        for &rival in rivals {
            for (what, figure, better) in
                [("CPU", cpu as fn(&Sample) -> f64, Better::Lower), ("req/s", rate, Better::Higher)]
            {
                let ratio = Spread::ratio(&samples[ours], &samples[rival], figure);
                let verdict = ratio.verdict(better);
                cells.push(format!("{ratio} {verdict}"));
                if verdict.contains("LOST") {
                    self.lost.push(format!("{name}, {what} to {}: {ratio}", peers[rival].name));
                }
            }
        }
        let errors: u64 = samples[ours].iter().map(|s| s.errors).sum();
        if errors > 0 {
            self.lost.push(format!("{name}: {errors} errors"));
        }
        cells.push(errors.to_string());
        cells.push(control(peers).map_or("none".into(), |again| {
            let ratio = Spread::ratio(&samples[again], &samples[ours], cpu);
            if !CONTROL.contains(&ratio.median) {
                println!(
                    "\nWarning: the control is {:.3}: outside 0.97–1.03, these figures do not count.",
                    ratio.median
                );
                self.unsound.push(name.into());
            }
            format!("{:.3}", ratio.median)
        }));
        self.rows.push(format!("| {} |", cells.join(" | ")));
    }

    /// Prints evenkeel against each peer over all scenarios, and what it lost.
    pub(crate) fn print(&self, peers: &[Peer]) {
        if self.rows.is_empty() {
            return;
        }
        println!("\n### Evenkeel against its peers\n");
        let mut titles = vec!["scenario".to_string()];
        for rival in rivals(peers) {
            titles.extend(["CPU", "req/s"].map(|what| format!("{what} to {}", peers[rival].name)));
        }
        titles.extend(["errors".into(), "control".into()]);
        head(titles);
        self.rows.iter().for_each(|row| println!("{row}"));
        println!("\nLost: {}.", join(&self.lost));
        println!("Do not count (control outside 0.97–1.03): {}.", join(&self.unsound));
    }
}

fn join(items: &[String]) -> String {
    if items.is_empty() { "none".into() } else { items.join("; ") }
}

/// Prints the open loop's table.
pub(crate) fn latency(peers: &[Peer], outcome: &Outcome<Latencies>, rate: u32) {
    type Figure = (&'static str, fn(&Latencies) -> f64);
    let figures: [Figure; 4] =
        [("p50", |l| l.p50), ("p99", |l| l.p99), ("p99.9", |l| l.p999), ("max", |l| l.max)];
    println!("\n### open loop: {rate} requests/s, 128 B answers, 64 connections, microseconds\n");
    let mut titles = vec!["proxy".to_string()];
    titles.extend(figures.iter().map(|(name, _)| format!("{name} (min–max)")));
    titles.push("errors".into());
    head(titles);
    for (peer, samples) in peers.iter().zip(&outcome.samples) {
        let mut cells = vec![peer.name.to_string()];
        cells.extend(figures.iter().map(|(_, figure)| {
            let spread = Spread::of(samples.iter().map(figure));
            format!("{:.0} ({:.0}–{:.0})", spread.median, spread.min, spread.max)
        }));
        cells.push(samples.iter().map(|s| s.errors).sum::<u64>().to_string());
        line(cells);
    }
    let mut lost = Vec::new();
    if let Some(ours) = position(peers, Kind::Evenkeel) {
        for rival in rivals(peers) {
            for (name, figure) in figures {
                let ratio = Spread::ratio(&outcome.samples[ours], &outcome.samples[rival], figure);
                if ratio.verdict(Better::Lower).contains("LOST") {
                    lost.push(format!("{name} to {}: {ratio}", peers[rival].name));
                }
            }
        }
        println!("\nLost: {}.", join(&lost));
        if let Some(again) = control(peers) {
            let ratios = figures.map(|(name, figure)| {
                format!("{name} {}", Spread::ratio(&outcome.samples[again], &outcome.samples[ours], figure))
            });
            println!("\nControl, evenkeel again to evenkeel: {}.", ratios.join("; "));
        }
    }
    for warning in &outcome.warnings {
        println!("\nWarning: {warning}.");
    }
}
