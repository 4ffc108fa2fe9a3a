//! The thread that writes the lines down.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use crossbeam_channel::{Receiver, Sender, TryRecvError, after, bounded, never, select};

use super::pen::{Made, Pen, Place};
use super::queue::{Ends, Order, Queue, Shared, queue};
use crate::config::AccessLog;
use crate::limits;

/// A running thread that has not been told to end: it does when every queue to it is gone.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Queue,
    reopen: Arc<AtomicBool>,
    pub(super) ending: Ending,
    /// The file, if it was not there before.
    made: Option<Made>,
}

/// What has a thread open its file again: the flag says so, the order wakes it.
pub(super) type Target = (Arc<AtomicBool>, Sender<Order>);

/// How others learn that a thread has written its last line.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    /// Where it writes.
    place: Place,
    /// Is disconnected then.
    ended: Receiver<()>,
}

/// Opens the file and starts the thread `access-log`. What it writes comes behind what those of `before` still have to
/// write to the same place.
pub(super) fn start(log: &AccessLog, shared: &Shared, before: Vec<Ending>) -> io::Result<Writer> {
    let (mut pen, made) = Pen::new(log.path.as_deref())?;
    let (queue, ends) = queue(log.format, shared);
    let reopen = Arc::clone(&ends.reopen);
    let (end, ended) = bounded(0);
    let ending = Ending { place: pen.place(), ended };
    let before = before.into_iter().filter(|other| other.place.is(&ending.place)).collect();
    let run = move || {
        // Held until the thread is through, whichever way.
        let _end: Sender<()> = end;
        write_all(&ends, &mut pen, before);
    };
    if let Err(error) = thread::Builder::new().name("access-log".into()).spawn(run) {
        made.into_iter().for_each(Made::remove);
        return Err(error);
    }
    Ok(Writer { queue, reopen, ending, made })
}

impl Writer {
    /// A worker's end of the queue.
    pub(super) fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// Bytes of lines that are not written yet.
    pub(super) fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    pub(super) fn target(&self) -> Target {
        (Arc::clone(&self.reopen), self.queue.orders().clone())
    }

    /// Nobody has a queue to it, and nobody will.
    pub(super) fn forget(self) {
        self.made.into_iter().for_each(Made::remove);
    }

    /// Waits a moment until what was passed on so far is written.
    pub(super) fn finish(&self) -> bool {
        let (done, finished) = bounded(1);
        let told = self.queue.orders().send_timeout(Order::Finish(done), limits::LOG_PATIENCE).is_ok();
        told && finished.recv_timeout(limits::LOG_PATIENCE).is_ok()
    }
}

