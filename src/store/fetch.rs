//! Reads what was stored under keys: many at once, each at a cost that does not depend on the other keys of its entry.

use std::io;

use bytes::Bytes;

use super::Store;
use super::entry;
use super::ids::{Place, Position};
use super::keys::Key;
use super::read::{Body, is_shared, part_at};
use super::shared::Shared;
use super::version_1;

/// A key, and where it was when it was looked up.
#[derive(Debug, Clone, Copy)]
pub struct Located {
    /// The key.
    pub key: Key,
    place: Option<Place>,
    /// Whether the key still had the same place after the window was read.
    is_current: bool,
}

/// What is stored under a key.
#[derive(Debug)]
pub struct Found<'a> {
    /// The part of the key, whose checksum is right; empty if it has none, which is not verified before the body is.
    pub part: &'a [u8],
    /// The position of its entry.
    pub entry: Position,
    source: Source<'a>,
}

/// Where the body is.
#[derive(Debug)]
enum Source<'a> {
    /// The front of the entry at a place, and its body.
    Front(&'a [u8], Place),
    /// The body of an entry of format version 1.
    Verified(&'a [u8]),
    VerifiedAlone(&'a Bytes),
    /// On the disk, in the entry at the second place. The key has the first one.
    Disk(&'a Shared, Key, Place, Place),
}

/// The bytes of a segment that one read returned.
#[derive(Default)]
struct Window {
    segment: u32,
    start: u64,
    bytes: Vec<u8>,
}

impl Located {
    /// The position of the key's part, or of its entry if it has no part; `None` if there is no such key, or its entry is not stable.
    pub fn position(&self) -> Option<Position> {
        self.place.map(Place::position)
    }
}

impl<'a> Found<'a> {
    /// The body of the entry. Unless it was read with the part, it is read now. An error of kind [`io::ErrorKind::Interrupted`] says that the key was
    /// moved or deleted meanwhile.
    pub fn body(&self) -> io::Result<Body<'a>> {
        match self.source {
            Source::Front(front, place) => {
                let body = entry::body(front).ok_or(io::ErrorKind::InvalidData)?;
                Ok(Body::in_window(body, is_shared(front, place)))
            }
            Source::Verified(body) => Ok(Body::in_window(body, false)),
            Source::VerifiedAlone(body) => Ok(Body::alone(body.clone(), false)),
            Source::Disk(shared, key, place, entry) => {
                let body = shared.read_body(entry);
                if shared.is_at(key, place) { body } else { Err(io::ErrorKind::Interrupted.into()) }
            }
        }
    }
}

impl Store {
    /// Looks keys up.
    pub fn locate(&self, keys: impl Iterator<Item = Key>) -> Vec<Located> {
        let log = self.shared.log();
        keys.map(|key| Located { key, place: log.index.get(key), is_current: false }).collect()
    }

    /// Reads what is stored under a key from the disk, and passes it to `visitor`; `None` if there is none, or its entry is not stable. `visitor` is
    /// called again if it returns an error because the key was moved.
    pub fn read_key<T>(&self, key: Key, visitor: impl FnMut(Found<'_>) -> io::Result<T>) -> io::Result<Option<T>> {
        self.shared.read_key(key, visitor)
    }

    /// Passes what is stored under each key to `visitor`, in the order of the keys; `None` if there is nothing. Entries that are close
    /// together in the log, such as those of a queue, are read at once. All keys are looked up before the first read, so no read has entries
    /// that are written later.
    pub fn read_each(&self, located: &mut [Located], mut visitor: impl FnMut(Located, io::Result<Option<Found<'_>>>)) {
        let mut window = Window::default();
        let mut rest = located;
        while let Some(&mut located) = rest.first_mut() {
            match located.place {
                None => visitor(located, Ok(None)),
                Some(place) => {
                    if !window.contains(place) {
                        let _ = window.read(&self.shared, place, rest);
                        self.recheck_places(&window, rest);
                    }
                    let found = window.find(place, self.shared.first_current);
                    match found.filter(|_| rest.first().is_some_and(|located| located.is_current)) {
                        Some(found) => visitor(located, Ok(Some(found))),
                        // What the window lacks, or what is damaged in it, is read again individually.
                        None => match self.read_key(located.key, |found| {
                            visitor(located, Ok(Some(found)));
                            Ok(())
                        }) {
                            Ok(Some(())) => {}
                            Ok(None) => visitor(located, Ok(None)),
                            Err(error) => visitor(located, Err(error)),
                        },
                    }
                }
            }
            rest = rest.split_first_mut().map(|(_, rest)| rest).unwrap_or_default();
        }
    }

    /// A key that still has the same place proves that its segment wasn't freed and overwritten before the window was
    /// read.
    fn recheck_places(&self, window: &Window, located: &mut [Located]) {
        let log = self.shared.log();
        for located in located {
            let Some(place) = located.place else { continue };
            if !window.contains(place) {
                break;
            }
            located.is_current = log.index.get(located.key) == Some(place);
        }
    }
}

impl Shared {
    pub(super) fn read_key<T>(
        &self,
        key: Key,
        mut visitor: impl FnMut(Found<'_>) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        loop {
            let Some(place) = self.log().index.get(key) else { return Ok(None) };
            match self.read_place(key, place, &mut visitor) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.map(Some),
            }
        }
    }

    fn read_place<T>(
        &self,
        key: Key,
        place: Place,
        visitor: &mut impl FnMut(Found<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        let entry = place.position();
        let is_version_1 = place.segment < self.first_current;
        let read = if is_version_1 { self.read_version_1(place) } else { self.read_part(place).map(Bytes::from) };
        // If the key still has this place, its segment wasn't freed and overwritten meanwhile.
        if !self.is_at(key, place) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let bytes = read?;
        if is_version_1 {
            return visitor(Found { part: &[], entry, source: Source::VerifiedAlone(&bytes) });
        }
        let (part, entry) = part_at(&bytes, place).ok_or(io::ErrorKind::InvalidData)?;
        visitor(Found { part, entry: entry.position(), source: Source::Disk(self, key, place, entry) })
    }

    fn is_at(&self, key: Key, place: Place) -> bool {
        self.log().index.get(key) == Some(place)
    }
}

impl Window {
    fn contains(&self, place: Place) -> bool {
        let end = self.start + self.bytes.len() as u64;
        place.segment == self.segment && (self.start..end).contains(&u64::from(place.offset))
    }

    /// Reads from a place, and the body that may be in front of it, to the last of the following places that are close enough.
    fn read(&mut self, shared: &Shared, first: Place, run: &[Located]) -> io::Result<()> {
        self.bytes.clear();
        let offset = u64::from(first.offset);
        let start = offset.saturating_sub(u64::from(first.share).max(ENTRY_BYTES));
        let mut end = offset;
        for place in run.iter().filter_map(|located| located.place) {
            let offset = u64::from(place.offset);
            let reach = offset + u64::from(place.share).max(ENTRY_BYTES);
            let follows = place.segment == first.segment && offset >= start && offset <= end + GAP_BYTES_MAX;
            if !follows || reach - start > WINDOW_BYTES {
                break;
            }
            end = end.max(reach);
        }
        if end == offset {
            return Ok(()); // an entry that is larger than a window
        }
        let length = usize::try_from(end - start).unwrap_or(0);
        let file = shared.file(first.segment)?;
        self.bytes.resize(length, 0);
        let filled = file.read_at(start, &mut self.bytes).inspect_err(|_| self.bytes.clear())?;
        self.bytes.truncate(filled);
        (self.segment, self.start) = (first.segment, start);
        Ok(())
    }

    /// What is stored at a place, if the window has its part, which is intact, and its body.
    fn find(&self, place: Place, first_current: u32) -> Option<Found<'_>> {
        if !self.contains(place) {
            return None;
        }
        let from = |place: Place| {
            let from = u64::from(place.offset).checked_sub(self.start)?;
            self.bytes.get(usize::try_from(from).ok()?..)
        };
        if place.segment < first_current {
            let source = Source::Verified(version_1::body(from(place)?)?);
            return Some(Found { part: &[], entry: place.position(), source });
        }
        let (part, entry) = part_at(from(place)?, place)?;
        let front = from(entry)?;
        let front = front.get(..entry::front_length(front)?)?;
        Some(Found { part, entry: entry.position(), source: Source::Front(front, entry) })
    }
}

/// Maximum number of bytes of one read.
const WINDOW_BYTES: u64 = if cfg!(test) { 1200 } else { 256 << 10 };
/// Up to this many bytes between two entries are read too, because that is cheaper than a second read.
const GAP_BYTES_MAX: u64 = 16 << 10;
/// The assumed length of an entry of unknown length, in bytes.
const ENTRY_BYTES: u64 = 256;
