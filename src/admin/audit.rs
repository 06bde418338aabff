//! `audit.log` in the data directory: who changed what, when, and with what result.
//!
//! One JSON object in each line. The file is for its owner only and has at most [`BYTES_MAX`] bytes; then it becomes `audit.log.1`, which
//! replaces an older one. A line is written when the change is done, and not synced: it survives a crash of the broker, and not always a
//! power loss. If it can't be written, the change stays, and the log says so: an operator must be able to act when the disk is full.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::caller::{Caller, Role};
use super::time::rfc_3339;
use crate::server::{LogEvent, Status, Whom, allows, log_line};
use crate::timestamp::Timestamp;

/// The audit log of a broker.
#[derive(Debug)]
pub(super) struct Audit {
    path: PathBuf,
    status: Arc<Status>,
    state: Mutex<State>,
    /// Lines that could not be written.
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// The open file and its length; `None` after a line that could not be written, so that the next one opens it again.
    file: Option<(File, u64)>,
    strangers: Bound,
    refused: Bound,
}

/// Bounds the lines about refused requests. Without it, a caller that may change nothing could displace the lines about changes.
#[derive(Debug, Default)]
struct Bound {
    minute: u64,
    lines: u32,
    left_out: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    /// `null`: the request had no valid token or certificate.
    who: Option<&'a str>,
    role: Option<Role>,
    /// `null`: over the Unix socket.
    address: Option<IpAddr>,
    what: &'a str,
    target: &'a str,
    result: &'a str,
    /// Lines of the same kind that were left out before this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<u64>,
}

impl Audit {
    /// The audit log in a data directory. The file is created with the first line.
    pub(super) fn new(data: &Path, status: Arc<Status>) -> Self {
        Self { path: data.join(NAME), status, state: Mutex::default(), lost: AtomicU64::new(0) }
    }

    /// Records a change, or that it was not done and why. Each part is cut after [`PART_MAX`] bytes.
    pub(super) fn record<T, E: Display>(&self, caller: &Caller, what: &str, target: &str, outcome: &Result<T, E>) {
        caller.set_recorded();
        let result = outcome.as_ref().err().map_or_else(|| "done".to_owned(), |error| error.to_string());
        let line = Line {
            at: rfc_3339(self.status.wall_now()),
            who: Some(cut(&caller.name)),
            role: Some(caller.role),
            address: caller.address,
            what: cut(what),
            target: cut(target),
            result: cut(&result),
            left_out: None,
        };
        self.write(&line, &mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Records a request without a valid token or certificate; at most [`STRANGERS_MAX`] lines a minute.
    pub(super) fn record_stranger(&self, address: Option<IpAddr>, what: &str, target: &str, result: &impl Display) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left_out) = state.strangers.admit(self.status.now(), STRANGERS_MAX) else { return };
        self.write_refused((None, None, address), (what, target, &result.to_string()), left_out, &mut state);
    }

