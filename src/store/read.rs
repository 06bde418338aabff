//! Reads a single part or body from the disk.

use std::io;
use std::ops::Deref;

use bytes::Bytes;

use super::disk::DiskFile;
use super::entry::{self, AtPlace, Part};
use super::ids::Place;
use super::shared::Shared;
use super::version_1;

/// The body of an entry.
#[derive(Debug)]
pub struct Body<'a> {
    bytes: Source<'a>,
    /// Whether other keys had the same body when the entry was written.
    pub is_shared: bool,
}

#[derive(Debug)]
enum Source<'a> {
    /// A part of a larger read.
    Window(&'a [u8]),
    Alone(Bytes),
}

impl<'a> Body<'a> {
    pub(super) fn in_window(bytes: &'a [u8], is_shared: bool) -> Self {
        Self { bytes: Source::Window(bytes), is_shared }
    }

    pub(super) fn alone(bytes: Bytes, is_shared: bool) -> Self {
        Self { bytes: Source::Alone(bytes), is_shared }
    }

    /// The bytes, if they were read alone, so that keeping them keeps no others in memory.
    pub fn bytes(&self) -> Option<&Bytes> {
        match &self.bytes {
            Source::Window(_) => None,
            Source::Alone(bytes) => Some(bytes),
        }
    }
}

impl Deref for Body<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Source::Window(bytes) => bytes,
            Source::Alone(bytes) => bytes,
        }
    }
}

impl Shared {
    /// Reads the part at a place, or the front of the entry if there is none.
    pub(super) fn read_part(&self, place: Place) -> io::Result<Vec<u8>> {
        read_part(&*self.file(place.segment)?, place)
    }

    /// Reads the body of the entry at a place, and verifies its checksum. A large body that is in memory already is not read again.
    pub(super) fn read_body(&self, place: Place) -> io::Result<Body<'static>> {
        let file = self.file(place.segment)?;
        let mut bytes = Vec::new();
        let share = usize::try_from(place.share).unwrap_or(usize::MAX);
        extend(&*file, place, share.clamp(READ_BYTES_MIN, LARGE_BYTES), &mut bytes)?;
        let length = entry::front_length(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        let is_shared = is_shared(&bytes, place);
        let read = move || {
            extend(&*file, place, length, &mut bytes)?;
            bytes.truncate(length);
            if entry::body(&bytes).is_some() { Ok(bytes) } else { Err(io::ErrorKind::InvalidData.into()) }
        };
        let front = if is_shared && length > LARGE_BYTES {
            self.large.get_or_read(place.position(), read)?
        } else {
            Bytes::from(read()?)
        };
        Ok(Body::alone(front.slice(entry::FRONT_BYTES.min(front.len())..), is_shared))
    }

    /// Reads the body of an entry of format version 1.
    pub(super) fn read_version_1(&self, place: Place) -> io::Result<Bytes> {
        let file = self.file(place.segment)?;
        let mut bytes = Vec::new();
        extend(&*file, place, READ_BYTES_MIN.max(usize::try_from(place.share).unwrap_or(0)), &mut bytes)?;
        let length = version_1::length(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        extend(&*file, place, length, &mut bytes)?;
        bytes.truncate(length);
        let body = version_1::body(&bytes).ok_or(io::ErrorKind::InvalidData)?.len();
        Ok(Bytes::from(bytes).slice(length - body..))
    }
}

fn read_part(file: &dyn DiskFile, place: Place) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    extend(file, place, READ_BYTES_MIN, &mut bytes)?;
    if let Some(AtPlace::Longer(length)) = entry::at_place(&bytes) {
        extend(file, place, length, &mut bytes)?;
    }
    Ok(bytes)
}

/// Reads the part at a place of this segment, and the body of its entry. [`io::ErrorKind::InvalidData`]: they are damaged.
pub(super) fn read_both(file: &dyn DiskFile, place: Place) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let bytes = read_part(file, place)?;
    let (part, entry) = part_at(&bytes, place).ok_or(io::ErrorKind::InvalidData)?;
    let mut front = Vec::new();
    extend(file, entry, READ_BYTES_MIN, &mut front)?;
    let length = entry::front_length(&front).ok_or(io::ErrorKind::InvalidData)?;
    extend(file, entry, length, &mut front)?;
    front.truncate(length);
    let body = entry::body(&front).ok_or(io::ErrorKind::InvalidData)?;
    Ok((part.to_vec(), body.to_vec()))
}

/// The part at the start of `bytes`, and the place of its entry; `None` if it is damaged or incomplete.
pub(super) fn part_at(bytes: &[u8], place: Place) -> Option<(&[u8], Place)> {
    match entry::at_place(bytes)? {
        AtPlace::Entry => Some((&[], place)),
        AtPlace::Part(Part { distance, value }) => {
            Some((value, Place { offset: place.offset.checked_sub(distance)?, ..place }))
        }
        AtPlace::Longer(_) => None,
    }
}

/// Whether an entry had several keys, of which each has this share of its bytes.
pub(super) fn is_shared(front: &[u8], Place { share, .. }: Place) -> bool {
    entry::length(front).is_some_and(|length| length / 2 >= usize::try_from(share).unwrap_or(usize::MAX))
}

/// Reads on until there are so many bytes from a place, or the end of the file.
fn extend(file: &dyn DiskFile, place: Place, length: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    let (read, offset) = (bytes.len(), u64::from(place.offset));
    if length <= read {
        return Ok(());
    }
    // A damaged length allocates no more than the file has.
    let left = if length > LARGE_BYTES { file.size()?.saturating_sub(offset) } else { u64::MAX };
    let length = length.min(usize::try_from(left).unwrap_or(usize::MAX)).max(read);
    bytes.resize(length, 0);
    let filled = file.read_at(offset + read as u64, bytes.get_mut(read..).unwrap_or_default())?;
    bytes.truncate(read + filled);
    Ok(())
}

/// Enough for most messages in a single read, in bytes.
const READ_BYTES_MIN: usize = 512;

/// Bodies of more bytes are shared by their readers. Smaller ones are shared by the caller, who can keep them decoded.
const LARGE_BYTES: usize = 16 << 10;
