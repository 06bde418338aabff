//! Simulates power loss for the real binary. It runs under `strace`, which records its writes and syncs. After a kill,
//! the directory is rebuilt from its state at the start and the recorded calls, without some unsynced writes.
//!
//! Only file contents are lost: created, renamed and removed files stay so.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::broker::DATA;
use crate::rng::Rng;

/// The disk of a broker.
pub(crate) struct PowerLoss {
    directory: PathBuf,
}

/// A system call that changed a file.
#[derive(Debug)]
enum Call {
    Open { path: PathBuf, truncate: bool },
    Write { file: usize, path: PathBuf, offset: u64, bytes: Vec<u8>, is_stable: bool },
    Allocate { path: PathBuf, size: u64 },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
}

/// The result of parsing the trace.
#[derive(Debug, Default)]
struct Trace {
    calls: Vec<Call>,
    /// The beginning of each thread's unfinished call, and the number of calls that had finished before.
    begun: HashMap<String, (String, usize)>,
    /// The file behind each descriptor.
    files: HashMap<u32, PathBuf>,
    /// The file with a name, independent of earlier names.
    names: HashMap<PathBuf, usize>,
    opened: usize,
}

impl PowerLoss {
    pub(crate) fn new(directory: &Path) -> Self {
        fs::create_dir_all(directory.join(DATA)).unwrap();
        Self { directory: directory.to_owned() }
    }

    /// Starts `binary` as a child of this process, and attaches `strace`.
    pub(crate) fn command(&self, binary: &Path) -> Command {
        let before = self.directory.join(BEFORE);
        drop(fs::remove_dir_all(&before));
        copy(&self.directory.join(DATA), &before);
        let trace = self.directory.join(TRACE);
        drop(fs::remove_file(&trace));
        let mut command = Command::new("strace");
        command.args(["-D", "-f", "-q", "-xx", "-s", "100000000", "--seccomp-bpf", "-e", CALLS, "-o"]).arg(trace);
        command.arg(binary);
        command
    }

    /// Waits until `strace` is attached; a broker that is killed before has written no data, and the trace lacks its
    /// exit.
    pub(crate) fn await_start(&self) {
        let trace = self.directory.join(TRACE);
        while fs::metadata(&trace).map_or(0, |metadata| metadata.len()) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Applies power loss to the broker that was process `id`.
    pub(crate) fn apply_power_loss(&self, id: u32, rng: &mut Rng) {
        let text = self.trace(id);
        let mut trace = Trace::default();
        for line in text.lines() {
            trace.line(line);
        }
        let data = self.directory.join(DATA);
        fs::rename(&data, self.directory.join(AFTER)).unwrap();
        copy(&self.directory.join(BEFORE), &data);
        for call in &trace.calls {
            call.apply(&data, rng);
        }
        fs::remove_dir_all(self.directory.join(AFTER)).unwrap();
    }

    /// Waits until the trace is complete.
    fn trace(&self, id: u32) -> String {
        let end = format!("{id} +++ killed by SIGKILL +++");
        for _ in 0..2_000 {
            let text = fs::read_to_string(self.directory.join(TRACE)).unwrap_or_default();
            if text.lines().rev().take(20).any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") == end) {
                return text;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("the trace lacks the exit of process {id}");
    }
}

impl Trace {
    /// Parses a line: `THREAD CALL(ARGUMENTS) = RESULT`. A call may span two lines.
    fn line(&mut self, line: &str) {
        let Some((thread, rest)) = line.split_once(' ') else { return };
        let rest = rest.trim_start();
        if let Some(beginning) = rest.strip_suffix("<unfinished ...>") {
            self.begun.insert(thread.to_owned(), (beginning.to_owned(), self.calls.len()));
        } else if let Some((_, ending)) = rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            let (beginning, begun_at) = self.begun.remove(thread).unwrap();
            self.call(&format!("{beginning}{ending}"), begun_at);
        } else {
            self.call(rest, self.calls.len());
        }
    }

    /// Handles a finished call. A sync covers the writes that had finished when it began.
    fn call(&mut self, text: &str, begun_at: usize) {
        let Some((name, rest)) = text.split_once('(') else { return };
        let Some((arguments, result)) = rest.rsplit_once(") = ").or_else(|| rest.rsplit_once(')')) else { return };
        let result = result.trim_start_matches([' ', '=']).split(' ').next().unwrap();
        let Ok(result) = result.parse::<u32>() else { return };
        let arguments: Vec<&str> = arguments.split(", ").collect();
        let number = |place: usize| arguments[place].trim().parse::<u64>().unwrap();
        let file = || self.files.get(&u32::try_from(number(0)).unwrap()).cloned();
        match name {
            "openat" => {
                let path = path(arguments[1]);
                self.files.insert(result, path.clone());
                self.opened += 1;
                self.names.entry(path.clone()).or_insert(self.opened);
                if arguments[2].contains("O_CREAT") {
                    self.calls.push(Call::Open { path, truncate: arguments[2].contains("O_TRUNC") });
                }
            }
            "pwrite64" => {
                let bytes = bytes(arguments[1])[..usize::try_from(result).unwrap()].to_vec();
                let path = file().unwrap();
                let file = self.names[&path];
                self.calls.push(Call::Write { file, path, offset: number(3), bytes, is_stable: false });
            }
            "fdatasync" | "fsync" => {
                let Some(synced) = file().and_then(|path| self.names.get(&path).copied()) else { return };
                for call in &mut self.calls[..begun_at] {
                    if let Call::Write { file, is_stable, .. } = call {
                        *is_stable |= *file == synced;
                    }
                }
            }
            "fallocate" => self.calls.push(Call::Allocate { path: file().unwrap(), size: number(2) + number(3) }),
            "rename" => self.rename(path(arguments[0]), path(arguments[1])),
            "unlink" => self.calls.push(Call::Remove { path: path(arguments[0]) }),
            _ => panic!("unexpected call {name} in the trace"),
        }
    }

    /// An open file stays open under its new name.
    fn rename(&mut self, from: PathBuf, to: PathBuf) {
        for path in self.files.values_mut().filter(|path| **path == from) {
            path.clone_from(&to);
        }
        if let Some(file) = self.names.remove(&from) {
            self.names.insert(to.clone(), file);
        }
        self.calls.push(Call::Rename { from, to });
    }
}

impl Call {
    /// Repeats the calls below `data`; a write that wasn't synced may be lost or torn.
    fn apply(&self, data: &Path, rng: &mut Rng) {
        let place = |path: &Path| within(path).map(|path| data.join(path));
        match self {
            Self::Open { path, truncate } => {
                let Some(path) = place(path) else { return };
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                OpenOptions::new().write(true).create(true).truncate(*truncate).open(path).unwrap();
            }
            Self::Write { path, offset, bytes, is_stable, .. } => {
                let Some(path) = place(path) else { return };
                let file = OpenOptions::new().write(true).open(path).unwrap();
                let keeps = [100, 0, 50][rng.index(3)];
                let mut offset = *offset;
                for page in bytes.chunks(PAGE) {
                    if *is_stable || rng.percent(keeps) {
                        file.write_all_at(page, offset).unwrap();
                    }
                    offset += page.len() as u64;
                }
            }
            Self::Allocate { path, size } => {
                let Some(path) = place(path) else { return };
                let file = OpenOptions::new().write(true).open(path).unwrap();
                file.set_len(file.metadata().unwrap().len().max(*size)).unwrap();
            }
            Self::Rename { from, to } => {
                let (Some(from), Some(to)) = (place(from), place(to)) else { return };
                fs::rename(from, to).unwrap();
            }
            Self::Remove { path } => {
                let Some(path) = place(path) else { return };
                fs::remove_file(path).unwrap();
            }
        }
    }
}

/// The part of a path below the data directory.
fn within(path: &Path) -> Option<PathBuf> {
    let mut parts = path.components().skip_while(|part| part.as_os_str() != DATA);
    parts.next()?;
    Some(parts.collect())
}

/// Parses a path in strace's notation.
fn path(text: &str) -> PathBuf {
    PathBuf::from(String::from_utf8(bytes(text)).unwrap())
}

/// `"\x6f\x6e"`
fn bytes(text: &str) -> Vec<u8> {
    let digits = text.trim().trim_matches('"').split("\\x").skip(1);
    digits.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// Copies a directory, with holes for zeros.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
            continue;
        }
        if !entry.file_type().unwrap().is_file() {
            continue; // the socket for operators
        }
        let content = fs::read(entry.path()).unwrap();
        let file = File::create(target).unwrap();
        file.set_len(content.len() as u64).unwrap();
        for (offset, page) in (0..).step_by(PAGE).zip(content.chunks(PAGE)) {
            if page.iter().any(|byte| *byte != 0) {
                file.write_all_at(page, offset).unwrap();
            }
        }
    }
}

