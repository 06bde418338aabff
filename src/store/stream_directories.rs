//! Where the files of streams are.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use super::disk::{Directory, Disk};

/// Opens the directory of the stream with this number.
pub type StreamDisk = dyn Fn(u32) -> io::Result<Arc<dyn Disk>> + Send + Sync;

/// The numbers of the streams that have a directory, in ascending order.
pub type StreamNumbers = dyn Fn() -> io::Result<Vec<u32>> + Send + Sync;

/// The directories of streams.
pub(super) struct StreamDirectories {
    pub(super) disk: Box<StreamDisk>,
    pub(super) numbers: Box<StreamNumbers>,
}

impl StreamDirectories {
    /// Those of the store in a directory. `patience`: how long to wait for the end of who has one open.
    pub(super) fn below(directory: &Path, patience: Duration) -> Self {
        let (streams, listed) = (directory.join(STREAMS), directory.join(STREAMS));
        let disk: Box<StreamDisk> = Box::new(move |number| {
            let disk = Directory::open_within(&streams.join(number.to_string()), patience);
            Ok(Arc::new(disk.map_err(io::Error::other)?))
        });
        Self { disk, numbers: Box::new(move || numbers_in(&listed)) }
    }

    /// Those of a store that has none.
    pub(super) fn none() -> Self {
        Self { disk: Box::new(|_| Err(io::ErrorKind::Unsupported.into())), numbers: Box::new(|| Ok(Vec::new())) }
    }
}

/// The numbers of the streams with a directory in this one, in ascending order.
pub(super) fn numbers_in(directory: &Path) -> io::Result<Vec<u32>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names = names.collect::<io::Result<Vec<String>>>()?;
    let number = |name: &String| name.parse().ok().filter(|number: &u32| number.to_string() == *name);
    let mut numbers: Vec<u32> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The directory with those of the streams, in that of the store.
pub(super) const STREAMS: &str = "streams";