impl Ending {
    pub(super) fn is_over(&self) -> bool {
        self.ended.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Waits for it, or for a word from `limit`; true when it has come.
    pub(super) fn await_until<T>(&self, limit: &Receiver<T>) -> bool {
        select! {
            recv(self.ended) -> _ => true,
            recv(limit) -> _ => false,
        }
    }
}

fn write_all(ends: &Ends, pen: &mut Pen, mut before: Vec<Ending>) {
    while let Ok(order) = ends.orders.recv() {
        let mut reopen = |before: &mut Vec<Ending>| {
            if ends.reopen.swap(false, Relaxed) {
                pen.reopen();
                before.retain(|other| other.place.is(&pen.place()));
            }
        };
        reopen(&mut before);
        while matches!(order, Order::Write(_))
            && let Some(other) = before.first()
        {
            if other.await_until(&after(limits::LOG_RETRY)) {
                before.remove(0);
            }
            reopen(&mut before);
        }
        let finish = match order {
            Order::Write(batch) => write(ends, pen, batch),
            Order::Look => None,
            Order::Finish(done) => Some(done),
        };
        if let Some(done) = finish {
            ends.losses.say();
            let _ = done.send(());
        }
    }
}

/// Writes a batch, and what comes meanwhile where it has to wait; what to say then, if that was asked for.
fn write(ends: &Ends, pen: &mut Pen, mut batch: Vec<u8>) -> Option<Sender<()>> {
    let (mut written, mut finish, mut waits) = (0, None, false);
    let mut patience = None;
    while let Err(error) = pen.write(&batch, &mut written) {
        let hurries = finish.is_some() || ends.hurry.try_recv() == Err(TryRecvError::Disconnected);
        // The log that has followed it may wait for its end, and more may follow.
        let late = patience.as_ref().is_some_and(|over: &Receiver<_>| over.try_recv().is_ok());
        if hurries || late || !may_pass(&error) {
            let lost = memchr::memchr_iter(b'\n', &batch[written..]).count();
            ends.losses.refused(lost as u64, &error);
            break;
        }
        if !waits {
            log::warn!("access log: lines wait and are tried again: {error}");
        }
        waits = true;
        ends.losses.blame(&error);
        match gather(ends, &mut batch) {
            Gathered::All => {}
            Gathered::Finish(done) => finish = Some(done),
            Gathered::Left => patience = patience.or_else(|| Some(after(limits::LOG_PATIENCE))),
        }
        if ends.reopen.swap(false, Relaxed) {
            pen.reopen();
        }
    }
    if waits && written == batch.len() {
        log::info!("access log: the lines that waited are written");
        ends.losses.forgive();
    }
    ends.waiting.fetch_sub(batch.len(), Relaxed);
    give(ends, batch);
    finish
}

/// A full disk gets room again, and a file that is too large is replaced.
fn may_pass(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// What came while lines wait.
enum Gathered {
    /// What there was.
    All,
    /// All that will be asked for.
    Finish(Sender<()>),
    /// All that will ever come.
    Left,
}

/// Takes up what comes until it is time for another try.
fn gather(ends: &Ends, batch: &mut Vec<u8>) -> Gathered {
    let (again, none) = (after(limits::LOG_RETRY), never());
    let (mut orders, mut gathered) = (&ends.orders, Gathered::All);
    loop {
        select! {
            recv(orders) -> order => match order {
                Ok(Order::Write(more)) => {
                    batch.extend_from_slice(&more);
                    give(ends, more);
                }
                Ok(Order::Look) => return gathered,
                Ok(Order::Finish(done)) => return Gathered::Finish(done),
                Err(_) => (orders, gathered) = (&none, Gathered::Left),
            },
            recv(ends.hurry) -> _ => return gathered,
            recv(again) -> _ => return gathered,
        }
    }
}

/// With more buffers about than there is use for, this one is let go of, and so is one that has grown.
fn give(ends: &Ends, mut bytes: Vec<u8>) {
    if bytes.capacity() <= limits::LOG_BUFFER {
        bytes.clear();
        let _ = ends.returns.try_send(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::log::Log;
    use super::*;
    use crate::config::LogFormat;

    fn started(wanted: &AccessLog) -> Log {
        let mut log = Log::none();
        let next = log.prepare(Some(wanted)).expect("it can be opened").expect("it is new");
        log.follow(next);
        log
    }

    fn lines(n: u32) -> Vec<u8> {
        (0..n).flat_map(|i| format!("line {i}\n").into_bytes()).collect()
    }

    /// `/dev/full` takes nothing, as a full disk does.
    #[test]
    fn what_cannot_be_written_is_counted_and_the_buffer_comes_back() {
        let full = AccessLog { path: Some(PathBuf::from("/dev/full")), format: LogFormat::Text };
        let null = AccessLog { path: Some(PathBuf::from("/dev/null")), format: LogFormat::Text };
        let mut log = started(&full);
        let queue = log.queue().expect("a queue");
        queue.pass(lines(3), 3).expect("room");
        queue.pass(lines(4), 4).expect("room");
        let next = log.prepare(Some(&null)).expect("/dev/null").expect("another one");
        log.follow(next);
        drop(queue);
        let (queue, losses) = (log.queue().expect("the next queue"), log.losses());
        drop(log);
        assert_eq!(losses.lines(), 7);
        let returned: Vec<_> = std::iter::from_fn(|| queue.returned()).collect();
        assert_eq!(returned.len(), 2);
        assert!(returned.iter().all(|bytes| bytes.is_empty() && bytes.capacity() > 0));
    }

    #[test]
    fn what_waits_for_room_on_a_disk_is_no_loss_and_keeps_the_queue_free() {
        let (queue, ends) = queue(LogFormat::Text, &Shared::new());
        let (hurry, patience) = (bounded::<()>(0), limits::LOG_BATCHES as u32 + 9);
        let ends = Ends { hurry: hurry.1, ..ends };
        let losses = Arc::clone(&ends.losses);
        let path = std::env::temp_dir().join(format!("evenkeel-room-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        std::os::unix::fs::symlink("/dev/full", &path).expect("a link");
        let mut pen = Pen::new(Some(&path)).expect("/dev/full").0;
        let reopen = Arc::clone(&ends.reopen);
        let writer = thread::spawn(move || write_all(&ends, &mut pen, Vec::new()));
        for _ in 0..patience {
            let began = std::time::Instant::now();
            while queue.orders().is_full() {
                assert!(began.elapsed() < std::time::Duration::from_secs(20), "nobody takes it");
                thread::yield_now();
            }
            queue.pass(lines(1), 1).expect("room");
        }
        std::fs::remove_file(&path).expect("removed");
        reopen.store(true, Relaxed);
        queue.orders().send(Order::Look).expect("taken");
        drop(queue);
        writer.join().expect("no panic");
        let text = std::fs::read_to_string(&path).expect("the file");
        assert_eq!((text, losses.lines()), ("line 0\n".repeat(patience as usize), 0));
        let _ = std::fs::remove_file(path);
        drop(hurry.0);
    }

    /// Else each reload would leave a thread and 4 MiB behind, and the next log would wait for room with it.
    #[test]
    fn a_log_that_another_followed_gives_a_full_disk_up_soon() {
        let path = std::env::temp_dir().join(format!("evenkeel-left-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        std::os::unix::fs::symlink("/dev/full", &path).expect("a link");
        let of = |format| AccessLog { path: Some(path.clone()), format };
        let mut log = started(&of(LogFormat::Text));
        let (losses, reopen) = (log.losses(), log.reopen());
        for format in [LogFormat::Json, LogFormat::Text, LogFormat::Json] {
            log.queue().expect("a queue").pass(lines(2), 2).expect("room");
            let next = log.prepare(Some(&of(format))).expect("a file").expect("another one");
            log.follow(next);
        }
        let eventually = |what: &dyn Fn() -> bool| {
            let began = std::time::Instant::now();
            while !what() {
                assert!(began.elapsed() < std::time::Duration::from_secs(20), "not in time");
                thread::yield_now();
            }
        };
        eventually(&|| losses.lines() == 6);
        log.queue().expect("a queue").pass(lines(1), 1).expect("room");
        std::fs::remove_file(&path).expect("removed");
        reopen.ask();
        eventually(&|| std::fs::read_to_string(&path).is_ok_and(|text| text == "line 0\n"));
        assert_eq!(losses.lines(), 6);
        let _ = std::fs::remove_file(path);
    }

    #[test]
    fn a_full_queue_gives_the_lines_back_and_counts_them() {
        let (queue, ends) = queue(LogFormat::Text, &Shared::new());
        for _ in 0..limits::LOG_BATCHES {
            queue.pass(lines(1), 1).expect("room");
        }
        assert_eq!(queue.pass(lines(5), 5), Err(lines(5)));
        assert_eq!(queue.pass(lines(2), 2), Err(lines(2)));
        drop(ends);
    }

    /// Escapes make a line of a hostile head many times as long: what waits is bounded all the same.
    #[test]
    fn long_batches_fill_the_queue_sooner() {
        let (queue, ends) = queue(LogFormat::Text, &Shared::new());
        let batch = vec![b'x'; limits::LOG_BYTES / 4];
        (0..4).for_each(|_| queue.pass(batch.clone(), 1).expect("room"));
        assert!(queue.pass(batch.clone(), 1).is_err());
        let Ok(Order::Write(first)) = ends.orders.try_recv() else { panic!("a batch") };
        assert!(
            write(&ends, &mut Pen::new(Some("/dev/null".as_ref())).expect("/dev/null").0, first).is_none()
        );
        queue.pass(batch.clone(), 1).expect("room again");
        assert!(queue.pass(batch, 1).is_err());
    }

    /// A thread that is stuck looks at none of them.
    #[test]
    fn a_file_that_is_asked_for_again_and_again_keeps_no_line_out() {
        let path = std::env::temp_dir().join(format!("evenkeel-storm-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
        let mut log = started(&AccessLog { path: Some(path.clone()), format: LogFormat::Text });
        let queue = log.queue().expect("a queue");
        // More than a pipe holds.
        queue.pass(vec![b'x'; 1024 * 1024], 1).expect("room");
        let began = std::time::Instant::now();
        while !queue.orders().is_empty() {
            assert!(began.elapsed() < std::time::Duration::from_secs(20), "nobody takes it");
            thread::yield_now();
        }
        (0..2 * limits::LOG_BATCHES).for_each(|_| log.reopen().ask());
        queue.pass(lines(1), 1).expect("room");
        let next = log.prepare(None).expect("none").expect("another one");
        log.follow(next);
        let _ = std::fs::remove_file(path);
    }

    /// Whether it is asked for before or after its first line.
    #[test]
    fn a_new_file_waits_for_none_that_is_stuck_with_the_old_one() {
        let path = std::env::temp_dir().join(format!("evenkeel-stuck-{}", std::process::id()));
        for first in [true, false] {
            let _ = std::fs::remove_file(&path);
            assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
            let of = |format| AccessLog { path: Some(path.clone()), format };
            let mut log = started(&of(LogFormat::Text));
            log.queue().expect("a queue").pass(vec![b'x'; 1024 * 1024], 1).expect("room");
            let next = log.prepare(Some(&of(LogFormat::Json))).expect("a pipe").expect("another one");
            log.follow(next);
            let queue = log.queue().expect("a queue");
            let began = std::time::Instant::now();
            let soon = |what: &dyn Fn() -> bool| {
                while !what() {
                    assert!(began.elapsed() < std::time::Duration::from_secs(20), "not in time");
                    thread::yield_now();
                }
            };
            if !first {
                queue.pass(lines(1), 1).expect("room");
                soon(&|| queue.orders().is_empty());
            }
            std::fs::remove_file(&path).expect("removed");
            log.reopen().ask();
            soon(&|| path.exists());
            if first {
                queue.pass(lines(1), 1).expect("room");
            }
            soon(&|| std::fs::read_to_string(&path).is_ok_and(|text| text == "line 0\n"));
        }
        let _ = std::fs::remove_file(path);
    }

    /// Both write to one file: what the first was given stands before what the second was, however late.
    #[test]
    fn the_next_one_waits_for_the_last_line_of_the_one_before() {
        let path = std::env::temp_dir().join(format!("evenkeel-next-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let of = |format| AccessLog { path: Some(path.clone()), format };
        let mut log = started(&of(LogFormat::Text));
        let first = log.queue().expect("a queue");
        let next = log.prepare(Some(&of(LogFormat::Json))).expect("a file").expect("another one");
        log.follow(next);
        let second = log.queue().expect("a queue");
        assert!(!first.is(&second));
        second.pass(b"second\n".to_vec(), 1).expect("room");
        let began = std::time::Instant::now();
        while !second.orders().is_empty() {
            assert!(began.elapsed() < std::time::Duration::from_secs(20), "nobody takes it");
            thread::yield_now();
        }
        first.pass(b"first\n".to_vec(), 1).expect("room");
        drop(first);
        drop(log);
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), "first\nsecond\n");
        let _ = std::fs::remove_file(path);
    }
}
