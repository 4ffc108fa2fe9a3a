//! A timer that the poll waits for like for a socket.
//!
//! A time-out given to the poll itself is armed and cancelled in the kernel around every sleep, which a worker
//! at low load pays twice a request; an alarm is set anew only when it is to ring earlier, or has rung.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// Rings once at a time.
#[derive(Debug)]
pub struct Alarm {
    timer: OwnedFd,
}

impl Alarm {
    /// One that is not set.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self { timer: timerfd_create(TimerfdClockId::Monotonic, flags)? })
    }

    /// Has it ring in `wait`, and not at the time it was set to before.
    pub fn set(&self, wait: Duration) -> io::Result<()> {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        // A wait of nothing would unset it.
        let wait = wait.max(Duration::from_nanos(1));
        let value = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        timerfd_settime(
            &self.timer,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: never, it_value: value },
        )?;
        Ok(())
    }

    /// What a poll knows it by.
    pub fn descriptor(&self) -> RawFd {
        self.timer.as_raw_fd()
    }
}
