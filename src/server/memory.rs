//! The budget of `limits.memory_max`: measures the resident memory of the process, and decides how short it is.
//!
//! An allocator may keep memory that the broker has freed, in pieces between others that are in use. It is resident, and new clients would use it
//! without more. So when the resident memory has not grown for [`QUIET_TICKS`], [`Trial`] lets what is refused try it: as long as the
//! resident memory does not grow, the level is no higher than `Elevated`. When it grows, it is `High` or `Critical` again at once, and the next
//! trial waits twice as long. There is none above the budget.
//!
//! The resident memory counts everything, the overhead of the allocator included. It is measured four times a second by the main thread, and by
//! each shard after it has read or queued one part in [`MEASURED_SHARE`] of the budget, so that it can't grow unnoticed in between. What
//! the levels mean is in `broker/memory.rs`.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::broker::MemoryLevel;

/// The budget, shared by all threads.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    max: AtomicU64,
    /// `/proc/self/statm`; `None`: the system doesn't have it, and the level is always normal.
    source: Option<File>,
    page: u64,
    /// The number of servers that share it.
    servers: u64,
    /// Read by each turn of a shard, so it has a cache line of its own.
    level: Separate<AtomicU8>,
    measured: Separate<Measured>,
    trial: Mutex<Trial>,
}

/// Whether the resident memory that is above a level may be used again, because the broker itself has freed it.
#[derive(Debug)]
struct Trial {
    /// Whether it is tried.
    runs: bool,
    /// The resident memory above which it has grown.
    highest: u64,
    /// Ticks since it grew.
    quiet: u32,
    /// Quiet ticks until the next trial.
    wait: u32,
}

impl Default for Trial {
    fn default() -> Self {
        Self { runs: false, highest: 0, quiet: 0, wait: QUIET_TICKS }
    }
}

impl Trial {
    /// The resident memory was measured. Returns whether a trial runs.
    fn measured(&mut self, resident: u64, max: u64) -> bool {
        let tolerance = max / GROWTH_SHARE;
        if MemoryLevel::Normal.next(resident, max) == MemoryLevel::Normal {
            *self = Self::default();
        } else if resident > self.highest.saturating_add(tolerance) {
            let wait = if self.runs { self.wait.saturating_mul(2).min(QUIET_TICKS_MAX) } else { self.wait };
            *self = Self { runs: false, highest: resident, quiet: 0, wait };
        } else if resident.saturating_add(tolerance) < self.highest {
            self.highest = resident;
        }
        self.runs && resident < max
    }

    /// A tick has passed.
    fn tick(&mut self) {
        self.quiet = self.quiet.saturating_add(1);
        self.runs |= self.quiet >= self.wait;
    }
}

/// What is written often.
#[derive(Debug, Default)]
struct Measured {
    resident: AtomicU64,
    /// The highest level since the last report.
    reported: AtomicU8,
    /// The bytes of incomplete packets of all connections, and the number of these connections.
    inputs: AtomicUsize,
    holders: AtomicUsize,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Separate<T>(T);

/// The figures of the budget, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryFigures {
    /// `limits.memory_max` in bytes.
    pub max: u64,
    /// The level.
    pub level: MemoryLevel,
    /// The bytes of incomplete packets.
    pub inputs: u64,
}

impl MemoryBudget {
    /// A budget of `max` bytes.
    pub(crate) fn new(max: u64) -> Self {
        Self::shared(max, 1)
    }

    /// The same for several servers of one process: each may keep a part of what one may keep.
    pub(in crate::server) fn shared(max: u64, servers: u64) -> Self {
        let source = File::open("/proc/self/statm").ok();
        let page = fs::read("/proc/self/auxv").ok().and_then(|auxv| parse_page(&auxv)).unwrap_or(PAGE);
        let max = AtomicU64::new(max);
        let servers = servers.max(1);
        Self {
            max,
            source,
            page,
            servers,
            level: Separate::default(),
            measured: Separate::default(),
            trial: Mutex::default(),
        }
    }

