//! What listeners have counted so far, and whose it is after a reload: it follows the name; where nothing had the name, a
//! listener that is still open goes on with what was counted at its address.

use std::sync::Arc;

use super::force::Slot;
use crate::config::{Config, Listener, Route};
use crate::stats::traffic::Counted;

/// The counts before a reload.
pub(super) struct Counts<'c> {
    /// By the listener's number.
    known: Vec<Known>,
    /// What listeners of `next` count on with.
    taken: Vec<Arc<Counted>>,
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
        Self { known: slots.iter().map(known).collect(), taken: Vec::new(), next }
    }

    /// What a listener of that name counts on with, which has that number if it was there before; nothing if it is new.
    fn before(&self, name: &str, number: Option<usize>) -> Option<&Known> {
        let named = self.known.iter().filter(|known| known.traffic.name() == name && self.is_free(known));
        let own = || self.known.get(number?).filter(|own| own.open && !self.is_wanted(own.traffic.name()));
        named.max_by_key(|known| known.open).or_else(own)
    }

    /// Nobody else counts on with them. What is closed may have passed its counts on, which another may call its own by now.
    fn is_free(&self, known: &Known) -> bool {
        let passed_on = |other: &Known| other.open && other.traffic.shares(&known.traffic);
        (known.open || !self.known.iter().any(passed_on))
            && !self.taken.iter().any(|taken| taken.shares(&known.traffic))
    }

    /// Another listener takes the counts of that name along.
    fn is_wanted(&self, name: &str) -> bool {
        self.next.listeners.iter().any(|listener| listener.name == name)
    }

    /// What a listener counts on with, and its routes.
    pub(super) fn of(
        &mut self,
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
        let routes = routes(listener, name, before, workers);
        let traffic = Arc::new(traffic);
        self.taken.push(Arc::clone(&traffic));
        (traffic, routes)
    }
}

/// The counts of a listener's routes; those of a route go on as long as its name does, or its place where it has none of
/// its own. Another listener may have one of the same name.
fn routes(listener: &Listener, name: &str, before: Option<&Known>, workers: usize) -> Vec<Arc<Counted>> {
    let known = before.map_or(&[][..], |before| &before.routes);
    let place = |of: &str, i: usize| format!("{of}/{}", i + 1);
    let counts = |(i, route): (usize, &Route)| {
        let nameless = before.filter(|_| route.name == place(&listener.name, i));
        let was = nameless.map(|before| place(before.traffic.name(), i));
        let called = |known: &&Arc<Counted>| known.name() == was.as_deref().unwrap_or(&route.name);
        match known.iter().find(called) {
            Some(before) if before.listener() == name && before.name() == route.name => Arc::clone(before),
            Some(before) => Arc::new(before.renamed(route.name.clone()).of(name)),
            None => Arc::new(Counted::new(route.name.clone(), String::new(), workers).of(name)),
        }
    };
    listener.routes.all().iter().enumerate().map(counts).collect()
}
