//! Bits that change in files while nobody has them open.

use std::fs;
use std::path::{Path, PathBuf};

use crate::rng::Rng;

/// Changes a bit in the file, in the part of it that was written. Returns where.
fn flip(path: &Path, rng: &mut Rng) -> Option<String> {
    let mut bytes = fs::read(path).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0)? + 1;
    let offset = rng.index(written);
    bytes[offset] ^= 1 << rng.below(8);
    fs::write(path, bytes).unwrap();
    Some(format!("byte {offset} of {}", path.display()))
}

/// Changes a bit in the mark, or in some segments, of a log. Returns where.
pub(crate) fn damage_log(log: &Path, rng: &mut Rng) -> Vec<String> {
    if rng.percent(25) {
        return flip(&log.join("mark"), rng).into_iter().collect();
    }
    let segments = files(log, ".seg");
    let count = rng.between(1, 3).min(segments.len() as u64);
    (0..count).filter_map(|_| flip(&segments[rng.index(segments.len())], rng)).collect()
}

/// Changes a bit in each block of the streams of a server of NATS, or in each block of its consensus, too. Returns where.
pub(crate) fn damage_server(store: &Path, rng: &mut Rng) -> Vec<String> {
    let streams = store.join("jetstream/$G");
    let blocks = files(if rng.percent(70) { &streams } else { store }, ".blk");
    blocks.iter().filter_map(|block| flip(block, rng)).collect()
}

/// The files below a directory whose names end like this, in order.
fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}
