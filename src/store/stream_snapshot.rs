//! A fixed state of the files of all streams, for a copy at another node.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::backup::StreamPin;
use super::disk::Disk;
use super::format::segment_number;
use super::removal::REMOVED;
use super::stream::{MARK, NAME};
use super::stream_files::StreamFiles;

/// A file of a stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamFile {
    /// The number of the stream.
    pub stream: u32,
    /// The name of the file in its directory.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
}

impl StreamFile {
    /// Whether a stream can have a file of this name that is copied: another node may have sent it.
    pub(super) fn has_valid_name(&self) -> bool {
        segment_number(&self.name).is_some() || [MARK, NAME, REMOVED].contains(&&*self.name)
    }
}

/// The files, of which none is removed or replaced until it is dropped. What is appended meanwhile is not part of it.
pub(super) struct StreamSnapshot {
    disks: BTreeMap<u32, Arc<dyn Disk>>,
    /// In their order.
    files: Vec<StreamFile>,
    _pin: StreamPin,
}

impl StreamSnapshot {
    pub(super) fn new(streams: Arc<StreamFiles>) -> io::Result<Self> {
        let pin = StreamPin::new(Arc::clone(&streams));
        let (mut disks, mut files) = (BTreeMap::new(), Vec::new());
        for stream in (streams.directories.numbers)()? {
            let _opening = streams.opening();
            let open = streams.open_disk(stream);
            let disk = match &open {
                Some(disk) => Arc::clone(disk),
                // One that is not open was removed, or has lost its definition: nobody changes it.
                None => (streams.directories.disk)(stream)?,
            };
            for name in disk.list()? {
                let file = StreamFile { stream, name, bytes: 0 };
                // Who receives a segment reads all of it, and makes its index.
                if file.has_valid_name() {
                    let bytes = disk.open(&file.name)?.size()?;
                    files.push(StreamFile { bytes, ..file });
                }
            }
            if open.is_none() {
                disk.release();
            }
            disks.insert(stream, disk);
        }
        files.sort();
        Ok(Self { disks, files, _pin: pin })
    }

    pub(super) fn files(&self) -> &[StreamFile] {
        &self.files
    }

    pub(super) fn read(&self, (stream, name): (u32, &str), offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let place = self.files.binary_search_by(|file| (file.stream, &*file.name).cmp(&(stream, name)));
        let file = place.ok().and_then(|place| self.files.get(place)).ok_or(io::ErrorKind::NotFound)?;
        let disk = self.disks.get(&stream).ok_or(io::ErrorKind::NotFound)?;
        let length = usize::try_from(file.bytes.saturating_sub(offset)).unwrap_or(usize::MAX).min(length);
        let mut bytes = vec![0; length];
        let read = disk.open(name)?.read_at(offset, &mut bytes)?;
        if read == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}
