use std::fs;

/// Resident memory of this process in bytes, or 0 if there is no `/proc/self/status`.
pub(super) fn resident_bytes() -> u64 {
    fs::read_to_string("/proc/self/status").ok().and_then(|status| parse_resident(&status)).unwrap_or(0)
}

fn parse_resident(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_parsed_from_proc_self_status() {
        assert_eq!(parse_resident("Name:\toncemq\nVmHWM:\t 9 kB\nVmRSS:\t    1234 kB\n"), Some(1234 * 1024));
        assert_eq!(parse_resident("VmRSS:\tmany kB"), None);
        assert_eq!(parse_resident("VmRSS:\t18446744073709551615 kB"), None);
        assert_eq!(parse_resident(""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_resident_memory() {
        assert!(resident_bytes() > 0);
    }
}
