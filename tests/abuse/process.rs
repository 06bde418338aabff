//! What the operating system says about the broker.

use std::fs;
use std::path::Path;

/// Memory and descriptors of a process at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Resident memory in bytes.
    pub(crate) memory: u64,
    /// Open file descriptors.
    pub(crate) descriptors: u64,
}

impl Usage {
    /// `None` if the process has ended.
    pub(crate) fn of(process: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let memory = line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024;
        let descriptors = fs::read_dir(format!("/proc/{process}/fd")).ok()?.count() as u64;
        Some(Self { memory, descriptors })
    }

    pub(crate) fn max(self, other: Self) -> Self {
        Self { memory: self.memory.max(other.memory), descriptors: self.descriptors.max(other.descriptors) }
    }
}

/// The highest resident memory of a process so far, in bytes; 0 if it has ended.
pub(crate) fn highest_memory(process: u32) -> u64 {
    let highest = |status: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    };
    fs::read_to_string(format!("/proc/{process}/status")).ok().and_then(|status| highest(&status)).unwrap_or_default()
}

/// The size of all files below a directory, in bytes.
pub(crate) fn size_of(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
