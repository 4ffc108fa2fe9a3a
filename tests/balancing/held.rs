//! Backends that show who is with them: how many at once, in which order, and until when.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::support::{Backend, Reply, Request, SOON, eventually};

#[derive(Default)]
struct Inside {
    now: usize,
    most: usize,
    /// How many more may go before they are held again.
    permits: usize,
    open: bool,
    /// Targets in the order in which they came.
    came: Vec<String>,
}

#[derive(Default)]
struct Door {
    inside: Mutex<Inside>,
    moved: Condvar,
}

impl Door {
    fn pass(&self, target: &str) {
        let mut inside = self.inside.lock().unwrap();
        inside.now += 1;
        inside.most = inside.most.max(inside.now);
        inside.came.push(target.to_owned());
        let shut = |inside: &mut Inside| inside.permits == 0 && !inside.open;
        inside = self.moved.wait_timeout_while(inside, SOON, shut).unwrap().0;
        inside.permits = inside.permits.saturating_sub(1);
        inside.now -= 1;
    }
}

/// Health checks are not held.
pub(super) const HEALTH: &str = "/health";

/// A backend that holds each request until it is let go.
pub(super) struct Held {
    pub(super) backend: Backend,
    door: Arc<Door>,
}

impl Held {
    /// Answers with its name.
    pub(super) fn named(name: &'static str) -> Self {
        Self::start(move |_, reply| reply.ok(name))
    }

    /// Answers with what this script does, when the request is let go.
    pub(super) fn start(
        script: impl Fn(&Request, &mut Reply<'_>) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let door: Arc<Door> = Arc::default();
        let own = Arc::clone(&door);
        let backend = Backend::start(move |request, reply| {
            if request.target != HEALTH {
                own.pass(&request.target);
            }
            script(request, reply)
        });
        Self { backend, door }
    }

    /// Requests that are with it now.
    pub(super) fn now(&self) -> usize {
        self.door.inside.lock().unwrap().now
    }

    /// The most requests that were ever with it at once.
    pub(super) fn most(&self) -> usize {
        self.door.inside.lock().unwrap().most
    }

    /// The targets of all requests so far, in the order in which they came.
    pub(super) fn came(&self) -> Vec<String> {
        self.door.inside.lock().unwrap().came.clone()
    }

    /// Waits until so many are with it.
    #[track_caller]
    pub(super) fn await_now(&self, count: usize) {
        eventually(SOON, &format!("{count} requests are with the backend"), || self.now() == count);
    }

    /// Lets so many go.
    pub(super) fn let_go(&self, count: usize) {
        self.door.inside.lock().unwrap().permits += count;
        self.door.moved.notify_all();
    }

    /// Holds nobody any more.
    pub(super) fn open(&self) {
        self.door.inside.lock().unwrap().open = true;
        self.door.moved.notify_all();
    }

    /// Holds all who come from now on, as at first.
    pub(super) fn shut(&self) {
        let mut inside = self.door.inside.lock().unwrap();
        (inside.open, inside.permits) = (false, 0);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.open();
    }
}

/// A backend that takes so long for each answer, and how many requests were with it at once at most.
pub(super) fn slow(name: &'static str, answer_after: Duration) -> Held {
    let door: Arc<Door> = Arc::default();
    let own = Arc::clone(&door);
    let backend = Backend::start(move |request, reply| {
        {
            let mut inside = own.inside.lock().unwrap();
            inside.now += 1;
            inside.most = inside.most.max(inside.now);
            inside.came.push(request.target.clone());
        }
        std::thread::sleep(answer_after);
        own.inside.lock().unwrap().now -= 1;
        reply.ok(name)
    });
    Held { backend, door }
}
