//! Whose turn it is where threads want the same core.

use std::io;

use rustix::process::{getpriority_process, setpriority_process};

/// Each step makes a thread's share of a contended core about a fifth smaller, ten of them a tenth of what it was.
const STEPS: i32 = 10;
/// There is no lower one.
const LOWEST: i32 = 19;

/// Lets other threads of this process go before the calling one and those that it starts.
pub fn lower() -> io::Result<()> {
    // On Linux this is the thread's own, not the process's.
    let lower = (getpriority_process(None)? + STEPS).min(LOWEST);
    Ok(setpriority_process(None, lower)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_calling_thread_and_those_it_starts_make_way() {
        let before = getpriority_process(None).unwrap();
        let started = std::thread::spawn(|| {
            lower().unwrap();
            std::thread::spawn(|| getpriority_process(None).unwrap()).join().unwrap()
        });
        assert_eq!(started.join().unwrap(), (before + STEPS).min(LOWEST));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
