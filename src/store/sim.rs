//! A disk in memory for simulations. Depending on a seed, it loses unsynced data and tears the last write; it fails and
//! fills up on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile};

/// A simulated disk that can lose power.
#[derive(Debug, Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

/// What is lost when the machine restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing: only the process ended.
    Process,
    /// Any unsynced pages and sectors, and the last unsynced changes of names.
    Power,
}

struct SimFile {
    disk: SimDisk,
    id: usize,
}

#[derive(Debug, Clone)]
struct State {
    random: u64,
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    stable_names: BTreeMap<String, usize>,
    /// The names after each change since the last sync of names.
    unsynced_names: Vec<BTreeMap<String, usize>>,
    steps: u64,
    fault: Option<(u64, Fault)>,
    is_off: bool,
    lacks_files: bool,
    capacity: u64,
}

#[derive(Debug, Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    stable: Vec<u8>,
    unsynced: BTreeSet<usize>,
    allocated: u64,
}

/// The fault that occurs at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The power fails during the step, and all later steps fail.
    PowerCut,
    /// The step fails once.
    Error(io::ErrorKind),
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        Self::with(
            seed,
            State {
                random: 0,
                files: Vec::new(),
                names: BTreeMap::new(),
                stable_names: BTreeMap::new(),
                unsynced_names: Vec::new(),
                steps: 0,
                fault: None,
                is_off: false,
                lacks_files: false,
                capacity: u64::MAX,
            },
        )
    }

    fn with(seed: u64, state: State) -> Self {
        Self(Arc::new(Mutex::new(State { random: seed, ..state })))
    }

    /// Injects a fault at the `step`th change.
    pub fn set_fault(&self, step: u64, fault: Fault) {
        self.lock().fault = Some((step, fault));
    }

    /// Sets the capacity of all files together, in bytes.
    pub fn set_capacity(&self, capacity: u64) {
        self.lock().capacity = capacity;
    }

    /// Sets whether files can't be opened, because there is no file descriptor left.
    pub fn set_lacks_files(&self, lacks_files: bool) {
        self.lock().lacks_files = lacks_files;
    }

    /// The number of changes so far: writes, syncs, changes of names.
    pub fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// The size of all files together, in bytes.
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// The disk as the next process finds it. The old one fails from now on.
    pub fn restart(&self, seed: u64, loss: Loss) -> Self {
        let mut state = self.lock();
        state.is_off = true;
        let mut random = seed;
        let files = state.files.iter().map(|file| file.after(loss, &mut random)).collect();
        let mut left = State { files, steps: 0, fault: None, is_off: false, lacks_files: false, ..state.clone() };
        if loss == Loss::Power {
            let kept = below(&mut random, left.unsynced_names.len() + 1);
            let last = kept.checked_sub(1).and_then(|at| left.unsynced_names.get(at));
            left.names = last.unwrap_or(&left.stable_names).clone();
            left.stable_names = left.names.clone();
            left.unsynced_names.clear();
        }
        Self::with(random, left)
    }

    /// Another disk with the same contents and unsynced changes, without the fault.
    pub fn copied(&self) -> Self {
        let state = self.lock().clone();
        Self::with(state.random, State { steps: 0, fault: None, ..state })
    }

    /// A directory of the disk.
    pub fn directory(&self, name: &str) -> SimDirectory {
        SimDirectory { disk: self.clone(), prefix: format!("{name}/") }
    }

    /// The contents of a file.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        state.names.get(name).and_then(|id| state.files.get(*id)).map(|file| file.bytes.clone())
    }

    /// Replaces the contents of a file, without faults, and synced.
    pub fn set_bytes(&self, name: &str, bytes: Vec<u8>) {
        let mut state = self.lock();
        state.files.push(Content { stable: bytes.clone(), bytes, ..Content::default() });
        let id = state.files.len() - 1;
        state.names.insert(name.to_owned(), id);
        state.stable_names.insert(name.to_owned(), id);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, id: usize) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.clone(), id })
    }
}

/// A directory of a [`SimDisk`]: a power cut is one of all its directories.
pub struct SimDirectory {
    disk: SimDisk,
    prefix: String,
}

