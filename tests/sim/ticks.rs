//! A worker's ticks, as its loop would make them.

use std::cell::RefCell;
use std::rc::Rc;

use evenkeel::limits;
use evenkeel::transport::Newcomer;
use evenkeel::worker::{Pump, Token};

use crate::near::{SimNet, Stream};
use crate::net::Wires;
use crate::world::millis;

/// Turns without a byte moved after which a busy pump is stuck in a circle.
const LIVELOCK: u32 = 200;

/// What is kept from one tick to the next.
#[derive(Debug, Default)]
pub(crate) struct Ticks {
    pruned: u64,
    idle: u32,
}

impl Ticks {
    /// One tick; true when it did something or has more to do.
    pub(crate) fn tick(
        &mut self,
        pump: &mut Pump<SimNet>,
        wires: &RefCell<Wires>,
        passed: &Rc<RefCell<Vec<Newcomer<Stream>>>>,
    ) -> bool {
        let (events, now, before) = {
            let mut wires = wires.borrow_mut();
            (wires.events(), wires.now, wires.moves)
        };
        pump.set_now(now * 1_000);
        pump.refresh();
        for (token, ready) in events {
            pump.event(Token::unpack(token), ready);
        }
        pump.run_queue();
        for newcomer in passed.take() {
            pump.adopt(newcomer);
        }
        pump.expire();
        if now >= self.pruned + millis(limits::PRUNE_INTERVAL) {
            self.pruned = now;
            pump.prune_idle();
        }
        let busy = pump.has_work();
        let moved = wires.borrow().moves != before;
        self.idle = if busy && !moved { self.idle + 1 } else { 0 };
        busy || moved
    }

    /// The pump is busy and gets nowhere.
    pub(crate) fn is_circle(&self) -> bool {
        self.idle > LIVELOCK
    }

    /// When unused upstreams are looked at again.
    pub(crate) fn next_prune(&self) -> u64 {
        self.pruned + millis(limits::PRUNE_INTERVAL)
    }
}
