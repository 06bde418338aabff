use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The size of segments, in bytes, that suits the file system of a store's directory, whether or not the directory exists.
///
/// It is an eighth of the bytes that the store has or can get: the reserve for a full disk then takes an eighth, and the segment that is
/// being freed and the one that is being written take two more. On a disk of 512 MiB or more it is the default size.
pub fn fitting_segment_bytes(directory: &Path) -> u64 {
    let largest = super::Options::default().segment_bytes;
    let existing = directory.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    let Ok(free) = rustix::fs::statvfs(existing) else { return largest };
    if free.f_blocks == 0 {
        return largest; // a file system without a size, such as a tmpfs without a limit
    }
    let available = free.f_bavail.saturating_mul(free.f_frsize).saturating_add(bytes_in(directory));
    fitting(available, largest)
}

fn fitting(available: u64, largest: u64) -> u64 {
    (available / SHARE).next_multiple_of(GRANULE).clamp(FITTING_MIN, largest)
}

/// The bytes that the files of a directory occupy.
fn bytes_in(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|file| file.blocks().saturating_mul(512)).sum()
}

/// The part of the available bytes that one segment takes.
const SHARE: u64 = 8;
/// Sizes are rounded up to a multiple of this.
const GRANULE: u64 = 64 << 10;
/// Smaller segments cost more syncs of names than they save.
const FITTING_MIN: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_take_an_eighth_of_a_small_disk_and_have_the_default_size_on_others() {
        let default = super::super::Options::default().segment_bytes;
        assert_eq!(fitting(24 << 20, default), 3 << 20);
        assert_eq!(fitting(0, default), 1 << 20);
        assert_eq!(fitting(1 << 40, default), default);
        assert_eq!(fitting(512 << 20, default), default);
    }

    #[test]
    fn what_the_store_occupies_counts_as_available() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a"), vec![1; 100_000]).unwrap();
        assert!(bytes_in(directory.path()) >= 100_000);
        assert!(fitting_segment_bytes(&directory.path().join("missing/log")) >= FITTING_MIN);
    }
}
