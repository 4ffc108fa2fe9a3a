//! Child processes: pinned, counted, and gone when this program is, however it ends.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Signal, getppid, getrlimit, kill_process_group, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::machine;

/// First argument with which this program starts itself to pin a child before it becomes another program.
pub(crate) const LAUNCH: &str = "launch";
/// A proxy that is told to end gets this long.
const GRACE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(10);

static STOPPED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on Ctrl-C and SIGTERM make [`interrupted`] true; a second one ends this program at once.
pub(crate) fn catch_signals() -> Result<(), String> {
    let flag = STOPPED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(flag)))
            .map_err(|e| format!("signal {signal}: {e}"))?;
    }
    Ok(())
}

/// An error once the user wants this program to end; every wait asks.
pub(crate) fn interrupted() -> Result<(), String> {
    match STOPPED.get() {
        Some(flag) if flag.load(Ordering::Relaxed) => Err("interrupted".into()),
        _ => Ok(()),
    }
}

/// One child and all that it starts: a process group of its own. Dropping it ends the group.
pub(crate) struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `argv` on one CPU, in `dir`, both outputs to `dir/NAME.log`.
    pub(crate) fn start(name: &str, cpu: usize, argv: &[OsString], dir: &Path) -> Result<Process, String> {
        let fail = |e: std::io::Error| format!("start {name}: {e}");
        let log = dir.join(format!("{name}.log"));
        let output = File::create(&log).map_err(fail)?;
        let child = Command::new(std::env::current_exe().map_err(fail)?)
            .args([LAUNCH, &cpu.to_string(), &std::process::id().to_string()])
            .args(argv)
            .current_dir(dir)
            .stdin(std::process::Stdio::null())
            .stdout(output.try_clone().map_err(fail)?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .map_err(fail)?;
        Ok(Process { child, name: name.into(), log })
    }

    /// Runs `argv` to its end and gives what it printed; its exit status does not matter.
    pub(crate) fn run(
        name: &str,
        cpu: usize,
        argv: &[OsString],
        dir: &Path,
        limit: Duration,
    ) -> Result<String, String> {
        let mut process = Process::start(name, cpu, argv, dir)?;
        let end = Instant::now() + limit;
        while process.ended()?.is_none() {
            if Instant::now() > end {
                return Err(format!("{name} did not end within {limit:?}"));
            }
            sleep(PAUSE);
        }
        Ok(process.printed())
    }

    /// What it has printed so far.
    pub(crate) fn printed(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Calls `ready` until it gives something; an error when the child ends first or 15 seconds have gone.
    pub(crate) fn wait_until<T>(
        &mut self,
        what: &str,
        mut ready: impl FnMut(&Process) -> Option<T>,
    ) -> Result<T, String> {
        let end = Instant::now() + Duration::from_secs(15);
        loop {
            if let Some(status) = self.ended()? {
                return Err(format!("{} ended ({status}):\n{}", self.name, self.printed()));
            }
            if let Some(value) = ready(self) {
                return Ok(value);
            }
            if Instant::now() > end {
                return Err(format!("{}: {what} failed:\n{}", self.name, self.printed()));
            }
            sleep(PAUSE);
        }
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, String> {
        interrupted()?;
        self.child.try_wait().map_err(|e| format!("{}: {e}", self.name))
    }

    /// Process ids of the child and its descendants.
    pub(crate) fn tree(&self) -> Vec<u32> {
        let mut found = vec![self.child.id()];
        let mut next = 0;
        while next < found.len() {
            for thread in tasks(found[next]) {
                let children = fs::read_to_string(thread.join("children")).unwrap_or_default();
                found.extend(children.split_whitespace().filter_map(|p| p.parse::<u32>().ok()));
            }
            next += 1;
        }
        found
    }

    /// CPU time used so far by every thread of the tree.
    pub(crate) fn cpu_time(&self) -> Result<Duration, String> {
        let mut nanos = 0;
        for thread in self.tree().into_iter().flat_map(tasks) {
            let line = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
            nanos += line.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
        match nanos {
            0 => Err(format!("no CPU time of {} in /proc/PID/task/*/schedstat", self.name)),
            nanos => Ok(Duration::from_nanos(nanos)),
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It fails when the group is empty, which is what is wanted.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.signal(Signal::TERM);
        }
        let end = Instant::now() + GRACE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            sleep(PAUSE);
        }
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

fn tasks(pid: u32) -> Vec<PathBuf> {
    let Ok(dir) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    dir.flatten().map(|t| t.path()).collect()
}

/// The child's side of [`Process::start`]: `CPU PARENT PROGRAM ARGS...`. Returns only an error.
pub(crate) fn launch(args: &[OsString]) -> String {
    let [cpu, parent, program, rest @ ..] = args else { return "launch: too few arguments".into() };
    let number = |s: &OsString| s.to_str().and_then(|s| s.parse::<usize>().ok());
    let (Some(cpu), Some(parent)) = (number(cpu), number(parent)) else { return "launch: no number".into() };
    if let Err(e) = machine::pin(cpu) {
        return format!("pin to CPU {cpu}: {e}");
    }
    // TERM, not KILL: nginx's master then takes its workers along.
    if let Err(e) = rustix::process::set_parent_process_death_signal(Some(Signal::TERM)) {
        return format!("parent death signal: {e}");
    }
    if getppid().map(|p| p.as_raw_nonzero().get() as usize) != Some(parent) {
        return "the bench has ended".into();
    }
    // 512 clients need as many upstream connections again; a desktop's soft limit is 1,024 descriptors.
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    if let Err(e) = setrlimit(Resource::Nofile, files) {
        return format!("raise the limit of open files: {e}");
    }
    let error = Command::new(program).args(rest).exec();
    format!("{}: {error}", program.to_string_lossy())
}