    /// Records what a caller tried without the role for it; at most [`REFUSED_MAX`] lines a minute.
    pub(super) fn record_refused(&self, caller: &Caller, what: &str, target: &str, reason: &impl Display) {
        caller.set_recorded();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left_out) = state.refused.admit(self.status.now(), REFUSED_MAX) else { return };
        let who = (Some(&*caller.name), Some(caller.role), caller.address);
        self.write_refused(who, (what, target, &reason.to_string()), left_out, &mut state);
    }

    fn write_refused(
        &self,
        (who, role, address): (Option<&str>, Option<Role>, Option<IpAddr>),
        (what, target, result): (&str, &str, &str),
        left_out: u64,
        state: &mut State,
    ) {
        let line = Line {
            at: rfc_3339(self.status.wall_now()),
            who: who.map(cut),
            role,
            address,
            what: cut(what),
            target: cut(target),
            result: cut(result),
            left_out: (left_out > 0).then_some(left_out),
        };
        self.write(&line, state);
    }

    /// How many lines could not be written since the start.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn write(&self, line: &Line<'_>, state: &mut State) {
        let written = serde_json::to_string(line).map_err(io::Error::from).and_then(|text| self.append(&text, state));
        if let Err(error) = written {
            self.lost.fetch_add(1, Ordering::Relaxed);
            if allows(LogEvent::AuditFailed, Whom::default(), self.status.now()) {
                let reason = error.to_string();
                log_line!(AuditFailed { reason = &*reason }, "the audit log lacks a line: {reason}");
            }
        }
    }

    fn append(&self, text: &str, state: &mut State) -> io::Result<()> {
        let bytes = format!("{text}\n");
        let length = bytes.len() as u64;
        let (mut file, mut present) = match state.file.take() {
            Some(open) => open,
            None => self.open()?,
        };
        if present > 0 && present + length > BYTES_MAX {
            fs::rename(&self.path, self.path.with_extension("log.1"))?;
            (file, present) = self.open()?;
        }
        file.write_all(bytes.as_bytes())?;
        state.file = Some((file, present + length));
        Ok(())
    }

    /// Opens the file at its end, and says how long it is. A last line that a power loss or a full disk has cut is ended, so that the next one is
    /// not lost with it.
    fn open(&self) -> io::Result<(File, u64)> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(OWNER_ONLY).open(&self.path)?;
        let mut present = file.metadata()?.len();
        let mut last = [b'\n'];
        if present > 0 {
            file.read_exact_at(&mut last, present - 1)?;
        }
        if last != [b'\n'] {
            file.write_all(b"\n")?;
            present += 1;
        }
        Ok((file, present))
    }
}

