//! Pipes that no exchange uses, for the next one that does.

use crate::limits;
use crate::transport::Pipe;

/// The one used last on top.
#[derive(Debug, Default)]
pub(super) struct Spares {
    pipes: Vec<Pipe>,
    /// The fewest that there were since then: so many were not needed.
    least: usize,
    /// In milliseconds.
    since: u64,
}

impl Spares {
    pub(super) fn take(&mut self) -> Option<Pipe> {
        let pipe = self.pipes.pop();
        self.least = self.least.min(self.pipes.len());
        pipe
    }

    /// Takes an empty one back; it is closed where there are enough.
    pub(super) fn give(&mut self, pipe: Pipe) {
        if self.pipes.len() < limits::SPARE_PIPES {
            self.pipes.push(pipe);
        }
    }

    /// There are more than are kept when nobody needs them.
    pub(super) fn are_many(&self) -> bool {
        self.pipes.len() > limits::SPARE_PIPES_LEAST
    }

    /// Closes those that were not needed for a time, but for a few.
    pub(super) fn prune(&mut self, now: u64) {
        if now - self.since < limits::SPARE_PIPES_TIME.as_millis() as u64 {
            return;
        }
        let unneeded = self.least.saturating_sub(limits::SPARE_PIPES_LEAST);
        self.pipes.drain(..unneeded);
        (self.least, self.since) = (self.pipes.len(), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_were_not_needed_for_a_time_are_closed_but_for_a_few() {
        let time = limits::SPARE_PIPES_TIME.as_millis() as u64;
        let mut spares = Spares::default();
        (0..20).for_each(|_| spares.give(Pipe::new().expect("a pipe")));
        spares.prune(time);
        assert_eq!(spares.pipes.len(), 20, "they have not been there for long");
        let used: Vec<_> = (0..6).map_while(|_| spares.take()).collect();
        used.into_iter().for_each(|pipe| spares.give(pipe));
        spares.prune(2 * time - 1);
        assert_eq!(spares.pipes.len(), 20, "it is not over");
        spares.prune(2 * time);
        assert_eq!(spares.pipes.len(), 6 + limits::SPARE_PIPES_LEAST, "six were needed");
        spares.prune(3 * time);
        assert_eq!((spares.pipes.len(), spares.are_many()), (limits::SPARE_PIPES_LEAST, false));
    }
}
