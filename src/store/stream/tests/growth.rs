//! What opening reads, and what the index takes, with 1, 10 and 100 times the messages.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::super::disk::DiskFile;
use super::*;

/// A disk that counts the bytes that are read.
struct Counting {
    disk: SimDisk,
    read: Arc<AtomicU64>,
}

struct CountingFile {
    file: Arc<dyn DiskFile>,
    read: Arc<AtomicU64>,
}

impl Counting {
    fn counted(&self, file: io::Result<Arc<dyn DiskFile>>) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(CountingFile { file: file?, read: Arc::clone(&self.read) }))
    }
}

impl Disk for Counting {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.counted(self.disk.create(name))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.counted(self.disk.open(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.disk.sync_names()
    }

    fn salt(&self) -> io::Result<u64> {
        self.disk.salt()
    }
}

impl DiskFile for CountingFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(offset, buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.file.allocate(bytes)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
}

#[test]
fn opening_reads_one_segment_and_the_indexes_and_the_index_is_small() {
    let options = StreamOptions { segment_bytes: 1 << 20, ..small() };
    let disk = SimDisk::new(1);
    let (mut log, _) = open_with(&disk, &options);
    for times in [1, 10, 100] {
        while log.reader().bytes() < times << 20 {
            append(&mut log, &vec![(1, vec![7; 1000]); 50]).unwrap();
        }
        drop(log);
        let read = Arc::<AtomicU64>::default();
        let counting = Counting { disk: disk.clone(), read: Arc::clone(&read) };
        let (again, opened) = StreamLog::open(Arc::new(counting), &options).unwrap();
        let (bytes, read) = (again.reader().bytes(), read.load(Ordering::Relaxed));
        assert_eq!(opened.scanned, 1);
        // The last segment, and for each other one its header and its index.
        let segments = opened.segments as u64;
        assert!(read <= (1 << 20) + segments * (64 + 150 + 17 * 16), "{read} bytes of {bytes}");
        let index = again.shared.with(|segments| segments.index_bytes()) as u64;
        assert!(index <= bytes / 4096 + segments * 16, "{index} bytes for {bytes}");
        log = again;
    }
}

#[test]
fn finding_a_message_reads_little() {
    let read = Arc::<AtomicU64>::default();
    let counting = Counting { disk: SimDisk::new(1), read: Arc::clone(&read) };
    let options = StreamOptions { segment_bytes: 1 << 20, ..small() };
    let (mut log, _) = StreamLog::open(Arc::new(counting), &options).unwrap();
    for time in 0..400 {
        append(&mut log, &vec![(time, vec![7; 1000]); 20]).unwrap();
    }
    for sequence in (1..log.next()).step_by(377) {
        let reader = log.reader();
        read.store(0, Ordering::Relaxed);
        reader.read(sequence, 1000, &mut |_| ControlFlow::Break(())).unwrap();
        assert!(read.load(Ordering::Relaxed) <= 200_000, "{read:?} bytes for one message");
        read.store(0, Ordering::Relaxed);
        reader.sequence_at(sequence / 20).unwrap();
        assert!(read.load(Ordering::Relaxed) <= 2 * 262_144, "{read:?} bytes for a time");
    }
}