impl Bound {
    /// Whether a line may be written now; with how many were left out before it.
    fn admit(&mut self, now: Timestamp, lines_max: u32) -> Option<u64> {
        let minute = now.0 / 60_000;
        if minute != self.minute {
            (self.minute, self.lines) = (minute, 0);
        }
        if self.lines == lines_max {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// The beginning of a text.
fn cut(text: &str) -> &str {
    let end = (0..=PART_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

const NAME: &str = "audit.log";
const OWNER_ONLY: u32 = 0o600;
/// Some ten thousand changes. With the file before it, twice as many are kept.
const BYTES_MAX: u64 = 10 * 1_024 * 1_024;
/// Bytes of each part of a line, so that one request can't fill the file.
const PART_MAX: usize = 1_024;
/// Lines a minute about requests without a valid token or certificate: those alone fill both files in several days at the earliest.
const STRANGERS_MAX: u32 = 10;
/// Lines a minute about callers without the role that they need: those alone fill both files in half a day.
const REFUSED_MAX: u32 = 100;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::server::Clock;

    fn audit(directory: &Path) -> Audit {
        Audit::new(directory, Arc::new(Status::new(1, Clock::start(Timestamp(1)))))
    }

    fn lines(directory: &Path, name: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(directory.join(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_says_who_what_when_and_with_what_result() {
        let directory = tempfile::tempdir().unwrap();
        let audit = audit(directory.path());
        let caller = Caller::new("ci\"\n".into(), Role::Operator, Some([127, 0, 0, 1].into()));
        audit.record(&caller, "ban", "user \"a\"", &Ok::<_, String>(()));
        audit.record(&Caller::local(), "ban", &"x".repeat(5_000), &Err::<(), _>("the list is full"));
        audit.record_stranger(None, "DELETE /x", "/x", &"a token is needed");
        let lines = lines(directory.path(), NAME);
        let at = lines[0]["at"].as_str().unwrap();
        assert!(at.len() == 24 && at.ends_with('Z'), "{at}");
        assert_eq!(lines[0]["who"], "ci\"\n");
        assert_eq!((&lines[0]["role"], &lines[0]["address"]), (&"operator".into(), &"127.0.0.1".into()));
        assert_eq!((&lines[0]["what"], &lines[0]["target"]), (&"ban".into(), &"user \"a\"".into()));
        assert_eq!((&lines[0]["result"], &lines[1]["result"]), (&"done".into(), &"the list is full".into()));
        assert_eq!((lines[1]["target"].as_str().unwrap().len(), &lines[1]["who"]), (PART_MAX, &"local".into()));
        assert!(lines[2]["who"].is_null() && lines[2]["role"].is_null());
        assert!(caller.is_recorded());
        let mode = fs::metadata(directory.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_file_is_bounded_and_goes_on_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let length = |name: &str| fs::metadata(directory.path().join(name)).map_or(0, |metadata| metadata.len());
        let target = "x".repeat(PART_MAX);
        for round in 0..3 {
            let audit = audit(directory.path());
            for _ in 0..9_000 {
                audit.record(&Caller::local(), &target, &target, &Ok::<_, String>(()));
            }
            assert!(length(NAME) <= BYTES_MAX && length("audit.log.1") <= BYTES_MAX, "{round}");
        }
        assert!(length("audit.log.1") > BYTES_MAX - 4_096);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_line_that_was_cut_does_not_take_the_next_one_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        let record = |what: &str| audit(directory.path()).record(&Caller::local(), what, "x", &Ok::<_, String>(()));
        record("whole");
        let whole = fs::read(&path).unwrap();
        for cut in [1, 20, whole.len() - 1] {
            fs::write(&path, [&whole[..], &whole[..cut]].concat()).unwrap();
            record("after");
            record("later");
            let text = fs::read_to_string(&path).unwrap();
            let read: Vec<_> = text.lines().map(serde_json::from_str::<serde_json::Value>).collect();
            let whats: Vec<_> = read.iter().flatten().map(|line| line["what"].as_str().unwrap()).collect();
            assert!(whats.ends_with(&["after", "later"]) && whats.first() == Some(&"whole"), "{cut}: {text}");
            assert_eq!(read.len(), 4, "{cut}: {text}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_rotated_does_not_grow() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("audit.log.1/taken")).unwrap();
        let full = vec![b'\n'; usize::try_from(BYTES_MAX).unwrap()];
        fs::write(directory.path().join(NAME), full).unwrap();
        let audit = audit(directory.path());
        for _ in 0..4 {
            audit.record(&Caller::local(), "a", "b", &Ok::<_, String>(()));
        }
        assert_eq!((fs::metadata(directory.path().join(NAME)).unwrap().len(), audit.lost()), (BYTES_MAX, 4));
    }

    #[test]
    fn those_without_a_right_cannot_push_out_what_others_did() {
        let directory = tempfile::tempdir().unwrap();
        let audit = audit(directory.path());
        for _ in 0..1_000 {
            audit.record_stranger(None, "POST /x", "/x", &"a token is needed");
        }
        let viewer = Caller::new("viewer".into(), Role::Viewer, None);
        for _ in 0..1_000 {
            audit.record_refused(&viewer, "POST /x", "/x", &"this needs the role admin");
        }
        // A minute may end meanwhile.
        let written = lines(directory.path(), NAME).len();
        assert!((110..=220).contains(&written), "{written}");
        let mut bound = Bound::default();
        let admitted = (0..25).filter(|_| bound.admit(Timestamp(60_000), 10).is_some()).count();
        assert_eq!((admitted, bound.admit(Timestamp(119_999), 10)), (10, None));
        assert_eq!(bound.admit(Timestamp(120_000), 10), Some(16));
    }

    #[test]
    fn a_line_that_cannot_be_written_stops_nobody_and_the_next_one_is() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("later");
        let audit = audit(&place);
        audit.record(&Caller::local(), "a", "b", &Ok::<_, String>(()));
        assert_eq!(audit.lost(), 1);
        fs::create_dir(&place).unwrap();
        audit.record(&Caller::local(), "c", "d", &Ok::<_, String>(()));
        assert_eq!(lines(&place, NAME)[0]["what"], "c");
    }
}
