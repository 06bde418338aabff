//! The data directory, its file system, and its disk.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oncemq::config::{Config, Durability};
use rustix::fs::{Access, access};
use rustix::process::geteuid;

use super::finding::{Findings, Severity};
use crate::disk::{Mount, Pace, Room, in_words, mount, room, sync_latency};
use crate::output::size;

pub(super) fn examine(config: &Config, findings: &mut Findings) {
    if config.strongest_durability() == Durability::None {
        findings.note(
            SUBJECT,
            "the durability is none: nothing is stored".to_owned(),
            "set server.durability to keep messages",
        );
        return;
    }
    let data = &config.server.data;
    let Some(place) = directory(data, findings) else { return };
    let place = place.canonicalize().unwrap_or(place);
    if let Ok(room) = room(&place) {
        space(&place, room, findings);
        if room.is_read_only {
            return;
        }
    }
    if let Some(mount) = mount(&place) {
        let is_container = ["/.dockerenv", "/run/.containerenv"].iter().any(|file| Path::new(file).exists());
        file_system(&place, &mount, is_container, findings);
        device(&mount, findings);
    }
    if mount(&place).is_none_or(|mount| !is_memory(&mount.kind)) {
        syncs(&place, config.strongest_durability(), findings);
    }
}

fn is_memory(kind: &str) -> bool {
    matches!(kind, "tmpfs" | "ramfs")
}

/// Looks at the directory itself. Returns where it is or will be; `None`: it can't be used at all.
fn directory(data: &Path, findings: &mut Findings) -> Option<PathBuf> {
    let name = data.display();
    let metadata = match data.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return missing(data, findings),
        Err(error) => {
            findings.error(
                SUBJECT,
                format!("{name}: {error}"),
                "run this as the user of the broker, or mend the path (server.data)",
            );
            return None;
        }
    };
    if !metadata.is_dir() {
        findings.error(SUBJECT, format!("{name} is no directory"), "name another one with --data or server.data");
        return None;
    }
    let (mode, owner, own) = (metadata.permissions().mode() & 0o777, metadata.uid(), geteuid().as_raw());
    if access(data, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let text = format!("{name} belongs to user {owner} with the mode {mode:04o}, and user {own} can't write there");
        findings.error(
            SUBJECT,
            text,
            &format!("run this as the user of the broker: sudo -u '#{owner}' oncemq doctor …"),
        );
    } else if owner != own {
        let text = format!(
            "{name} belongs to user {owner}, and this is user {own}: what this user creates there, the broker can't read"
        );
        findings.note(
            SUBJECT,
            text,
            &format!("run this as the user of the broker: sudo -u '#{owner}' oncemq doctor …"),
        );
    }
    // Whether others can enter it is an exposure.
    findings.ok(SUBJECT, format!("{name} exists, with the mode {mode:04o}"));
    Some(data.to_owned())
}

/// The directory will be created.
fn missing(data: &Path, findings: &mut Findings) -> Option<PathBuf> {
    let parent = data.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    let parent = parent.unwrap_or(Path::new("/"));
    // The broker creates it with its parents.
    let existing = parent.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    let (name, place) = (data.display(), existing.display());
    if access(existing, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let text = format!("{name} does not exist, and this user can't create it in {place}");
        findings.error(SUBJECT, text, &format!("install -d -m 700 -o USER {name}, with the user of the broker"));
        return None;
    }
    findings.note(SUBJECT, format!("{name} does not exist"), "the broker creates it with the mode 0700 when it starts");
    Some(existing.to_owned())
}

fn space(place: &Path, room: Room, findings: &mut Findings) {
    let name = place.display();
    if room.is_read_only {
        findings.error(
            SPACE,
            format!("{name} is on a file system that is mounted read-only"),
            &format!("mount -o remount,rw {name}, and look for disk errors with dmesg"),
        );
        return;
    }
    let free = format!("{} free of {}", in_units(room.bytes), in_units(room.bytes_total));
    let mend = "free some; oncemq store stat shows what the store needs";
    if room.bytes < BYTES_ERROR {
        findings.error(SPACE, format!("{name} has {free}: messages for durable sessions are refused"), mend);
    } else if room.bytes < BYTES_WARNING {
        findings.warning(SPACE, format!("{name} has {free}"), mend);
    } else {
        findings.ok(SPACE, format!("{name} has {free}"));
    }
    if let Some(inodes) = room.inodes.filter(|inodes| *inodes < INODES_WARNING) {
        findings.warning(SPACE, format!("{name} has {inodes} free inodes"), "remove files that nobody needs: df -i");
    }
}

fn file_system(place: &Path, mount: &Mount, is_container: bool, findings: &mut Findings) {
    let (name, kind) = (place.display(), mount.kind.as_str());
    match kind {
        kind if is_memory(kind) => {
            let text = format!("{name} is on {kind}, in memory: a restart of the machine loses what was acknowledged");
            findings.error(
                FILE_SYSTEM,
                text,
                "put the data directory on a disk (server.data), or set server.durability to none",
            );
        }
        "overlay" | "overlayfs" | "aufs" => {
            let text = format!("{name} is on {kind}, the layer of a container: it is removed with the container");
            findings.error(FILE_SYSTEM, text, "mount a volume there: docker run -v oncemq-data:/var/lib/oncemq …");
        }
        "nfs" | "nfs4" | "cifs" | "smb3" | "smbfs" | "9p" | "ceph" | "glusterfs" | "fuse.sshfs" => {
            let text = format!(
                "{name} is on {kind}, over the network: each acknowledgement waits for it, and its locks may not exclude a second broker"
            );
            findings.warning(FILE_SYSTEM, text, "use a local disk; oncemq verify measures this one");
        }
        "vfat" | "exfat" | "msdos" => {
            let text = format!("{name} is on {kind}, which has no journal and no file modes");
            findings.warning(FILE_SYSTEM, text, "use ext4, xfs or another file system with a journal");
        }
        _ if is_container && mount.point == Path::new("/") => {
            let text = format!("{name} is on the root file system of a container");
            findings.warning(FILE_SYSTEM, text, "mount a volume there: docker run -v oncemq-data:/var/lib/oncemq …");
        }
        _ => findings.ok(FILE_SYSTEM, format!("{name} is on {kind}, mounted at {}", mount.point.display())),
    }
}

