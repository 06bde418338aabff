//! Micro-benchmarks of the files of a stream: appending, and reading from the page cache.
#![expect(clippy::unwrap_used, reason = "a failed setup must abort the benchmark")]

use std::ops::ControlFlow;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use oncemq::store::{StreamLog, StreamMessage, StreamOptions, StreamReader};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for together in [1, 10, 100] {
        let directory = tempfile::tempdir().unwrap();
        let mut log = open(directory.path());
        let mut group = criterion.benchmark_group("stream");
        group.throughput(Throughput::Elements(together));
        group.bench_function(BenchmarkId::new("append", together), |bencher| {
            bencher.iter(|| append(&mut log, together));
        });
        while log.next() <= MESSAGES {
            append(&mut log, together);
        }
        let reader = log.reader();
        let mut from = reader.oldest();
        group.throughput(Throughput::Elements(CHUNK));
        group.bench_function(BenchmarkId::new("read", together), |bencher| {
            bencher.iter(|| from = read(&reader, from));
        });
        group.finish();
    }
    criterion.final_summary();
}

fn open(directory: &std::path::Path) -> StreamLog {
    StreamLog::open_directory(directory, &StreamOptions::new(1), Duration::ZERO).unwrap().0
}

/// Appends messages that arrived together.
fn append(log: &mut StreamLog, together: u64) {
    let messages: Vec<_> = (log.next()..log.next() + together)
        .map(|sequence| StreamMessage { sequence, timestamp: 1_700_000_000_000, body: &BODY })
        .collect();
    log.append(&messages).unwrap();
}

/// Reads a chunk of messages, from the start again after the end.
fn read(reader: &StreamReader, mut from: u64) -> u64 {
    let mut left = CHUNK;
    while left > 0 {
        let before = from;
        from = reader
            .read(from, 1 << 20, &mut |message| {
                assert_eq!(message.body.len(), BODY.len());
                left -= 1;
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .unwrap();
        if from == before {
            from = reader.oldest();
        }
    }
    from
}

/// The size of a record with a payload of 64 bytes.
const BODY: [u8; 128] = [7; 128];
/// About 300 MB.
const MESSAGES: u64 = 2_000_000;
const CHUNK: u64 = 10_000;
