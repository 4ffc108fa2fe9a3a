//! What went wrong, and what may have gone wrong because somebody was killed meanwhile.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::plan::Plan;

/// Wrongs that are kept word for word.
const KEPT: usize = 20;

#[derive(Default)]
pub(crate) struct Ledger {
    wrongs: Mutex<Vec<String>>,
    counts: Mutex<BTreeMap<String, u64>>,
    /// Backends' deaths: from when to when connections were being cut.
    kills: Mutex<Vec<(Instant, Option<Instant>)>>,
    /// Numbers of requests that came on a connection after its end.
    late: Mutex<HashSet<u64>>,
    /// Numbers of POSTs that a backend has read whole.
    posts: Mutex<HashSet<u64>>,
    over: AtomicBool,
}

impl Ledger {
    pub(crate) fn wrong(&self, what: String) {
        let mut wrongs = self.wrongs.lock().unwrap();
        if wrongs.len() < KEPT {
            wrongs.push(what);
        }
        self.count("WRONG");
    }

    pub(crate) fn wrongs(&self) -> Vec<String> {
        self.wrongs.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, what: &str) {
        *self.counts.lock().unwrap().entry(what.to_string()).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.lock().unwrap().clone()
    }

    pub(crate) fn end(&self) {
        self.over.store(true, SeqCst);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// Runs what cuts a backend's connections.
    pub(crate) fn kill(&self, cut: impl FnOnce()) {
        self.kills.lock().unwrap().push((Instant::now(), None));
        cut();
        if let Some(last) = self.kills.lock().unwrap().last_mut() {
            last.1 = Some(Instant::now());
        }
        self.count("kills");
    }

    /// A backend has read this request whole: a POST may never come again.
    pub(crate) fn delivered(&self, plan: &Plan, whole: bool) {
        if !whole {
            self.wrong(format!("request {} reached the backend with another body", plan.number));
        }
        if plan.body.is_some() && !self.posts.lock().unwrap().insert(plan.number) {
            self.wrong(format!("POST {} was delivered twice", plan.number));
        }
    }

    /// This request came on a connection after the backend had ended it.
    pub(crate) fn came_late(&self, number: u64) {
        self.late.lock().unwrap().insert(number);
        self.count("met an idle close");
    }

    /// Whether a backend's connections were cut since then.
    pub(crate) fn killed_since(&self, then: Instant) -> bool {
        self.kills.lock().unwrap().iter().any(|(_, to)| to.is_none_or(|to| to >= then))
    }

    /// Whether a request that began then may have failed by now.
    pub(crate) fn excuses(&self, plan: &Plan, began: Instant) -> bool {
        if plan.fault.excuses() {
            return true;
        }
        if self.killed_since(began) {
            return true;
        }
        // The backend's thread may not have come to read it yet.
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline {
            // Only what may not be sent twice has to fail then.
            if plan.body.is_some() && self.late.lock().unwrap().contains(&plan.number) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }
}
