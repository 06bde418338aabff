//! A disk whose reads are watched, or fail.

use std::io;

use super::super::super::disk::DiskFile;
use super::*;

/// See above.
pub(super) struct Watched {
    disk: SimDisk,
    on_read: Arc<OnRead>,
}

/// Gets the offset and the number of the bytes that were read.
pub(super) type OnRead = dyn Fn(u64, usize) -> io::Result<()> + Send + Sync;

struct WatchedFile {
    file: Arc<dyn DiskFile>,
    on_read: Arc<OnRead>,
}

impl Watched {
    pub(super) fn new(
        disk: &SimDisk,
        on_read: impl Fn(u64, usize) -> io::Result<()> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { disk: disk.clone(), on_read: Arc::new(on_read) })
    }

    fn watched(&self, file: io::Result<Arc<dyn DiskFile>>) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(WatchedFile { file: file?, on_read: Arc::clone(&self.on_read) }))
    }
}

impl Disk for Watched {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.watched(self.disk.create(name))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.watched(self.disk.open(name))
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

impl DiskFile for WatchedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(offset, buffer)?;
        (self.on_read)(offset, read)?;
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
