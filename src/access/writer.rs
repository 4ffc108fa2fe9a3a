//! The thread that writes the lines down.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::queue::{Batch, Ends, Order, Queue, Returned, queue};
use crate::config::AccessLog;
use crate::limits;

/// The running thread; dropping it waits a moment until what was passed on so far is written.
#[derive(Debug)]
pub struct Writer {
    queue: Queue,
    reopen: Reopen,
}

/// Has the file opened again, under the name that it was asked for by.
#[derive(Clone, Debug)]
pub struct Reopen {
    wanted: Arc<AtomicBool>,
    orders: Sender<Order>,
}

/// Opens the file and starts the thread `access-log`, and another that says what was lost.
pub fn start(log: &AccessLog) -> io::Result<Writer> {
    let out = match &log.path {
        Some(path) => open(path)?,
        None => File::from(io::stdout().as_fd().try_clone_to_owned()?),
    };
    let (queue, ends) = queue(log.format);
    let reopen = Reopen { wanted: Arc::clone(&ends.reopen), orders: queue.orders().clone() };
    let mut pen = Pen { out, path: log.path.clone(), broken: false };
    let (losses, rings) = (Arc::clone(&ends.losses), ends.rings.clone());
    let tell = move || {
        while rings.recv().is_ok() {
            losses.say();
            thread::sleep(limits::LOG_WARNING);
        }
    };
    thread::Builder::new().name("access-losses".into()).spawn(tell)?;
    let run = move || write_all(&ends, &mut pen);
    thread::Builder::new().name("access-log".into()).spawn(run)?;
    Ok(Writer { queue, reopen })
}

impl Writer {
    /// A worker's end of the queue.
    pub fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// What has the file opened again.
    pub fn reopen(&self) -> Reopen {
        self.reopen.clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let (done, finished) = bounded(1);
        let told = self.queue.orders().send_timeout(Order::Finish(done), limits::LOG_PATIENCE).is_ok();
        if !told || finished.recv_timeout(limits::LOG_PATIENCE).is_err() {
            log::warn!("access log: its last lines could not be written in time");
        }
    }
}

impl Reopen {
    /// Asks for it; the next line goes to the new file.
    pub fn ask(&self) {
        self.wanted.store(true, Relaxed);
        // With the queue full the thread is awake, and looks before it writes.
        let _ = self.orders.try_send(Order::Look);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn write_all(ends: &Ends, pen: &mut Pen) {
    while let Ok(order) = ends.orders.recv() {
        if ends.reopen.swap(false, Relaxed) {
            pen.reopen();
        }
        match order {
            Order::Write(batch) => {
                let lost = pen.write(&batch).unwrap_or_else(|(lost, error)| {
                    ends.losses.refused(lost, &error);
                    lost
                });
                let mut bytes = batch.bytes;
                bytes.clear();
                // With more buffers about than there is use for, this one is let go of.
                let _ = ends.returns.try_send(Returned { bytes, lost });
            }
            Order::Look => {}
            Order::Finish(done) => {
                ends.losses.say();
                let _ = done.send(());
            }
        }
    }
}

/// A file and what stands at its end.
struct Pen {
    out: File,
    path: Option<PathBuf>,
    /// The last write ended within a line.
    broken: bool,
}

impl Pen {
    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match open(path) {
            Ok(file) => {
                (self.out, self.broken) = (file, false);
                log::info!("access log: {} opened again", path.display());
            }
            Err(error) => {
                log::error!(
                    "access log: {} cannot be opened again, the old file stays: {error}",
                    path.display()
                );
            }
        }
    }

    /// Lines lost: 0, or with an error those of which not all was written.
    fn write(&mut self, batch: &Batch) -> Result<u64, (u64, io::Error)> {
        if self.broken {
            self.put(b"\n").map_err(|(_, error)| (batch.lines, error))?;
            self.broken = false;
        }
        self.put(&batch.bytes).map_err(|(written, error)| {
            let (whole, rest) = batch.bytes.split_at(written);
            self.broken = whole.last().is_some_and(|&byte| byte != b'\n');
            (memchr::memchr_iter(b'\n', rest).count() as u64, error)
        })?;
        Ok(0)
    }

    /// Writes all of it, or says how much was written before the error.
    fn put(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while written < bytes.len() {
            match self.out.write(&bytes[written..]) {
                Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Standard output that somebody else has made so.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogFormat;

    fn lines(n: u32) -> Vec<u8> {
        (0..n).flat_map(|i| format!("line {i}\n").into_bytes()).collect()
    }

    /// `/dev/full` takes nothing, as a full disk does.
    #[test]
    fn what_cannot_be_written_is_counted_and_the_buffer_comes_back() {
        let path = PathBuf::from("/dev/full");
        let log = AccessLog { path: Some(path), format: LogFormat::Text };
        let writer = start(&log).expect("/dev/full");
        let queue = writer.queue();
        queue.pass(lines(3), 3).expect("room");
        queue.pass(lines(4), 4).expect("room");
        drop(writer);
        let returned: Vec<Returned> = std::iter::from_fn(|| queue.returned()).collect();
        assert_eq!(returned.iter().map(|returned| returned.lost).collect::<Vec<_>>(), [3, 4]);
        assert!(returned.iter().all(|returned| returned.bytes.is_empty() && returned.bytes.capacity() > 0));
    }

    #[test]
    fn a_line_that_broke_off_does_not_take_the_next_one_with_it() {
        let (mut pen, path) = pen("broken");
        assert_eq!(pen.write(&Batch { bytes: b"half".to_vec(), lines: 1 }).expect("written"), 0);
        pen.broken = true;
        assert_eq!(pen.write(&Batch { bytes: lines(1), lines: 1 }).expect("written"), 0);
        assert_eq!(pen.write(&Batch { bytes: lines(1), lines: 1 }).expect("written"), 0);
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), "half\nline 0\nline 0\n");
        let _ = std::fs::remove_file(path);
    }

    fn pen(name: &str) -> (Pen, PathBuf) {
        let path = std::env::temp_dir().join(format!("evenkeel-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        (Pen { out: open(&path).expect("a file"), path: Some(path.clone()), broken: false }, path)
    }

    #[test]
    fn a_full_queue_gives_the_lines_back_and_counts_them() {
        let (queue, ends) = queue(LogFormat::Text);
        for _ in 0..limits::LOG_BATCHES {
            queue.pass(lines(1), 1).expect("room");
        }
        assert_eq!(queue.pass(lines(5), 5), Err(lines(5)));
        assert_eq!(queue.pass(lines(2), 2), Err(lines(2)));
        drop(ends);
    }
}
