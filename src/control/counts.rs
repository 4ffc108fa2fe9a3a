//! What listeners have counted so far, and whose it is after a reload: it follows the name; where nothing had the name, a
//! listener that is still open goes on with what was counted at its address.

use std::sync::Arc;

use super::force::Slot;
use crate::config::{Config, Listener};
use crate::stats::traffic::Counted;

/// The counts before a reload.
pub(super) struct Counts<'c> {
    /// By the listener's number.
    known: Vec<Known>,
    next: &'c Config,
}

struct Known {
    traffic: Arc<Counted>,
    routes: Vec<Arc<Counted>>,
    open: bool,
}

impl<'c> Counts<'c> {
    /// Those of all slots, of which the listeners of `next` take theirs.
    pub(super) fn new(slots: &[Slot], next: &'c Config) -> Self {
        let known = |slot: &Slot| Known {
            traffic: Arc::clone(&slot.traffic),
            routes: slot.routes.clone(),
            open: slot.left.is_none(),
        };
        Self { known: slots.iter().map(known).collect(), next }
    }

    /// What a listener of that name counts on with, which has that number if it was there before; nothing if it is new.
    fn before(&self, name: &str, number: Option<usize>) -> Option<&Known> {
        let called = |known: &&Known| known.traffic.name() == name;
        let named = self.known.iter().filter(called);
        let own = || self.known.get(number?).filter(|own| own.open && !self.is_wanted(own.traffic.name()));
        named.max_by_key(|known| known.open).or_else(own)
    }

    /// Another listener takes the counts of that name along.
    fn is_wanted(&self, name: &str) -> bool {
        self.next.listeners.iter().any(|listener| listener.name == name)
    }

    /// What a listener counts on with, and its routes.
    pub(super) fn of(
        &self,
        listener: &Listener,
        name: &str,
        address: &str,
        number: Option<usize>,
        workers: usize,
    ) -> (Arc<Counted>, Vec<Arc<Counted>>) {
        let before = self.before(name, number);
        let mut traffic = before.map_or_else(
            || Counted::new(name.to_owned(), address.to_owned(), workers),
            |before| before.traffic.renamed(name.to_owned()).at(address.to_owned()),
        );
        if let Some(own) = number.and_then(|number| self.known.get(number)) {
            traffic = traffic.beside(&own.traffic);
        } else if before.is_some() {
            traffic = traffic.beside(&Counted::new(String::new(), String::new(), workers));
        }
        let known = before.map_or(&[][..], |before| &before.routes);
        (Arc::new(traffic), routes(listener, name, known, workers))
    }
}

/// The counts of a listener's routes; those of a route go on as long as its name does. Another listener may have one of
/// the same name.
fn routes(listener: &Listener, name: &str, known: &[Arc<Counted>], workers: usize) -> Vec<Arc<Counted>> {
    let counts = |route: &crate::config::Route| match known.iter().find(|known| known.name() == route.name) {
        Some(before) if before.listener() == name => Arc::clone(before),
        Some(before) => Arc::new(before.of(name)),
        None => Arc::new(Counted::new(route.name.clone(), String::new(), workers).of(name)),
    };
    listener.routes.all().iter().map(counts).collect()
}