impl SimDirectory {
    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Disk for SimDirectory {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(&self.path(name))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(&self.path(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let names = self.disk.list()?.into_iter();
        Ok(names.filter_map(|name| name.strip_prefix(&self.prefix).map(str::to_owned)).collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(&self.path(from), &self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(&self.path(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.disk.sync_names()
    }

    fn salt(&self) -> io::Result<u64> {
        self.disk.salt()
    }
}

impl Disk for SimDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        state.step()?;
        state.check_files()?;
        state.files.push(Content::default());
        let id = state.files.len() - 1;
        state.names.insert(name.to_owned(), id);
        state.names_changed();
        Ok(self.file(id))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.lock();
        state.check_files()?;
        let id = state.names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        drop(state);
        Ok(self.file(id))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?;
        let id = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), id);
        state.names_changed();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?;
        state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        state.names_changed();
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?;
        state.stable_names = state.names.clone();
        state.unsynced_names.clear();
        Ok(())
    }

    fn salt(&self) -> io::Result<u64> {
        Ok(next(&mut self.lock().random))
    }

    fn free_bytes(&self) -> Option<u64> {
        let state = self.lock();
        Some(state.capacity.saturating_sub(state.used()))
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.lock();
        if let Err(error) = state.step() {
            let part = below(&mut state.random, bytes.len() + 1);
            state.write(self.id, offset, bytes.get(..part).unwrap_or_default());
            return Err(error);
        }
        let allocated = state.files.get(self.id).map_or(0, Content::size);
        let free = state.capacity.saturating_sub(state.used()).saturating_add(allocated);
        let room = usize::try_from(free.saturating_sub(offset)).unwrap_or(usize::MAX);
        state.write(self.id, offset, bytes.get(..room).unwrap_or(bytes));
        if room < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.lock();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = state.files.get(self.id).and_then(|file| file.bytes.get(offset..)).unwrap_or_default();
        let read = bytes.len().min(buffer.len());
        buffer.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Ok(read)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.step()?;
        if let Some(file) = state.files.get_mut(self.id) {
            file.stable.clone_from(&file.bytes);
            file.unsynced.clear();
        }
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.step()?;
        let free = state.capacity.saturating_sub(state.used());
        let Some(file) = state.files.get_mut(self.id) else { return Ok(()) };
        if bytes.saturating_sub(file.size()) > free {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.allocated = file.allocated.max(bytes);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.lock().files.get(self.id).map_or(0, |file| file.bytes.len() as u64))
    }
}

impl State {
    /// Counts a change, and injects the fault if it is due.
    fn step(&mut self) -> io::Result<()> {
        if self.is_off {
            return Err(io::Error::other("there is no power"));
        }
        self.steps += 1;
        match self.fault.take_if(|(step, _)| *step == self.steps) {
            None => Ok(()),
            Some((_, Fault::PowerCut)) => {
                self.is_off = true;
                Err(io::Error::other("the power failed"))
            }
            Some((_, Fault::Error(kind))) => Err(kind.into()),
        }
    }

    fn check_files(&self) -> io::Result<()> {
        if self.lacks_files { Err(rustix::io::Errno::MFILE.into()) } else { Ok(()) }
    }

    fn names_changed(&mut self) {
        self.unsynced_names.push(self.names.clone());
    }

    fn used(&self) -> u64 {
        self.names.values().filter_map(|id| self.files.get(*id)).map(Content::size).sum()
    }

    fn write(&mut self, id: usize, offset: u64, bytes: &[u8]) {
        let Some(file) = self.files.get_mut(id) else { return };
        let Ok(offset) = usize::try_from(offset) else { return };
        let end = offset + bytes.len();
        file.bytes.resize(file.bytes.len().max(end), 0);
        file.bytes.iter_mut().skip(offset).zip(bytes).for_each(|(to, from)| *to = *from);
        file.unsynced.extend(offset / PAGE_BYTES..end.div_ceil(PAGE_BYTES));
    }
}

impl Content {
    fn size(&self) -> u64 {
        self.allocated.max(self.bytes.len() as u64)
    }

    /// The contents that the next process finds.
    fn after(&self, loss: Loss, random: &mut u64) -> Self {
        if loss == Loss::Process {
            return self.clone();
        }
        let mut bytes = self.stable.clone();
        let style = below(random, 4);
        for page in &self.unsynced {
            for sector in 0..PAGE_BYTES / SECTOR_BYTES {
                let is_kept = match style {
                    0 => false,
                    1 => true,
                    2 => below(random, 2) == 0,
                    _ if sector == 0 => below(random, 2) == 0,
                    _ => below(random, 8) > 0,
                };
                let start = page * PAGE_BYTES + sector * SECTOR_BYTES;
                let Some(rest) = self.bytes.get(start..).filter(|rest| is_kept && !rest.is_empty()) else { continue };
                let new = rest.get(..SECTOR_BYTES).unwrap_or(rest);
                bytes.resize(bytes.len().max(start + new.len()), 0);
                bytes.iter_mut().skip(start).zip(new).for_each(|(to, from)| *to = *from);
            }
        }
        Self { stable: bytes.clone(), bytes, unsynced: BTreeSet::new(), allocated: self.allocated }
    }
}

/// The next number of a pseudo-random sequence: a mixed Weyl sequence.
fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*random ^ (*random >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    mixed ^ (mixed >> 32)
}

fn below(random: &mut u64, bound: usize) -> usize {
    let bound = u64::try_from(bound).unwrap_or(u64::MAX);
    usize::try_from(next(random).checked_rem(bound).unwrap_or(0)).unwrap_or(0)
}

const PAGE_BYTES: usize = 4096;
const SECTOR_BYTES: usize = 512;
