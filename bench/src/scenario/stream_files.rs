//! The files of a broker's streams, and the page cache.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::fs::{Advice, fadvise};

use crate::clock;

/// The files with the messages of a stream.
#[derive(Debug)]
pub(super) struct StreamFiles(Vec<File>);

impl StreamFiles {
    /// The files in the directories in which the broker has a file of a stream open.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).with_context(|| format!("no process {pid}"))?;
        let open = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let mut directories: Vec<PathBuf> = open
            .filter(|file| is_segment(file) && file.components().any(|part| part.as_os_str() == STREAMS))
            .filter_map(|file| Some(file.parent()?.to_owned()))
            .collect();
        directories.sort();
        directories.dedup();
        let mut files = Vec::new();
        for directory in directories {
            for entry in fs::read_dir(directory)? {
                let path = entry?.path();
                if is_segment(&path) {
                    files.push(File::open(path)?);
                }
            }
        }
        if files.is_empty() {
            anyhow::bail!("process {pid} has no file of a stream open");
        }
        Ok(Self(files))
    }

    /// Removes the files from the page cache.
    pub(super) fn drop_from_cache(&self) -> Result<()> {
        for file in &self.0 {
            // Pages that are not written yet would stay.
            file.sync_data()?;
            fadvise(file, 0, None, Advice::DontNeed)?;
        }
        Ok(())
    }

    /// Reads all files from the disk, and returns the MiB in a second.
    pub(super) fn read_all(&self) -> Result<f64> {
        self.drop_from_cache()?;
        let started = clock::now();
        let (mut buffer, mut bytes) = (vec![0; BLOCK], 0);
        for mut file in &self.0 {
            loop {
                let read = file.read(&mut buffer)?;
                if read == 0 {
                    break;
                }
                bytes += read;
            }
        }
        Ok(bytes as f64 / 1_048_576.0 / (clock::now() - started).as_secs_f64().max(1e-9))
    }
}

fn is_segment(file: &std::path::Path) -> bool {
    file.extension().is_some_and(|extension| extension == "seg")
}

const STREAMS: &str = "streams";
const BLOCK: usize = 256 << 10;
