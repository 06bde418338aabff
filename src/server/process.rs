//! What the operating system says about this process.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// The memory of this process in bytes. `None`: there is no `/proc/self/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Memory {
    /// Resident memory.
    pub resident: Option<u64>,
    /// The greatest resident memory since the start.
    pub resident_max: Option<u64>,
    /// The size of the address space in use.
    pub address_space: Option<u64>,
}

/// Reads the memory of this process.
pub(crate) fn memory() -> Memory {
    fs::read_to_string("/proc/self/status").map(|status| parse_memory(&status)).unwrap_or_default()
}

/// The processor time that all threads of this process have used.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// The number of open file descriptors. `None`: there is no `/proc/self/fd`.
pub(crate) fn open_files() -> Option<u64> {
    // Linux since 6.2 gives the number as the size of the directory. Before, it takes time in proportion to it.
    let size = fs::metadata("/proc/self/fd").ok()?.len();
    if size > 0 { Some(size) } else { Some(fs::read_dir("/proc/self/fd").ok()?.count() as u64) }
}

/// The limit of open file descriptors; `None` if there is none.
pub(crate) fn open_files_max() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Raises the limit of open file descriptors to the highest that this process may set. Returns the limit; `None` if there is none.
pub(crate) fn raise_open_files_max() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    // Some systems refuse a limit above their own; the process then works with the lower one.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    open_files_max()
}

/// Keeps the kernel from giving this process pages of 2 MiB, where that is the default: an idle broker would take twice the memory, and memory
/// that was freed could be returned only in such pieces.
pub fn use_small_pages() {
    // Where it is refused, the broker only uses more memory.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

fn parse_memory(status: &str) -> Memory {
    let bytes = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kibibytes.checked_mul(1024)
    };
    Memory { resident: bytes("VmRSS:"), resident_max: bytes("VmHWM:"), address_space: bytes("VmSize:") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_parsed_from_proc_self_status() {
        let memory = parse_memory("Name:\toncemq\nVmSize:\t 20 kB\nVmHWM:\t 9 kB\nVmRSS:\t    1234 kB\n");
        let expected =
            Memory { resident: Some(1234 * 1024), resident_max: Some(9 * 1024), address_space: Some(20 * 1024) };
        assert_eq!(memory, expected);
        assert_eq!(parse_memory("VmRSS:\tmany kB").resident, None);
        assert_eq!(parse_memory("VmRSS:\t18446744073709551615 kB").resident, None);
        assert_eq!(parse_memory(""), Memory::default());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_gets_small_pages_only() {
        let huge_pages = || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            status.lines().find_map(|line| line.strip_prefix("THP_enabled:").map(|value| value.trim().to_owned()))
        };
        use_small_pages();
        assert!(huge_pages().is_none_or(|value| value == "0"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory_files_and_processor_time() {
        let memory = memory();
        assert!(
            memory.resident > Some(0)
                && memory.resident_max >= memory.resident
                && memory.address_space >= memory.resident
        );
        let before = open_files().unwrap();
        let file = fs::File::open("/proc/self/status").unwrap();
        assert!(open_files().unwrap() > 0 && before > 0 && open_files_max().is_none_or(|max| max > before));
        drop(file);
        assert!(cpu_time() > Duration::ZERO);
    }
}
