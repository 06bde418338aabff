//! How a commit waits for more entries. Whether it does is tested in `pace.rs`.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::pace::Gathering;
use super::pending::PendingEntries;
use super::*;

const FOR_THREE: Gathering = Gathering { patience: Duration::from_secs(3_600), awaited: 3 };

/// Starts to wait, and tells when it has ended.
fn waiting(pending: &Arc<PendingEntries>, wait: fn(&PendingEntries)) -> Receiver<()> {
    let (tell, told) = channel();
    let pending = Arc::clone(pending);
    thread::spawn(move || {
        wait(&pending);
        tell.send(()).unwrap();
    });
    told
}

fn gather(pending: &Arc<PendingEntries>) -> Receiver<()> {
    waiting(pending, |pending| pending.gather(FOR_THREE))
}

fn ends(told: &Receiver<()>, within_ms: u64) -> bool {
    told.recv_timeout(Duration::from_millis(within_ms)).is_ok()
}

#[test]
fn a_reader_that_waits_hurries_messages_of_streams_and_no_other_entries() {
    let pending = Arc::new(PendingEntries::new(Level::PowerLoss, 1 << 20));
    pending.set_next_number(1 << 63, 1);
    let append = |ticket, numbered: &[Numbered<'_>]| {
        pending.append((0, ticket, Urgency::Unawaited), &Change::put(ticket, b"x").entry(), numbered).unwrap();
        pending.announce(Urgency::Unawaited);
    };
    append(1, &[]);
    pending.hurry_streams();
    assert!(!pending.is_urgent(), "the commit of others alone is too expensive");
    append(2, &[Numbered { group: 1 << 63, part: &[] }]);
    assert!(!pending.is_urgent());
    pending.hurry_streams();
    assert!(pending.is_urgent());
}

#[test]
fn a_commit_waits_until_enough_awaited_entries_are_announced_or_the_store_is_closed() {
    let pending = Arc::new(PendingEntries::new(Level::PowerLoss, 1 << 20));
    pending.gather(FOR_THREE); // nothing is awaited
    pending.announce(Urgency::Awaited);
    pending.gather(Gathering { patience: Duration::from_millis(1), ..FOR_THREE });
    let told = gather(&pending);
    for urgency in [Urgency::Unawaited, Urgency::Awaited] {
        assert!(!ends(&told, 50));
        pending.announce(urgency);
    }
    assert!(!ends(&told, 50));
    pending.announce(Urgency::Awaited);
    assert!(ends(&told, 10_000));
    pending.gather(FOR_THREE); // enough is there
    assert_eq!((pending.awaited(), pending.take().awaited, pending.awaited()), (3, 3, 0));

    pending.announce(Urgency::Awaited);
    let told = gather(&pending);
    assert!(!ends(&told, 50));
    pending.close();
    assert!(ends(&told, 10_000));
}

#[test]
fn a_commit_of_a_replicated_log_waits_for_the_gap_for_many_bytes_or_for_the_end() {
    let pending = Arc::new(PendingEntries::new(Level::PowerLoss, 1 << 20));
    let append = |ticket, bytes: usize| {
        pending.append((0, ticket, Urgency::Awaited), &Change::put(ticket, &vec![7; bytes]).entry(), &[]).unwrap();
        pending.announce(Urgency::Awaited);
    };
    let accumulate = || waiting(&pending, |pending| pending.accumulate(Duration::from_secs(3_600)));
    assert!(ends(&accumulate(), 10_000), "nothing is pending");
    append(1, 1);
    pending.accumulate(Duration::from_millis(1));

    let told = accumulate();
    for ticket in 2..100 {
        append(ticket, 1);
    }
    assert!(!ends(&told, 50), "a hundred small entries");
    append(100, 64 << 10);
    assert!(ends(&told, 10_000));
    assert!(ends(&accumulate(), 10_000), "enough is there");

    pending.take();
    append(101, 1);
    let told = accumulate();
    assert!(!ends(&told, 50));
    pending.close();
    assert!(ends(&told, 10_000));
}
