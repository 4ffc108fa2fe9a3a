//! Standard error, which nobody waits for: a thread of its own writes there, and may be as slow as whoever reads.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::limits;

/// What the thread is told.
enum Order {
    Write(Vec<u8>),
    /// Everything before this is written; say so.
    Flush(Sender<()>),
}

/// Takes whole lines, each by one write. Those that do not fit into the queue are lost, which is said when there is
/// room again.
#[derive(Debug)]
pub struct Lines {
    orders: Sender<Order>,
    lost: Arc<AtomicU64>,
}

impl Lines {
    /// Starts the thread `stderr`.
    pub fn start() -> io::Result<Self> {
        let (orders, received) = bounded(limits::LOG_LINES);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        let run = move || write_all(&received, &counted, &mut io::stderr());
        thread::Builder::new().name("stderr".into()).spawn(run)?;
        Ok(Self { orders, lost })
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.orders.try_send(Order::Write(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    /// Waits a moment until what was taken so far is written.
    fn flush(&mut self) -> io::Result<()> {
        let (done, written) = bounded(1);
        let told = self.orders.send_timeout(Order::Flush(done), limits::LOG_PATIENCE).is_ok();
        if told && written.recv_timeout(limits::LOG_PATIENCE).is_ok() {
            return Ok(());
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

fn write_all(orders: &Receiver<Order>, lost: &AtomicU64, out: &mut impl Write) {
    for order in orders {
        match order {
            // Where standard error is closed there is nobody to tell.
            Order::Write(line) => drop(out.write_all(&line)),
            Order::Flush(done) => drop(done.send(())),
        }
        let lost = lost.swap(0, Relaxed);
        if lost > 0 {
            let _ = writeln!(out, "{lost} lines of the log lost: standard error was not read");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_lost_and_said() {
        let (orders, received) = bounded(2);
        let mut lines = Lines { orders, lost: Arc::default() };
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            assert_eq!(lines.write(line.as_bytes()).expect("taken"), line.len());
        }
        let lost = Arc::clone(&lines.lost);
        drop(lines);
        let mut out = Vec::new();
        write_all(&received, &lost, &mut out);
        let said = "one\n2 lines of the log lost: standard error was not read\ntwo\n";
        assert_eq!(String::from_utf8_lossy(&out), said);
    }
}
