//! Reads CPU time, memory and limits of processes from the kernel.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::clock;

/// The CPU time and memory used in a period.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) broker_cpu: Duration,
    pub(crate) load_cpu: Duration,
    pub(crate) wall: Duration,
}

/// Parameters a broker and this load generator, starting at a point in time.
#[derive(Debug)]
pub(crate) struct Meter {
    pid: u32,
    broker: CpuTime,
    load: CpuTime,
    started: Instant,
}

impl Meter {
    /// Starts measuring.
    pub(crate) fn start(pid: u32) -> Result<Self> {
        Ok(Self { pid, broker: cpu_time(pid)?, load: cpu_time(std::process::id())?, started: clock::now() })
    }

    /// The usage since the start.
    pub(crate) fn read(&self) -> Result<Usage> {
        Ok(Usage {
            broker_cpu: cpu_time(self.pid)?.since(&self.broker),
            load_cpu: cpu_time(std::process::id())?.since(&self.load),
            wall: clock::now() - self.started,
        })
    }
}

/// Parameters processes beside the broker, starting at a point in time.
#[derive(Debug)]
pub(crate) struct Beside(Vec<(&'static str, u32, CpuTime)>);

impl Beside {
    /// Starts measuring.
    pub(crate) fn start(processes: &[(&'static str, u32)]) -> Result<Self> {
        let start = |&(group, pid): &(&'static str, u32)| Ok((group, pid, cpu_time(pid)?));
        processes.iter().map(start).collect::<Result<_>>().map(Self)
    }

    /// The CPU time of each group since the start.
    pub(crate) fn read(&self) -> Result<BTreeMap<&'static str, Duration>> {
        let mut groups = BTreeMap::new();
        for (group, pid, started) in &self.0 {
            *groups.entry(*group).or_default() += cpu_time(*pid)?.since(started);
        }
        Ok(groups)
    }
}

/// Resident memory of a process in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) peak: u64,
}

/// Reads the resident memory and its peak.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let status = read(pid, "status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse().ok());
        kibibytes.map(|number: u64| number * 1_024).with_context(|| format!("/proc/{pid}/status has no {name}"))
    };
    Ok(Memory { resident: field("VmRSS:")?, peak: field("VmHWM:")? })
}

/// Resets the peak to the current resident memory. Returns whether the kernel permits it.
pub(crate) fn reset_peak(pid: u32) -> bool {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").is_ok()
}

/// The name of the program a process runs.
pub(crate) fn program(pid: u32) -> Result<String> {
    Ok(read(pid, "comm")?.trim().to_owned())
}

/// The model name of the processor.
pub(crate) fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(String::new, |(_, name)| name.trim().to_owned())
}

/// The kernel's release.
pub(crate) fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// The running child processes of a process's main thread.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let children = read(pid, &format!("task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Binds the calling thread, and the threads and processes it starts later, to one core.
pub(crate) fn pin_to_core(core: usize) -> Result<()> {
    if core >= CpuSet::MAX_CPU {
        bail!("there is no core {core}");
    }
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("cannot run on core {core}"))
}

/// Ensures that this process, and a broker it starts, may open `needed` files.
pub(crate) fn ensure_open_files(needed: usize) -> Result<()> {
    let needed = u64::try_from(needed)? + OPEN_FILES_SPARE;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|soft| soft >= needed) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(needed), maximum };
    if maximum.is_none_or(|hard| hard >= needed) && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    let hard = maximum.unwrap_or(u64::MAX);
    bail!(
        "the run needs {needed} open files and the limit is {hard}: run `ulimit -n {needed}` first, as root if necessary"
    );
}

/// Raises the soft limit of open files to the hard limit.
pub(crate) fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // A failure shows later, when the limit is reached.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// CPU time of all threads of a process.
#[derive(Debug, Clone, Copy)]
struct CpuTime {
    /// Sum of the living threads, in nanoseconds.
    running: Duration,
    threads: usize,
    /// Sum of all threads including ended ones, in clock ticks.
    whole: Duration,
}

impl CpuTime {
    /// The difference in nanoseconds, or in clock ticks if a thread started or ended in between.
    fn since(&self, earlier: &Self) -> Duration {
        if self.threads == earlier.threads && self.running >= earlier.running {
            return self.running - earlier.running;
        }
        self.whole.saturating_sub(earlier.whole)
    }
}

fn cpu_time(pid: u32) -> Result<CpuTime> {
    let mut running = Duration::ZERO;
    let mut threads = 0;
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).with_context(|| no_process(pid))?;
    for task in tasks {
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let nanoseconds = text.split_whitespace().next().and_then(|field| field.parse().ok());
        running += Duration::from_nanos(nanoseconds.unwrap_or(0));
        threads += 1;
    }
    let stat = read(pid, "stat")?;
    let ticks = parse_cpu_ticks(&stat).with_context(|| format!("cannot read /proc/{pid}/stat"))?;
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    let whole = Duration::from_micros(ticks.saturating_mul(1_000_000) / ticks_per_second.max(1));
    Ok(CpuTime { running, threads, whole })
}

/// utime + stime: the 14th and 15th field, counted from behind the program's name, which may contain any characters.
fn parse_cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn read(pid: u32, file: &str) -> Result<String> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).with_context(|| no_process(pid))
}

fn no_process(pid: u32) -> String {
    format!("there is no process {pid} to measure")
}

/// For the poll, pipes, and the broker's own files and listeners.
const OPEN_FILES_SPARE: u64 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_program_may_contain_spaces_and_brackets() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 100 0 0 0 12 30 0 0 20 0 1 0 5";
        assert_eq!(parse_cpu_ticks(stat), Some(42));
        assert_eq!(parse_cpu_ticks("7 (cut) S 1"), None);
    }

    #[test]
    fn own_cpu_time_grows_with_work() {
        let meter = Meter::start(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while clock::now() - meter.started < Duration::from_millis(30) {
            sum = std::hint::black_box(sum.wrapping_mul(3) + 1);
        }
        let usage = meter.read().unwrap();
        assert!(usage.load_cpu > Duration::from_millis(1), "{usage:?}");
        assert!(usage.wall >= Duration::from_millis(30));
    }

    #[test]
    fn the_difference_is_in_ticks_if_the_number_of_threads_changed() {
        let at = |running, threads, whole| CpuTime {
            running: Duration::from_millis(running),
            threads,
            whole: Duration::from_millis(whole),
        };
        assert_eq!(at(30, 2, 50).since(&at(10, 2, 10)), Duration::from_millis(20));
        assert_eq!(at(30, 1, 50).since(&at(10, 2, 10)), Duration::from_millis(40));
    }

    #[test]
    fn the_peak_is_at_least_the_resident_memory() {
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.resident > 0 && memory.peak >= memory.resident);
    }

    #[test]
    fn a_missing_process_is_an_error() {
        assert!(Meter::start(u32::MAX).is_err());
    }
}
