//! The disk below a directory: its file system, its free space, and how long a sync takes.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{StatVfsMountFlags, statvfs};
use tokio::time::Instant;

/// Durations, ascending.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn new(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        Self(samples)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The value below which this part of all samples lies, in hundredths; zero if there are none.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get(last * percent.min(100) / 100).copied().unwrap_or_default()
    }
}

/// What the latencies of a disk say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// No device is that fast: the data is in memory.
    Implausible,
    /// A device with a cache that survives power loss, or one whose cache does not and that ignores flushes.
    Fast,
    Plausible,
    /// Each acknowledgement takes that long.
    Slow,
}

impl Pace {
    pub(crate) fn of(latencies: &Latencies) -> Self {
        match latencies.percentile(50) {
            median if median < IMPLAUSIBLE => Self::Implausible,
            median if median < FAST => Self::Fast,
            median if median < SLOW => Self::Plausible,
            _ => Self::Slow,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Implausible => "implausible",
            Self::Fast => "fast",
            Self::Plausible => "plausible",
            Self::Slow => "slow",
        }
    }
}

/// Measures `fdatasync` of small appends, at most `samples` times and for at most `limit`, until `is_stopped`.
///
/// It uses a new file of 256 KiB in `directory`, which is written before, so that a sync has no metadata to write, as in the segments of
/// the store. The file has no name from the moment it is open.
pub(crate) fn sync_latency(
    directory: &Path,
    samples: usize,
    limit: Duration,
    is_stopped: &dyn Fn() -> bool,
) -> io::Result<Latencies> {
    let path = directory.join(unpredictable_name("oncemq-sync")?);
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    file.write_all_at(&vec![0; FILE_BYTES], 0)?;
    file.sync_all()?;
    let started = Instant::now();
    let mut found = Vec::with_capacity(samples);
    for number in 0..samples {
        if started.elapsed() > limit || is_stopped() {
            break;
        }
        let offset = number % (FILE_BYTES / APPEND_BYTES) * APPEND_BYTES;
        let before = Instant::now();
        file.write_all_at(&[1; APPEND_BYTES], offset as u64)?;
        file.sync_data()?;
        found.push(before.elapsed());
    }
    Ok(Latencies::new(found))
}

/// `prefix-` and a random number.
pub(crate) fn unpredictable_name(prefix: &str) -> io::Result<String> {
    let number = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!("{prefix}-{number:016x}"))
}

/// The room on a file system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) bytes: u64,
    pub(crate) bytes_total: u64,
    /// `None`: the file system has no fixed number.
    pub(crate) inodes: Option<u64>,
    pub(crate) is_read_only: bool,
}

pub(crate) fn room(path: &Path) -> io::Result<Room> {
    let found = statvfs(path)?;
    Ok(Room {
        bytes: found.f_bavail.saturating_mul(found.f_frsize),
        bytes_total: found.f_blocks.saturating_mul(found.f_frsize),
        inodes: (found.f_files > 0).then_some(found.f_favail),
        is_read_only: found.f_flag.contains(StatVfsMountFlags::RDONLY),
    })
}

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) point: PathBuf,
    /// Such as `ext4`.
    pub(crate) kind: String,
    pub(crate) source: String,
    /// `major:minor` of its device.
    pub(crate) device: String,
}

/// The file system that `path` is on. `None`: the operating system does not say it.
pub(crate) fn mount(path: &Path) -> Option<Mount> {
    let path = path.canonicalize().ok()?;
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    // Of those that cover each other, the last one is seen.
    table.lines().filter_map(parse_mount).filter(|mount| path.starts_with(&mount.point)).max_by_key(|mount| {
        mount.point.components().count() // the last of equals
    })
}

/// A line such as `36 35 98:0 / /mnt rw,noatime shared:1 - ext3 /dev/root rw`.
fn parse_mount(line: &str) -> Option<Mount> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(2);
    let (device, point) = (place.next()?, place.nth(1)?);
    let mut kind = kind.split(' ');
    let (kind, source) = (kind.next()?, kind.next()?);
    let plain = |text: &str| text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
    Some(Mount {
        point: PathBuf::from(plain(point)),
        kind: kind.to_owned(),
        source: plain(source),
        device: device.to_owned(),
    })
}

/// A duration for people: three digits, and a unit.
pub(crate) fn in_words(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    match micros {
        micros if micros < 10.0 => format!("{micros:.1} µs"),
        micros if micros < 1e3 => format!("{micros:.0} µs"),
        micros if micros < 1e4 => format!("{:.2} ms", micros / 1e3),
        micros if micros < 1e6 => format!("{:.0} ms", micros / 1e3),
        micros => format!("{:.1} s", micros / 1e6),
    }
}

const FILE_BYTES: usize = 256 * 1_024;
const APPEND_BYTES: usize = 512;
/// The fastest devices need longer for one write.
const IMPLAUSIBLE: Duration = Duration::from_micros(8);
const FAST: Duration = Duration::from_micros(200);
const SLOW: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_samples() {
        let latencies = Latencies::new((1..=100).rev().map(Duration::from_millis).collect());
        assert_eq!([0, 50, 99, 100].map(|percent| latencies.percentile(percent).as_millis()), [1, 50, 99, 100]);
        assert_eq!((Latencies::default().percentile(50), latencies.count()), (Duration::ZERO, 100));
    }

    #[test]
    fn a_line_of_the_mount_table_is_parsed() {
        let mount = parse_mount("36 35 98:0 /m /a\\040b rw,noatime shared:1 master:2 - ext3 /dev/root rw").unwrap();
        assert_eq!((mount.point.to_str(), &*mount.kind, &*mount.source), (Some("/a b"), "ext3", "/dev/root"));
        assert_eq!(mount.device, "98:0");
        for line in ["", "1 2 3", "36 35 98:0 / - ext3 x", "36 35 98:0 / /m rw - ext3"] {
            assert_eq!(parse_mount(line), None, "{line}");
        }
    }

    #[test]
    fn a_sync_is_measured_and_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let latencies = sync_latency(directory.path(), 20, Duration::from_secs(5), &|| false).unwrap();
        assert!(latencies.count() > 0 && latencies.percentile(100) > Duration::ZERO);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        assert_eq!(sync_latency(directory.path(), 20, Duration::from_secs(5), &|| true).unwrap().count(), 0);
        assert!(sync_latency(&directory.path().join("none"), 1, Duration::from_secs(5), &|| false).is_err());
        assert!(room(directory.path()).unwrap().bytes_total > 0);
        assert!(cfg!(not(target_os = "linux")) || mount(directory.path()).is_some());
    }

    #[test]
    fn durations_have_three_digits() {
        let texts =
            [3, 42_000, 1_234_000, 56_000_000, 2_000_000_000].map(|nanos| in_words(Duration::from_nanos(nanos)));
        assert_eq!(texts, ["0.0 µs", "42 µs", "1.23 ms", "56 ms", "2.0 s"]);
    }
}
