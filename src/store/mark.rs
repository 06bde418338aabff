//! The mark of a replicated log: how much of it is what every copy has.
//!
//! Two slots of one file are written in turn, so a torn write leaves the mark before it, and neither needs space on a full disk nor changes a name.
//! A slot that became unreadable counts as torn. Therefore whoever depends on a mark being on the disk asks for [`MarkFile::both`].

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::disk::{Directory, Disk, DiskFile};
use super::error::OpenError;
use super::format::{u32_at, u64_at};
use super::reader::read_what_can_be_read;
use super::report::Damage;

/// Where a copy of a replicated log stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The log below this sequence is what every copy has there. It is the sequence behind a batch.
    pub sequence: u64,
    /// What the replication needs to go on from there, at most 512 bytes. The store doesn't interpret it.
    pub state: Vec<u8>,
}

/// The file with the mark.
pub(super) struct MarkFile {
    file: Arc<dyn DiskFile>,
    mark: Mark,
    generation: u64,
    /// The slot of the mark.
    slot: usize,
    /// The sequence of the mark in the other slot; 0 if it has none.
    before: u64,
}

impl MarkFile {
    /// Opens the file; `None`: there is none, so the log is not replicated.
    pub(super) fn open(disk: &dyn Disk) -> Result<Option<Self>, OpenError> {
        let file = match disk.open(NAME) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = vec![0; 2 * SLOT_BYTES];
        let filled = read_what_can_be_read(&*file, 0, &mut bytes);
        bytes.truncate(filled);
        let of_slot = |slot: usize| bytes.get(slot * SLOT_BYTES..).unwrap_or_default();
        if let Some(version) =
            [0, 1].into_iter().filter_map(|slot| version(of_slot(slot))).max().filter(|version| *version > VERSION)
        {
            return Err(OpenError::NewerMark { version });
        }
        let slots = [0, 1].map(|slot| decode(of_slot(slot)));
        let (slot, Some((generation, mark)), other) = (match slots {
            [first, second] if generation(&first) >= generation(&second) => (0, first, second),
            [first, second] => (1, second, first),
        }) else {
            let damage =
                Damage { name: NAME.to_owned(), from: 0, to: filled as u64, entries: None, quarantined_as: None };
            return Err(OpenError::Damaged { count: 1, first: damage });
        };
        Ok(Some(Self { file, mark, generation, slot, before: other.map_or(0, |(_, mark)| mark.sequence) }))
    }

    /// Creates the file. It is stable when this returns.
    pub(super) fn create(disk: &dyn Disk, mark: &Mark) -> io::Result<Self> {
        check(mark)?;
        let write = || {
            let file = disk.create(NEW)?;
            let mut bytes = encode(1, mark);
            bytes.resize(2 * SLOT_BYTES, 0);
            file.write_at(0, &bytes)?;
            file.sync()?;
            disk.rename(NEW, NAME)?;
            Ok(file)
        };
        let file = write().inspect_err(|_: &io::Error| {
            // If removing fails, the next attempt overwrites the file.
            let _ = disk.remove(NEW);
        })?;
        disk.sync_names()?;
        Ok(Self { file, mark: mark.clone(), generation: 1, slot: 0, before: 0 })
    }

    /// Replaces the mark. It is stable when this returns. After an error, one of the two is, and it can be tried again.
    pub(super) fn write(&mut self, mark: &Mark) -> io::Result<()> {
        check(mark)?;
        if mark.sequence < self.mark.sequence {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a mark must not go back"));
        }
        if *mark == self.mark && self.before == mark.sequence {
            return Ok(());
        }
        let (slot, generation) = (1 - self.slot, self.generation + 1);
        self.file.write_at((slot * SLOT_BYTES) as u64, &encode(generation, mark))?;
        self.file.sync()?;
        self.before = self.mark.sequence;
        (self.mark, self.slot, self.generation) = (mark.clone(), slot, generation);
        Ok(())
    }

    /// The latest mark that is stable.
    pub(super) fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Both slots have this sequence or a higher one, so the log is never cut below it.
    pub(super) fn both(&self) -> u64 {
        self.before.min(self.mark.sequence)
    }
}

/// Removes the mark, before the log changes without it: a cut to a mark of earlier times would remove what came later.
pub(super) fn forget(disk: &dyn Disk) -> io::Result<()> {
    let names = disk.list()?;
    for name in names.iter().filter(|name| [NAME, NEW].contains(&name.as_str())) {
        disk.remove(name)?;
        disk.sync_names()?;
    }
    Ok(())
}

/// Makes a copy of a replicated log one that was never replicated: as it is, also above its mark.
///
/// # Errors
/// [`OpenError::Locked`]: it is in use. Otherwise the operating system returned an error.
pub fn forget_mark(directory: &Path) -> Result<(), OpenError> {
    let disk = Directory::open(directory)?;
    Ok(forget(&disk)?)
}

/// Whether the log in a directory is a copy of a replicated one.
pub fn is_copy(directory: &Path) -> bool {
    directory.join(NAME).exists()
}

/// The same on a disk of a simulation.
#[cfg(any(test, feature = "sim"))]
pub(super) fn is_copy_on(disk: &dyn Disk) -> bool {
    disk.open(NAME).is_ok()
}

fn check(mark: &Mark) -> io::Result<()> {
    if mark.state.len() > STATE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the state of a mark is too long"));
    }
    Ok(())
}

fn generation(slot: &Option<(u64, Mark)>) -> u64 {
    slot.as_ref().map_or(0, |(generation, _)| *generation)
}

