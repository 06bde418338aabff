//! The allocator of the broker: mimalloc. A crate of its own, because a call of its C interface needs `unsafe`, which the broker forbids.

/// For `#[global_allocator]`.
pub use mimalloc::MiMalloc as Allocator;

/// Returns memory to the operating system that the calling thread has freed. It takes time in proportion to the memory that the thread uses:
/// about a millisecond for 10,000 pages of 64 KiB.
///
/// By itself the allocator returns memory only while the thread allocates or frees more.
pub fn release() {
    #[expect(unsafe_code, reason = "it has no safe interface")]
    // SAFETY: it takes no pointer, and may be called by any thread at any time.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Allocator = Allocator;

    #[test]
    #[cfg(target_os = "linux")]
    fn released_memory_is_not_resident() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
            line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() / 1024
        };
        let before = resident();
        // Small ones, and large ones that have a part of the address space each.
        for (length, count) in [(100, 300_000), (10 << 20, 4)] {
            let all: Vec<Vec<u8>> = (0..count).map(|_| vec![1; length]).collect();
            let used = resident();
            assert!(used > before + 20, "{used} MiB");
            drop(all);
            release();
            let left = resident();
            assert!(left < before + 8, "{left} MiB of {used}, and {before} before");
        }
    }
}