/// What the kernel knows about the device.
fn device(mount: &Mount, findings: &mut Findings) {
    let Ok(path) = fs::canonicalize(format!("/sys/dev/block/{}", mount.device)) else { return };
    let name = path.display().to_string();
    // A partition is a folder in that of its device.
    let disk = if path.join("queue").is_dir() { path.clone() } else { path.parent().unwrap_or(&path).to_owned() };
    let read = |file: &str| fs::read_to_string(disk.join(file)).map(|text| text.trim().to_owned()).unwrap_or_default();
    if name.contains("/mmcblk") {
        let kind = match &*read("device/type") {
            "SD" => "an SD card",
            _ => "eMMC or an SD card",
        };
        let text = format!(
            "{} is {kind}, which each sync wears out, and which may lose data that it had confirmed",
            mount.source
        );
        let mend = "keep what matters less in memory: durability_rule telemetry/#=none; or use an SSD; oncemq verify measures it";
        findings.warning(DISK, text, mend);
    } else if read("queue/rotational") == "1" && !name.contains("/virtual/") && !name.contains("/virtio") {
        findings.note(
            DISK,
            format!("{} has rotating disks: a sync takes about ten milliseconds", mount.source),
            "an SSD acknowledges sooner",
        );
    }
}

fn syncs(place: &Path, durability: Durability, findings: &mut Findings) {
    let latencies = match sync_latency(place, SYNCS, SYNC_TIME, &|| false) {
        Ok(latencies) => latencies,
        Err(error) => {
            findings.note(
                SYNC,
                format!("not measured: {}: {error}", place.display()),
                "run this as the user of the broker",
            );
            return;
        }
    };
    let [p50, p99, max] = [50, 99, 100].map(|percent| in_words(latencies.percentile(percent)));
    let text = format!("p50 {p50}, p99 {p99}, max {max}");
    let severity = match Pace::of(&latencies) {
        Pace::Implausible => Severity::Warning,
        Pace::Fast => Severity::Note,
        Pace::Slow if durability == Durability::PowerLoss => Severity::Warning,
        Pace::Slow | Pace::Plausible => Severity::Ok,
    };
    let (text, mend) = match Pace::of(&latencies) {
        Pace::Implausible => (
            format!("{text}: no disk is that fast, so syncs are ignored, or it is memory"),
            Some("look for a file system in memory, or for a virtual disk with an unsafe cache"),
        ),
        Pace::Fast => (format!("{text}: very fast"), Some("make sure that the disk's cache survives power loss")),
        Pace::Slow => (
            format!("{text}: each acknowledgement waits that long"),
            Some("use a faster disk; oncemq verify shows what durability costs"),
        ),
        Pace::Plausible => (text, None),
    };
    let mend = mend.filter(|_| severity != Severity::Ok).map(str::to_owned);
    findings.add(severity, SYNC, text, mend);
}

#[expect(clippy::cast_precision_loss, reason = "a size for people")]
fn in_units(bytes: u64) -> String {
    size(bytes as f64)
}

const SUBJECT: &str = "data directory";
const SPACE: &str = "disk space";
const FILE_SYSTEM: &str = "file system";
const DISK: &str = "disk";
const SYNC: &str = "sync";
const BYTES_ERROR: u64 = 32 << 20;
const BYTES_WARNING: u64 = 512 << 20;
const INODES_WARNING: u64 = 1_000;
const SYNCS: usize = 200;
const SYNC_TIME: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn of_kind(kind: &str, point: &str, is_container: bool) -> Severity {
        let mount = Mount { point: point.into(), kind: kind.into(), source: "x".into(), device: "0:0".into() };
        let mut findings = Findings::default();
        file_system(Path::new("/data"), &mount, is_container, &mut findings);
        findings.sorted()[0].severity
    }

    #[test]
    fn file_systems_that_lose_data_are_errors() {
        for (kind, point, is_container, expected) in [
            ("ext4", "/", false, Severity::Ok),
            ("tmpfs", "/data", false, Severity::Error),
            ("overlay", "/", true, Severity::Error),
            ("ext4", "/", true, Severity::Warning),
            ("ext4", "/data", true, Severity::Ok),
            ("nfs4", "/data", false, Severity::Warning),
            ("vfat", "/data", false, Severity::Warning),
        ] {
            assert_eq!(of_kind(kind, point, is_container), expected, "{kind} {point} {is_container}");
        }
    }

    #[test]
    fn little_room_is_found() {
        let found = |bytes, inodes, is_read_only| {
            let mut findings = Findings::default();
            space(Path::new("/"), Room { bytes, bytes_total: 1 << 40, inodes, is_read_only }, &mut findings);
            findings.sorted()[0].severity
        };
        assert_eq!(found(1 << 40, Some(1 << 20), false), Severity::Ok);
        assert_eq!(found(1 << 40, None, false), Severity::Ok);
        assert_eq!(found(1 << 40, Some(3), false), Severity::Warning);
        assert_eq!(found(100 << 20, None, false), Severity::Warning);
        assert_eq!(found(1 << 20, None, false), Severity::Error);
        assert_eq!(found(1 << 40, None, true), Severity::Error);
    }
}
