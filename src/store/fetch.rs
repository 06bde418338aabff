//! Reading many bodies at once.

use std::io;

use super::Store;
use super::entry::{self, Key};
use super::ids::Place;
use super::shared::Shared;

/// A key on its way to its body.
#[derive(Clone, Copy)]
struct Wanted {
    key: Key,
    place: Option<Place>,
    /// Whether it was still there after the window was read that holds it.
    is_there: bool,
}

/// What one read brought of a segment.
#[derive(Default)]
struct Window {
    segment: u32,
    start: u64,
    bytes: Vec<u8>,
}

impl Store {
    /// Shows the visitor the body that each key has, in the order of the keys; `None` if it has none, or what put it is not
    /// stable. What stands near each other in the log, as a queue does, is read at once.
    pub fn read_each(&self, keys: &[Key], mut visitor: impl FnMut(Key, io::Result<Option<&[u8]>>)) {
        // All of them before the first read: what a window holds of an entry that is written later is not that entry.
        let mut wanted: Vec<Wanted> = {
            let log = self.shared.log();
            keys.iter().map(|&key| Wanted { key, place: log.index.get(key), is_there: false }).collect()
        };
        let mut window = Window::default();
        let mut rest = wanted.as_mut_slice();
        while let Some(&mut Wanted { key, place, .. }) = rest.first_mut() {
            match place {
                None => visitor(key, Ok(None)),
                Some(place) => {
                    if !window.holds(place) {
                        // What it doesn't bring, or brings damaged, is read once more by itself.
                        let _ = window.read(&self.shared, place, rest);
                        self.look_again(&window, rest);
                    }
                    let body = window.body(place).filter(|_| rest.first().is_some_and(|wanted| wanted.is_there));
                    match body.map_or_else(|| self.read(key), |_| Ok(None)) {
                        Ok(alone) => visitor(key, Ok(body.or(alone.as_deref()))),
                        Err(error) => visitor(key, Err(error)),
                    }
                }
            }
            rest = rest.split_first_mut().map(|(_, rest)| rest).unwrap_or_default();
        }
    }

    /// What still stands where it did, can't have been freed and overwritten before the window was read.
    fn look_again(&self, window: &Window, wanted: &mut [Wanted]) {
        let log = self.shared.log();
        for wanted in wanted {
            let Some(place) = wanted.place else { continue };
            if !window.holds(place) {
                break;
            }
            wanted.is_there = log.index.get(wanted.key) == Some(place);
        }
    }
}

impl Window {
    fn holds(&self, place: Place) -> bool {
        let end = self.start + self.bytes.len() as u64;
        place.segment == self.segment && (self.start..end).contains(&u64::from(place.offset))
    }

    /// Reads from a place as far as the places behind it follow closely.
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

    /// The body of the entry at a place, if all of it is here and intact.
    fn body(&self, place: Place) -> Option<&[u8]> {
        if !self.holds(place) {
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

/// What one read brings at the most.
const WINDOW_BYTES: u64 = if cfg!(test) { 600 } else { 256 << 10 };
/// What lies between two entries is read with them up to here: it costs less than another read.
const GAP_BYTES_MAX: u64 = 16 << 10;
/// What is taken for an entry's length where less is known.
const ENTRY_BYTES: u64 = 128;