/// A trace of a segment that was created under another name, synced once, and written again.
#[test]
fn a_write_that_was_not_synced_is_lost() {
    let mut trace = Trace::default();
    let lines = [
        r#"71 openat(AT_FDCWD, "\x2f\x64\x61\x74\x61\x2f\x6e\x65\x77", O_RDWR|O_CREAT|O_TRUNC|O_CLOEXEC, 0666) = 5"#,
        r#"71 pwrite64(5, "\x61", 1, 0) = 1"#,
        r#"71 rename("\x2f\x64\x61\x74\x61\x2f\x6e\x65\x77", "\x2f\x64\x61\x74\x61\x2f\x31") = 0"#,
        r#"72 fdatasync(5 <unfinished ...>"#,
        r#"71 pwrite64(5, "\x62\x2c\x20\x29", 4, 1) = 4"#,
        r#"72 <... fdatasync resumed>)          = 0"#,
        r#"71 pwrite64(5, "\x63", 1, 9 <unfinished ...>"#,
        r#"71 <... pwrite64 resumed>)           = ?"#,
        r#"71 +++ killed by SIGKILL +++"#,
    ];
    for line in lines {
        trace.line(line);
    }
    let writes = trace.calls.iter().filter_map(|call| match call {
        Call::Write { offset, bytes, is_stable, .. } => Some((*offset, &bytes[..], *is_stable)),
        Call::Open { .. } | Call::Allocate { .. } | Call::Rename { .. } | Call::Remove { .. } => None,
    });
    assert_eq!(writes.collect::<Vec<_>>(), [(0, &b"a"[..], true), (1, &b"b, )"[..], false)]);

    let directory = tempfile::tempdir().unwrap();
    let mut found = std::collections::BTreeSet::new();
    for seed in 0..30 {
        trace.calls.iter().for_each(|call| call.apply(directory.path(), &mut Rng(seed)));
        found.insert(fs::read(directory.path().join("1")).unwrap());
        fs::remove_file(directory.path().join("1")).unwrap();
    }
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [b"a".to_vec(), b"ab, )".to_vec()]);
}

const CALLS: &str = "trace=openat,pwrite64,fdatasync,fsync,fallocate,rename,unlink";
/// The unit that the disk writes atomically, in bytes.
const PAGE: usize = 512;
/// The data at the last start.
const BEFORE: &str = "before";
/// The data as the process left it.
const AFTER: &str = "after";
const TRACE: &str = "trace";