    /// The level of the last measurement.
    #[inline]
    pub(in crate::server) fn level(&self) -> MemoryLevel {
        level(self.level.0.load(Ordering::Relaxed))
    }

    /// Measures the resident memory, and returns the level.
    pub(in crate::server) fn measure(&self) -> MemoryLevel {
        self.resident().map_or(MemoryLevel::Normal, |resident| self.update(resident))
    }

    /// The same, once in each tick of the main thread.
    pub(in crate::server) fn tick(&self) {
        self.trial.lock().unwrap_or_else(PoisonError::into_inner).tick();
        self.measure();
    }

    fn update(&self, resident: u64) -> MemoryLevel {
        self.measured.0.resident.store(resident, Ordering::Relaxed);
        let before = self.level();
        let is_tried = self.trial.lock().unwrap_or_else(PoisonError::into_inner).measured(resident, self.max());
        let highest = if is_tried { MemoryLevel::Elevated } else { MemoryLevel::Critical };
        let level = before.next(resident, self.max()).min(highest);
        if level != before {
            self.level.0.store(level as u8, Ordering::Relaxed);
            self.measured.0.reported.fetch_max(level as u8, Ordering::Relaxed);
        }
        level
    }

    /// How many bytes of stored messages may be kept in memory for Sessions that have not read them yet.
    pub(in crate::server) fn messages_max(&self) -> usize {
        match self.level() {
            MemoryLevel::Normal => {
                let most = usize::try_from(self.max() / 64).unwrap_or(usize::MAX).min(MESSAGES_MAX);
                most / usize::try_from(self.servers).unwrap_or(1)
            }
            MemoryLevel::Elevated | MemoryLevel::High | MemoryLevel::Critical => 0,
        }
    }

    /// How many bytes a shard may read and queue until it measures again.
    pub(in crate::server) fn measured_after(&self) -> u64 {
        (self.max() / MEASURED_SHARE).max(MEASURED_AFTER_MIN)
    }

    /// The highest level since the last call, and the resident memory.
    pub(in crate::server) fn take_report(&self) -> (MemoryLevel, u64) {
        let highest = self.measured.0.reported.swap(self.level.0.load(Ordering::Relaxed), Ordering::Relaxed);
        (level(highest).max(self.level()), self.measured.0.resident.load(Ordering::Relaxed))
    }