fn encode(generation: u64, mark: &Mark) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SLOT_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&generation.to_le_bytes());
    bytes.extend_from_slice(&mark.sequence.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(mark.state.len()).unwrap_or(0).to_le_bytes());
    bytes.extend_from_slice(&mark.state);
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// The generation and the mark of a slot; `None` if it has none, or a torn one.
fn decode(bytes: &[u8]) -> Option<(u64, Mark)> {
    if version(bytes)? != VERSION {
        return None;
    }
    let length = usize::try_from(u32_at(bytes, 32)?).ok().filter(|length| *length <= STATE_BYTES_MAX)?;
    let end = STATE_AT + length;
    if crc32c::crc32c(bytes.get(..end)?) != u32_at(bytes, end)? {
        return None;
    }
    let state = bytes.get(STATE_AT..end)?.to_vec();
    Some((u64_at(bytes, 16)?, Mark { sequence: u64_at(bytes, 24)?, state }))
}

/// The format version of a slot, also a later one.
fn version(bytes: &[u8]) -> Option<u32> {
    if bytes.get(..8)? != MAGIC || crc32c::crc32c(bytes.get(..12)?) != u32_at(bytes, 12)? {
        return None;
    }
    u32_at(bytes, 8)
}

/// The name of the file.
pub(super) const NAME: &str = "mark";

/// The name of the file while it is created.
pub(super) const NEW: &str = "mark.new";

const MAGIC: &[u8; 8] = b"OnceMk\r\n";

const VERSION: u32 = 1;

/// Each slot is in a page of its own.
const SLOT_BYTES: usize = 4096;

const STATE_AT: usize = 36;

const STATE_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::super::sim::{Fault, Loss, SimDisk};
    use super::*;

    fn mark(sequence: u64) -> Mark {
        Mark { sequence, state: vec![u8::try_from(sequence).unwrap(); 500] }
    }

    fn read(disk: &SimDisk) -> Option<MarkFile> {
        MarkFile::open(disk).unwrap()
    }

    #[test]
    fn a_mark_is_the_last_stable_one_or_the_one_that_was_being_written_after_a_power_cut_at_every_step() {
        for seed in 0..40 {
            let mut step = 0;
            loop {
                step += 1;
                let disk = SimDisk::new(seed);
                disk.set_fault(step, Fault::PowerCut);
                let mut stable = None;
                let ended = MarkFile::create(&disk, &mark(1)).and_then(|mut file| {
                    stable = Some(1);
                    for sequence in 2..6 {
                        file.write(&mark(sequence))?;
                        stable = Some(sequence);
                    }
                    Ok(())
                });
                let found = read(&disk.restart(seed, Loss::Power)).map(|file| file.mark().clone());
                let next = stable.map_or(1, |stable| stable + 1);
                assert!(found == stable.map(mark) || found == Some(mark(next)), "seed {seed}, step {step}: {found:?}");
                if ended.is_ok() {
                    break;
                }
            }
            assert!(step > 12);
        }
    }

    #[test]
    fn a_changed_bit_leaves_a_mark_that_both_slots_had_or_an_error() {
        let disk = SimDisk::new(1);
        let mut file = MarkFile::create(&disk, &mark(5)).unwrap();
        assert_eq!(file.both(), 0);
        file.write(&mark(7)).unwrap();
        assert_eq!(file.both(), 5);
        let bytes = disk.bytes(NAME).unwrap();
        for bit in (0..540 * 8).chain(4096 * 8..(4096 + 540) * 8) {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let disk = SimDisk::new(1);
            disk.set_bytes(NAME, changed);
            let found = read(&disk).unwrap();
            let expected = if bit < 4096 * 8 { mark(7) } else { mark(5) };
            assert_eq!((found.mark(), found.both()), (&expected, 0), "bit {bit}");
        }
        disk.set_bytes(NAME, vec![0; 8192]);
        assert!(matches!(MarkFile::open(&disk), Err(OpenError::Damaged { .. })));
        let mut newer = bytes.clone();
        newer[8] = 9;
        let crc = crc32c::crc32c(&newer[..12]);
        newer[12..16].copy_from_slice(&crc.to_le_bytes());
        newer.truncate(4096);
        disk.set_bytes(NAME, newer);
        assert!(matches!(MarkFile::open(&disk), Err(OpenError::NewerMark { version: 9, .. })));
    }

    #[test]
    fn a_mark_does_not_go_back_and_the_same_one_is_written_until_both_slots_have_it() {
        let disk = SimDisk::new(1);
        let mut file = MarkFile::create(&disk, &mark(5)).unwrap();
        assert!(file.write(&mark(4)).is_err());
        assert!(file.write(&Mark { state: vec![0; 513], ..mark(6) }).is_err());
        file.write(&mark(5)).unwrap();
        assert_eq!(file.both(), 5);
        let steps = disk.steps();
        file.write(&mark(5)).unwrap();
        assert_eq!(disk.steps(), steps);
    }

    #[test]
    fn a_failed_write_leaves_the_mark_before_it_and_can_be_tried_again() {
        for failing in 1..=2 {
            let disk = SimDisk::new(1);
            let mut file = MarkFile::create(&disk, &mark(5)).unwrap();
            file.write(&mark(6)).unwrap();
            disk.set_fault(disk.steps() + failing, Fault::Error(io::ErrorKind::StorageFull));
            assert!(file.write(&mark(7)).is_err());
            assert_eq!((file.mark(), file.both()), (&mark(6), 5));
            file.write(&mark(8)).unwrap();
            assert_eq!((file.mark(), file.both()), (&mark(8), 6));
            assert_eq!(read(&disk.restart(1, Loss::Power)).unwrap().mark(), &mark(8));
        }
    }
}
