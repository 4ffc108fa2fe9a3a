//! How many may be served at once. When all seats are taken, whoever has kept one waiting longest, for a request or with
//! an answer that it does not read, gives it up: a slow client holds up nobody.

use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// All seats.
#[derive(Debug)]
pub(super) struct Seats {
    most: usize,
    taken: Mutex<Vec<Taken>>,
}

#[derive(Debug)]
struct Taken {
    id: u64,
    stream: TcpStream,
    /// Since when its client has been waited for.
    waits: Option<Instant>,
}

/// One connection's seat, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    id: u64,
}

impl Seats {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Taken>> {
        // A panic ends the process, so nobody ever sees a poisoned lock.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for this stream, whose number is not in use; `None` when all answers are being made.
    pub(super) fn take(self: &Arc<Self>, id: u64, stream: &TcpStream, now: Instant) -> Option<Seat> {
        let stream = stream.try_clone().ok()?;
        let mut taken = self.taken();
        if taken.len() >= self.most {
            let waits = taken.iter().enumerate().filter_map(|(i, seat)| Some((seat.waits?, i)));
            let (_, longest) = waits.min()?;
            end(&taken.swap_remove(longest).stream);
        }
        taken.push(Taken { id, stream, waits: Some(now) });
        Some(Seat { seats: Arc::clone(self), id })
    }

    /// Ends every connection.
    pub(super) fn clear(&self) {
        self.taken().drain(..).for_each(|seat| end(&seat.stream));
    }
}

/// Wakes the thread that reads from it.
fn end(stream: &TcpStream) {
    // It fails only when the peer has gone, which wakes the thread too.
    let _ = stream.shutdown(Shutdown::Both);
}

impl Seat {
    /// Says since when the client keeps it waiting; `None`: its answer is being made.
    pub(super) fn waits(&self, since: Option<Instant>) {
        if let Some(seat) = self.seats.taken().iter_mut().find(|seat| seat.id == self.id) {
            seat.waits = since;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken().retain(|seat| seat.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;
    use std::time::Duration;

    #[test]
    fn whoever_waits_longest_makes_room_and_nobody_who_is_served() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pairs: Vec<_> = (0..4)
            .map(|_| {
                (TcpStream::connect(listener.local_addr().unwrap()).unwrap(), listener.accept().unwrap().0)
            })
            .collect();
        let (seats, start) = (Seats::new(2), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let first = seats.take(0, &pairs[0].1, at(0)).unwrap();
        let second = seats.take(1, &pairs[1].1, at(1)).unwrap();
        first.waits(None);
        let third = seats.take(2, &pairs[2].1, at(2)).expect("the second makes room");
        assert_eq!((&pairs[1].0).read(&mut [0]).unwrap(), 0);
        third.waits(None);
        assert!(seats.take(3, &pairs[3].1, at(3)).is_none());
        drop(second);
        assert!(seats.take(3, &pairs[3].1, at(3)).is_none(), "its seat was given away");
        drop(first);
        assert!(seats.take(3, &pairs[3].1, at(3)).is_some());
        seats.clear();
        assert_eq!((&pairs[2].0).read(&mut [0]).unwrap(), 0);
    }
}