    /// A connection has `now` bytes of an incomplete packet, and had `before`.
    pub(in crate::server) fn change_input(&self, before: usize, now: usize) {
        let Measured { inputs, holders, .. } = &self.measured.0;
        inputs.fetch_add(now, Ordering::Relaxed);
        inputs.fetch_sub(before, Ordering::Relaxed);
        if before == 0 {
            holders.fetch_add(1, Ordering::Relaxed);
        } else if now == 0 {
            holders.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether a connection with `held` bytes of an incomplete packet has too many of them: there is too little memory for all of these
    /// packets, and it has more than most.
    pub(in crate::server) fn refuses_input(&self, held: usize) -> bool {
        let level = self.level();
        let share = match level {
            MemoryLevel::Normal => self.max() / 4,
            MemoryLevel::Elevated | MemoryLevel::High => self.max() / 16,
            MemoryLevel::Critical => 0,
        };
        let share = usize::try_from(share).unwrap_or(usize::MAX);
        let total = self.measured.0.inputs.load(Ordering::Relaxed);
        let holders = self.measured.0.holders.load(Ordering::Relaxed).max(1);
        held >= INPUT_SPARED && total > share && held >= share / holders
    }

    /// The figures for metrics.
    pub(crate) fn figures(&self) -> MemoryFigures {
        let inputs = self.measured.0.inputs.load(Ordering::Relaxed) as u64;
        MemoryFigures { max: self.max(), level: self.level(), inputs }
    }

    /// The maximum number of bytes that each shard may keep in unused buffers, if there are `shards` of them.
    pub(in crate::server) fn spare_max(&self, shards: usize) -> usize {
        let share = usize::try_from(self.share() / SPARE_SHARE).unwrap_or(usize::MAX);
        (share / shards.max(1)).min(SPARE_MAX)
    }

    /// The part of the budget that one server may use for what it keeps for ever, in bytes.
    pub(in crate::server) fn share(&self) -> u64 {
        self.max() / self.servers
    }

    /// The budget in bytes.
    pub(in crate::server) fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    /// Changes the budget. The next measurement uses it.
    pub(in crate::server) fn set_max(&self, max: u64) {
        self.max.store(max, Ordering::Relaxed);
    }

    fn resident(&self) -> Option<u64> {
        let mut text = [0; 128];
        let length = self.source.as_ref()?.read_at(&mut text, 0).ok()?;
        parse_pages(text.get(..length)?)?.checked_mul(self.page)
    }
}

/// The second number of `/proc/self/statm`: resident pages.
fn parse_pages(statm: &[u8]) -> Option<u64> {
    std::str::from_utf8(statm).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The size of a page in the auxiliary vector: pairs of words, a type and a value.
fn parse_page(auxv: &[u8]) -> Option<u64> {
    let words = auxv.chunks_exact(size_of::<usize>()).map(|word| word.try_into().map(usize::from_ne_bytes));
    let words: Vec<usize> = words.collect::<Result<_, _>>().ok()?;
    let page = words.chunks_exact(2).find_map(|pair| if let [AT_PAGESZ, page] = *pair { Some(page) } else { None })?;
    u64::try_from(page).ok()
}

fn level(number: u8) -> MemoryLevel {
    MemoryLevel::ALL.get(usize::from(number)).copied().unwrap_or_default()
}

/// The default of `limits.memory_max`: three quarters of the memory of the control group, or of the machine if that has less. Without a figure
/// there is no limit.
pub(crate) fn default_max() -> u64 {
    let read = |path: &str| fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| parse_total(&text));
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    limits.chain(machine).min().map_or(u64::MAX, |least: u64| least / 4 * 3)
}

/// The files that may have a limit of the control groups in `/proc/self/cgroup`, of version 1 and 2: those of each group and of all above it.
/// In a container, only the root of the hierarchy may be visible.
fn limit_files(groups: &str) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let group = Path::new(group.trim_start_matches('/'));
        files.extend(group.ancestors().map(|group| Path::new(root).join(group).join(name)));
    }
    files
}

