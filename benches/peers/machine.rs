//! The machine: which CPUs are ours, what else ran on them, and what it is called in the table.

use std::fs;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The two CPUs of a run and the machine's name.
pub(crate) struct Machine {
    /// First CPU this process may use: the proxy's alone.
    pub(crate) proxy_cpu: usize,
    /// Last one: wrk, the origin and this program share it.
    pub(crate) load_cpu: usize,
    /// CPU model, number of CPUs and kernel, for the head of the table.
    pub(crate) name: String,
}

impl Machine {
    /// Looks at the machine and moves this process to the load CPU.
    pub(crate) fn take() -> Result<Machine, String> {
        let allowed = sched_getaffinity(None).map_err(|e| format!("sched_getaffinity: {e}"))?;
        let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&c| allowed.is_set(c)).collect();
        let (Some(&proxy_cpu), Some(&load_cpu)) = (cpus.first(), cpus.last()) else {
            return Err("no CPU in the affinity mask".into());
        };
        pin(load_cpu).map_err(|e| format!("pin to CPU {load_cpu}: {e}"))?;
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ")).map(|m| m.1);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let name = format!("{}, {} CPUs, Linux {}", model.unwrap_or("CPU"), cpus.len(), kernel.trim());
        Ok(Machine { proxy_cpu, load_cpu, name })
    }

    /// Reads the kernel's account of the proxy's CPU and of time stolen by the hypervisor.
    pub(crate) fn account(&self) -> Account {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let fields = |name: &str| -> Vec<u64> {
            let line = stat.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_default().split_whitespace().filter_map(|v| v.parse().ok()).collect()
        };
        let all = fields("cpu");
        let own = fields(&format!("cpu{}", self.proxy_cpu));
        Account {
            // user, nice, system: interrupts are left out, since no process is charged for them everywhere.
            work: own.iter().take(3).sum(),
            own: own.iter().take(8).sum(),
            stolen: all.get(7).copied().unwrap_or(0),
            all: all.iter().take(8).sum(),
        }
    }
}

/// Counters of /proc/stat at one moment, in clock ticks.
#[derive(Clone, Copy)]
pub(crate) struct Account {
    work: u64,
    own: u64,
    stolen: u64,
    all: u64,
}

impl Account {
    /// Share of the time since `earlier` that the hypervisor gave to others.
    pub(crate) fn stolen_since(&self, earlier: &Account) -> f64 {
        (self.stolen - earlier.stolen) as f64 / (self.all - earlier.all).max(1) as f64
    }

    /// Share of the proxy's CPU since `earlier` that processes used, the proxy among them.
    pub(crate) fn worked_since(&self, earlier: &Account) -> f64 {
        (self.work - earlier.work) as f64 / (self.own - earlier.own).max(1) as f64
    }
}

/// Pins the calling thread to one CPU.
pub(crate) fn pin(cpu: usize) -> rustix::io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set)
}
