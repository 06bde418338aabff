//! Micro-benchmarks of appending to the store, and of waiting until entries are stable.
#![expect(clippy::unwrap_used, reason = "a failed setup must abort the benchmark")]

use std::sync::mpsc::{Receiver, sync_channel};

use criterion::{BenchmarkId, Criterion, Throughput};
use oncemq::store::{Entry, Hooks, Key, Level, Options, Room, Store};
use tempfile::TempDir;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("stable");
    for (level, name) in [(Level::None, "none"), (Level::Crash, "crash"), (Level::PowerLoss, "power-loss")] {
        for together in [1, 1_000] {
            let mut log = Log::open(level);
            group.throughput(Throughput::Elements(together));
            group.bench_function(BenchmarkId::new(name, together), |bencher| {
                bencher.iter(|| log.take_and_drop(together))
            });
        }
    }
    group.finish();
    criterion.final_summary();
}

/// A store in its own directory, and the tickets it reports stable.
struct Log {
    store: Store,
    stable: Receiver<u64>,
    level: Level,
    ticket: u64,
    _directory: TempDir,
}

impl Log {
    fn open(level: Level) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (sender, stable) = sync_channel(1_024);
        let hooks = Hooks {
            on_stable: Box::new(move |_, ticket| {
                // The receiver is gone when the store is closed.
                let _ = sender.send(ticket);
            }),
            ..Hooks::default()
        };
        let options = Options { level, ..Options::default() };
        let (store, _) = Store::open(directory.path(), &options, hooks, &mut |_| {}).unwrap();
        Self { store, level, stable, ticket: 0, _directory: directory }
    }

    /// Appends messages, each of which deletes the previous one, and waits until all are stable.
    fn take_and_drop(&mut self, messages: u64) {
        for _ in 0..messages {
            let key = |id| Key { group: 1, kind: 1, id };
            let deletes = [key(self.ticket)];
            self.ticket += 1;
            let puts = [key(self.ticket)];
            let entry = Entry {
                body: &BODY,
                puts: &puts,
                parts: &[],
                deletes: &deletes,
                ends: None,
                level: self.level,
                room: Room::Ordinary,
            };
            self.store.append(0, self.ticket, &entry).unwrap();
        }
        while self.stable.recv().unwrap() < self.ticket {}
    }
}

/// The size of a record with a payload of 64 bytes.
const BODY: [u8; 128] = [7; 128];