fn parse_total(meminfo: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The type of the page size in the auxiliary vector.
const AT_PAGESZ: usize = 6;
/// The size of a page if the system does not say it, in bytes.
const PAGE: u64 = 4096;
/// A shard measures after it has read or queued one part in this many of the budget.
const MEASURED_SHARE: u64 = 256;
/// In bytes. A measurement takes a few microseconds.
const MEASURED_AFTER_MIN: u64 = 256 * 1024;
/// The resident memory has grown when it has grown by more than one part in this many of the budget.
const GROWTH_SHARE: u64 = 64;
/// Ticks of a quarter of a second without growth until the first trial: two seconds.
const QUIET_TICKS: u32 = 8;
/// Ticks until a trial at most: one minute.
const QUIET_TICKS_MAX: u32 = 240;
/// One part in this many of the budget is for unused buffers of all shards.
const SPARE_SHARE: u64 = 16;
/// Maximum bytes of unused buffers of a shard.
const SPARE_MAX: usize = 128 << 20;
/// A connection with fewer bytes of an incomplete packet is never ended for them.
pub(in crate::server) const INPUT_SPARED: usize = 16 * 1024;

/// Several thousand small messages: the heads of queues that are read at the same time.
const MESSAGES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_operating_system_are_parsed() {
        assert_eq!(parse_pages(b"7000 123 45 1 0 6 0\n"), Some(123));
        assert_eq!(parse_pages(b"7000"), None);
        let auxv: Vec<u8> = [3_usize, 6, 6, 16_384, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!((parse_page(&auxv), parse_page(b"short")), (Some(16_384), None));
        assert_eq!(parse_pages(b"\xFF \xFF"), None);
        assert_eq!(parse_total("MemFree: 3 kB\nMemTotal:       2048 kB\n"), Some(2 << 20));
        assert_eq!(parse_total("MemTotal: 99999999999999999999 kB"), None);
        let files = limit_files("4:memory:/a/b\n3:cpu:/x\n0::/c\nnonsense\n");
        let files: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
        let expected = [
            "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/c/memory.max",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(files, expected);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_small_budget_is_used_up_and_a_large_one_is_not() {
        assert!(default_max() > 0);
        let small = MemoryBudget::new(1);
        assert_eq!(small.level(), MemoryLevel::Normal);
        assert_eq!(small.measure(), MemoryLevel::Critical);
        assert_eq!(small.level(), MemoryLevel::Critical);
        let (level, resident) = small.take_report();
        assert!(level == MemoryLevel::Critical && resident > 100_000);
        assert_eq!(MemoryBudget::new(u64::MAX).measure(), MemoryLevel::Normal);
    }

    #[test]
    fn resident_memory_that_does_not_grow_is_used_again_and_growth_ends_that_at_once() {
        let budget = MemoryBudget::new(1_000_000);
        let ticks = |count| (0..count).for_each(|_| budget.trial.lock().unwrap().tick());
        assert_eq!(budget.update(900_000), MemoryLevel::High);
        ticks(QUIET_TICKS - 1);
        assert_eq!(budget.update(900_000), MemoryLevel::High);
        ticks(1);
        assert_eq!(budget.update(900_000), MemoryLevel::Elevated);
        assert_eq!(budget.update(910_000), MemoryLevel::Elevated, "that is within the tolerance");
        assert_eq!(budget.update(916_000), MemoryLevel::High);
        ticks(2 * QUIET_TICKS - 1);
        assert_eq!(budget.update(916_000), MemoryLevel::High, "the next trial waits longer");
        ticks(1);
        assert_eq!(budget.update(916_000), MemoryLevel::Elevated);
        for (resident, level) in [(940_000, MemoryLevel::High), (1_010_000, MemoryLevel::Critical)] {
            assert_eq!(budget.update(resident), level);
        }
        ticks(QUIET_TICKS_MAX);
        assert_eq!(budget.update(1_010_000), MemoryLevel::Critical, "no trial above the budget");
        assert_eq!(budget.update(500_000), MemoryLevel::Normal);
        assert_eq!(budget.update(900_000), MemoryLevel::High);
        ticks(QUIET_TICKS);
        assert_eq!(budget.update(900_000), MemoryLevel::Elevated, "the wait is short again");
    }

    #[test]
    fn unused_buffers_of_all_shards_have_a_part_of_the_budget() {
        assert_eq!(MemoryBudget::new(64 << 20).spare_max(4), 1 << 20);
        assert_eq!(MemoryBudget::new(u64::MAX).spare_max(1), SPARE_MAX);
        let (one, four) = (MemoryBudget::new(64 << 20), MemoryBudget::shared(64 << 20, 4));
        assert_eq!((four.spare_max(1), four.messages_max()), (one.spare_max(4), one.messages_max() / 4));
        assert_eq!((four.share(), four.max()), (16 << 20, one.max()));
    }

    #[test]
    fn the_largest_inputs_are_refused_when_all_of_them_use_too_much() {
        let budget = MemoryBudget::new(4 << 20);
        budget.change_input(0, 600_000);
        assert!(!budget.refuses_input(600_000));
        budget.change_input(0, 500_000);
        assert!(budget.refuses_input(600_000));
        assert!(!budget.refuses_input(500_000), "it has less than its share");
        assert!(!budget.refuses_input(INPUT_SPARED - 1));
        budget.change_input(600_000, 0);
        assert!(!budget.refuses_input(600_000));
        assert_eq!(budget.figures().inputs, 500_000);
    }
}
