use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::*;
use crate::broker::{Owner, Record, Recovered};
use crate::server::{claim_cells, inspect_store};
use crate::store::{Entry, Hooks, Key, Level, Room, Store};

const TERMS: SplitTerms = SplitTerms { cells: 3, drops_receipts: false };

fn request(data: &Path) -> SplitRequest {
    let options = Options { segment_bytes: 64 << 10, ..Options::default() };
    SplitRequest { data: data.to_owned(), terms: TERMS, is_last_owner: false, options }
}

/// A data directory with the log of a broker that had some Sessions, each with a subscription.
fn data() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    append(data.path(), &(1..=20).flat_map(session).collect::<Vec<_>>());
    data
}

fn session(number: u64) -> [Record; 2] {
    let key = crate::routing::SessionKey(number);
    let opened = Record::SessionOpened {
        key,
        client_id: format!("client {number}").into(),
        owner: Owner::Anonymous,
        session_expiry_interval: u32::MAX,
        will: None,
    };
    [opened, Record::OutboundReleased { key, sequence: number, is_of_link: false }]
}

fn append(data: &Path, records: &[Record]) {
    let options = Options { level: Level::Crash, ..request(data).options };
    let (store, _) = Store::open(&store_directory(data), &options, Hooks::default(), &mut |_| ()).unwrap();
    for (ticket, record) in (1..).zip(records) {
        let bytes = record.to_bytes();
        let (body, puts, deletes, parts) =
            (&bytes.body, &keys(&bytes.puts), &keys(&bytes.deletes), &bytes.parts.list());
        let (ends, level, room) = (bytes.ends, Level::Crash, Room::Ordinary);
        store.append(0, ticket, &Entry { body, puts, parts, deletes, ends, level, room }).unwrap();
    }
    store.close();
    assert_eq!(store.poisoned(), None);
}

fn sessions(recovered: &Recovered) -> BTreeSet<String> {
    recovered.sessions.iter().map(|session| format!("{session:?}")).collect()
}

fn recovered(log: &Path) -> BTreeSet<String> {
    let (report, recovered) = inspect_store(log).unwrap();
    assert!(report.damages.is_empty());
    sessions(&recovered)
}

/// What all cells have.
fn of_cells(data: &Path) -> BTreeSet<String> {
    let logs = (0..3).map(|cell| store_directory(&CellTerms::data(data, CellId(cell))));
    let cells: Vec<_> = logs.map(|log| recovered(&log)).collect();
    let all: BTreeSet<_> = cells.iter().flatten().cloned().collect();
    assert_eq!(all.len(), cells.iter().map(BTreeSet::len).sum::<usize>(), "a Session is in two cells");
    assert!(cells.iter().all(|cell| !cell.is_empty()), "{:?}", cells.iter().map(BTreeSet::len).collect::<Vec<_>>());
    all
}

#[test]
fn an_end_at_any_step_leaves_the_log_or_all_logs_of_the_cells_and_another_call_does_the_rest() {
    let mut steps = 0;
    loop {
        let data = data();
        let before = recovered(&store_directory(data.path()));
        let mut left = steps;
        let ended = catch_unwind(AssertUnwindSafe(|| {
            split(&request(data.path()), &mut || {
                left -= 1;
                if left < 0 {
                    resume_unwind(Box::new("the end"));
                }
            })
        }));
        let is_split = claim_cells(data.path(), 3).is_ok();
        if is_split {
            assert_eq!(of_cells(data.path()), before);
        } else {
            assert_eq!(recovered(&store_directory(data.path())), before);
            claim_cells(data.path(), 1).unwrap();
        }
        if let Ok(ended) = ended {
            assert_eq!(ended.unwrap().cells.len(), 3);
            assert!(is_split && !store_directory(data.path()).exists());
            break;
        }
        let report = split_store(&request(data.path())).unwrap();
        assert_eq!(report.cells.is_empty(), is_split);
        claim_cells(data.path(), 3).unwrap();
        assert_eq!(of_cells(data.path()), before);
        assert_eq!(recovered(&report.kept), before, "the log is kept");
        let names: BTreeSet<_> = fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["cells".into(), "log.before-split".into()].into());
        steps += 1;
    }
    assert!(steps > 8, "{steps}");
}

#[test]
fn the_report_says_what_the_cells_have_and_another_call_is_refused() {
    let data = data();
    let report = split_store(&request(data.path())).unwrap();
    let sessions: usize = report.cells.iter().map(|cell| cell.sessions).sum();
    let queued: usize = report.cells.iter().map(|cell| cell.queued).sum();
    assert_eq!((sessions, queued, report.retained), (20, 20, 0));
    for cells in [3, 4] {
        let again = SplitRequest { terms: SplitTerms { cells, ..TERMS }, ..request(data.path()) };
        let error = split_store(&again).unwrap_err();
        assert_eq!(error.to_string(), "the data directory has the logs of 3 cells");
    }
}

#[test]
fn what_cannot_be_split_is_left_as_it_was() {
    let data = data();
    let before = recovered(&store_directory(data.path()));
    let refuses = |request: &SplitRequest, words: &str| {
        let error = split_store(request).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        let names: Vec<_> = fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["log"]);
    };
    let options = Options { segment_bytes: 1 << 50, ..Options::default() };
    refuses(&SplitRequest { options, ..request(data.path()) }, "need up to");
    // A running broker has it open, and so has another call, whose logs are not removed.
    let (store, _) =
        Store::open(&store_directory(data.path()), &Options::default(), Hooks::default(), &mut |_| ()).unwrap();
    refuses(&request(data.path()), "is in use");
    let later = [Key { group: 1, kind: 200, id: 1 }];
    let (level, room) = (Level::PowerLoss, Room::Ordinary);
    store.append(0, 1, &Entry { body: b"", puts: &later, parts: &[], deletes: &[], ends: None, level, room }).unwrap();
    store.close();
    drop(store);
    refuses(&request(data.path()), "records of a later version (kinds: [200])");
    assert_eq!(recovered(&store_directory(data.path())), before);
    let log = store_directory(data.path());
    fs::create_dir_all(log.join("streams/1")).unwrap();
    refuses(&request(data.path()), "it has streams");
    fs::remove_dir_all(log.join("streams")).unwrap();
    fs::write(log.join("mark"), "").unwrap();
    refuses(&request(data.path()), "only that of the node that was the owner last has all messages");
    fs::write(log.join("0000000009.seg"), "no segment").unwrap();
    refuses(&SplitRequest { is_last_owner: true, ..request(data.path()) }, "damaged regions");
}
