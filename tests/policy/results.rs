//! All scenarios with all algorithms, run once for all tests.

use std::sync::LazyLock;
use std::time::Duration;

use crate::figures::Figures;
use crate::scenario::{ALGORITHMS, Judgement, Scenario, Trouble, WARM_AFTER};

/// One entry each algorithm, in the order of [`ALGORITHMS`].
pub(crate) struct Results {
    pub(crate) equal: Vec<Figures>,
    /// The same with more backends than least connections looks through.
    pub(crate) many: Vec<Figures>,
    pub(crate) half_speed: Vec<Figures>,
    pub(crate) stalls: Vec<Figures>,
    /// One fails: that is an answer like others, counts as a failure, takes it out.
    pub(crate) fails: [Vec<Figures>; 3],
    /// One returns: at once, and by a slow start.
    pub(crate) returns: [Vec<Figures>; 2],
}

pub(crate) static RESULTS: LazyLock<Results> = LazyLock::new(|| {
    let fails = |judgement| Scenario { judgement, ..Scenario::new(Trouble::FailsFast, 60, 12) };
    let returns = Scenario::new(Trouble::Returns, 60, 22);
    let slow_start = Duration::from_micros(WARM_AFTER);
    let scenarios = [
        Scenario::new(Trouble::None, 80, 22),
        Scenario { backends: 128, ..Scenario::new(Trouble::None, 80, 5) },
        Scenario::new(Trouble::HalfSpeed, 60, 30),
        Scenario::new(Trouble::Stalls, 60, 30),
        fails(Judgement::Answer),
        fails(Judgement::Failure),
        fails(Judgement::Breaker),
        returns.clone(),
        Scenario { slow_start, ..returns },
    ];
    let [equal, many, half_speed, stalls, answer, failure, breaker, at_once, slowly] =
        side_by_side(scenarios);
    Results { equal, many, half_speed, stalls, fails: [answer, failure, breaker], returns: [at_once, slowly] }
});

fn side_by_side<const N: usize>(scenarios: [Scenario; N]) -> [Vec<Figures>; N] {
    let all = |scenario: &Scenario| ALGORITHMS.iter().map(|(_, a)| Figures::of(scenario, a)).collect();
    std::thread::scope(|scope| {
        let threads = scenarios.map(|scenario| scope.spawn(move || all(&scenario)));
        threads.map(|thread| thread.join().expect("a run came to its end"))
    })
}

/// Where an algorithm stands.
pub(crate) fn place(name: &str) -> usize {
    ALGORITHMS.iter().position(|(other, _)| *other == name).expect("an algorithm of that name")
}
