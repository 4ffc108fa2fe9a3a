//! What this process takes of the machine, as the kernel sees it.

use std::fs;

use rustix::param::clock_ticks_per_second;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Seconds of processor time that all threads have used so far.
pub fn cpu_seconds() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

/// Seconds since the machine began, its sleep included.
pub fn since_boot() -> f64 {
    let since = clock_gettime(ClockId::Boottime);
    since.tv_sec as f64 + since.tv_nsec as f64 / 1e9
}

/// The kernel's number of the thread that asks.
pub fn thread() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
}

/// Seconds of processor time that a thread of this process has used so far; `None` where /proc does not say, or it has
/// ended.
pub fn thread_seconds(thread: u32) -> Option<f64> {
    let read = |file| fs::read_to_string(format!("/proc/self/task/{thread}/{file}"));
    read("schedstat")
        .ok()
        .and_then(|text| on_processor(&text))
        // Kernels without that know it in hundredths.
        .or_else(|| ticks(&read("stat").ok()?).map(|ticks| ticks as f64 / clock_ticks_per_second() as f64))
}

/// Seconds on a processor, of `schedstat`.
fn on_processor(text: &str) -> Option<f64> {
    let nanoseconds: u64 = text.split_whitespace().next()?.parse().ok()?;
    (nanoseconds > 0).then_some(nanoseconds as f64 / 1e9)
}

/// Ticks in user space and in the kernel, of `stat` (proc_pid_stat(5)).
fn ticks(text: &str) -> Option<u64> {
    // The name before them may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    next()?.checked_add(next()?)
}

/// Bytes in memory and bytes of address space; `None` where /proc does not say.
pub fn memory() -> Option<(u64, u64)> {
    sizes(&fs::read_to_string("/proc/self/status").ok()?)
}

fn sizes(status: &str) -> Option<(u64, u64)> {
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    Some((bytes("VmRSS")?, bytes("VmSize")?))
}

/// Descriptors open now; `None` where /proc does not say.
pub fn open_descriptors() -> Option<u64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    // The one that the list is read from is no more.
    Some(count.saturating_sub(1))
}

/// Descriptors that may be open; `None`: any number.
pub fn most_descriptors() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_from_what_the_kernel_writes() {
        let status = "Name:\tevenkeel\nVmPeak:\t  200 kB\nVmSize:\t  150 kB\nVmRSS:\t   12 kB\nThreads:\t3\n";
        assert_eq!(sizes(status), Some((12 * 1024, 150 * 1024)));
        assert_eq!(sizes("VmSize:\t1 kB\nVmRSS:\tmuch\n"), None);
        assert_eq!(sizes(""), None);
    }

    #[test]
    fn the_time_of_a_thread_is_its_own() {
        assert_eq!(on_processor("1500000000 22 7\n"), Some(1.5));
        assert_eq!((on_processor("0 0 0\n"), on_processor("")), (None, None));
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 100 0 0 0 12 30 0 0 20 0 5 0 100 1 1";
        assert_eq!((ticks(stat), ticks("7 (a) S 1"), ticks("")), (Some(42), None, None));
        let own = || thread_seconds(thread()).expect("/proc");
        let before = own();
        let idle = std::thread::spawn(|| thread_seconds(thread()).expect("/proc"));
        let mut sum = 0_u64;
        while own() < before + 0.05 {
            sum = sum.wrapping_mul(31).wrapping_add(1);
        }
        assert!(idle.join().expect("no panic") < 0.05, "{sum}");
        assert_eq!(thread_seconds(u32::MAX), None);
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let before = cpu_seconds();
        let (resident, all) = memory().expect("/proc");
        assert!(resident > 100_000 && all >= resident);
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/proc/self/status").expect("open")).collect();
        assert!(open_descriptors().expect("/proc") >= files.len() as u64);
        assert!(cpu_seconds() >= before && before > 0.0);
    }
}
