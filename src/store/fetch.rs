//! Reads many bodies at once.

use std::io;

use super::Store;
use super::entry::{self, Key};
use super::ids::Place;
use super::shared::Shared;

/// A requested key.
#[derive(Clone, Copy)]
struct Wanted {
    key: Key,
    place: Option<Place>,
    /// Whether the key still had the same place after the window was read.
    is_current: bool,
}

/// The bytes of a segment that one read returned.
#[derive(Default)]
struct Window {
    segment: u32,
    start: u64,
    bytes: Vec<u8>,
}

impl Store {
    /// Passes the body of each key to `visitor`, in the order of the keys; `None` if there is none, or its entry is not
    /// stable. Entries that are close together in the log, such as those of a queue, are read at once.
    pub fn read_each(&self, keys: &[Key], mut visitor: impl FnMut(Key, io::Result<Option<&[u8]>>)) {
        // All places are looked up before the first read, so a window doesn't have entries that are written later.
        let mut wanted: Vec<Wanted> = {
            let log = self.shared.log();
            keys.iter().map(|&key| Wanted { key, place: log.index.get(key), is_current: false }).collect()
        };
        let mut window = Window::default();
        let mut rest = wanted.as_mut_slice();
        while let Some(&mut Wanted { key, place, .. }) = rest.first_mut() {
            match place {
                None => visitor(key, Ok(None)),
                Some(place) => {
                    if !window.contains(place) {
                        // Bodies that the window lacks, or that are damaged in it, are read again individually.
                        let _ = window.read(&self.shared, place, rest);
                        self.recheck_places(&window, rest);
                    }
                    let body = window.body(place).filter(|_| rest.first().is_some_and(|wanted| wanted.is_current));
                    match body.map_or_else(|| self.read(key), |_| Ok(None)) {
                        Ok(alone) => visitor(key, Ok(body.or(alone.as_deref()))),
                        Err(error) => visitor(key, Err(error)),
                    }
                }
            }
            rest = rest.split_first_mut().map(|(_, rest)| rest).unwrap_or_default();
        }
    }

    /// A key that still has the same place proves that its segment wasn't freed and overwritten before the window was
    /// read.
    fn recheck_places(&self, window: &Window, wanted: &mut [Wanted]) {
        let log = self.shared.log();
        for wanted in wanted {
            let Some(place) = wanted.place else { continue };
            if !window.contains(place) {
                break;
            }
            wanted.is_current = log.index.get(wanted.key) == Some(place);
        }
    }
}

impl Window {
    fn contains(&self, place: Place) -> bool {
        let end = self.start + self.bytes.len() as u64;
        place.segment == self.segment && (self.start..end).contains(&u64::from(place.offset))
    }

    /// Reads from a place to the last of the following places that are close enough.
    fn read(&mut self, shared: &Shared, first: Place, run: &[Wanted]) -> io::Result<()> {
        self.bytes.clear();
        let start = u64::from(first.offset);
        let mut end = start;
        for place in run.iter().filter_map(|wanted| wanted.place) {
            let offset = u64::from(place.offset);
            let reach = offset + u64::from(place.share).max(ENTRY_BYTES);
            let follows = place.segment == first.segment && offset >= start && offset <= end + GAP_BYTES_MAX;
            if !follows || reach - start > WINDOW_BYTES {
                break;
            }
            end = end.max(reach);
        }
        let length = usize::try_from(end - start).unwrap_or(0);
        let file = shared.file(first.segment)?;
        self.bytes.resize(length, 0);
        let filled = file.read_at(start, &mut self.bytes).inspect_err(|_| self.bytes.clear())?;
        self.bytes.truncate(filled);
        (self.segment, self.start) = (first.segment, start);
        Ok(())
    }

    /// The body of the entry at a place, if it is complete and intact.
    fn body(&self, place: Place) -> Option<&[u8]> {
        if !self.contains(place) {
            return None;
        }
        let from = usize::try_from(u64::from(place.offset) - self.start).ok()?;
        let rest = self.bytes.get(from..)?;
        let bytes = rest.get(..entry::length(rest)?)?;
        if !entry::is_intact(bytes) {
            return None;
        }
        entry::body(bytes)
    }
}

/// Maximum number of bytes of one read.
const WINDOW_BYTES: u64 = if cfg!(test) { 600 } else { 256 << 10 };
/// Up to this many bytes between two entries are read too, because that is cheaper than a second read.
const GAP_BYTES_MAX: u64 = 16 << 10;
/// The assumed length of an entry of unknown length, in bytes.
const ENTRY_BYTES: u64 = 128;
