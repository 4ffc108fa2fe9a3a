//! The end of a drain that has lasted too long.

use std::mem;

use super::connection::Phase;
use super::expiry::has_line;
use super::pump::Pump;
use crate::exchange::Cause;
use crate::transport::Net;

impl<N: Net> Pump<N> {
    /// Closes every connection. What was still going on has ended for a cause, with its line in the access log.
    pub fn cut(&mut self) {
        let (mut scratch, cause) = (mem::take(&mut self.scratch), Cause::DrainCut);
        for key in self.downstreams.keys().collect::<Vec<_>>() {
            let Some(down) = self.downstreams.get(key) else { continue };
            let begun = down.input.as_ref().is_some_and(|input| has_line(input.filled()));
            match down.phase {
                Phase::Flight => self.fail(&mut scratch, key, cause),
                Phase::Opening if down.input.is_some() => self.refuse_tunnel(key, cause),
                Phase::Head if begun && down.output.is_none() => {
                    self.note_unread(key);
                    self.count_failure(key, cause);
                    self.log_failure(key, cause, format_args!("cut off"));
                    self.close_downstream(key)
                }
                _ => self.close_downstream(key),
            };
        }
        self.scratch = scratch;
    }
}
