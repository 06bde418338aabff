use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use smallvec::SmallVec;

use super::disk::{Directory, Disk};
use super::entry::Decoded;
use super::error::OpenError;
use super::format::segment_name;
use super::index::Index;
use super::keys::{Key, Keys};
use super::reader::SegmentReader;
use super::recovery::{self, Scan};
use super::report::Report;
use super::upgrade::LogReader;

/// Takes an entry: its body, and its puts with their parts.
type Visitor<'a, E> = dyn FnMut(&[u8], &[Key], &[&[u8]]) -> Result<(), E> + 'a;

/// The live entries of a log that no other process has open. It can be read more than once, and nobody else opens it meanwhile.
pub struct LiveLog {
    disk: Arc<dyn Disk>,
    scan: Scan,
}

impl LiveLog {
    /// Reads the whole log, without changing it.
    ///
    /// # Errors
    /// The log is in use, is damaged, or is none; or the operating system returned an error.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        if !directory.is_dir() {
            return Err(OpenError::NoStore { directory: directory.to_owned() });
        }
        let disk: Arc<dyn Disk> = Arc::new(Directory::open(directory)?);
        let scan = recovery::scan(&*disk, &|_, _| (), &mut |_| ())?;
        if let Some(first) = scan.report.damages.first() {
            return Err(OpenError::Damaged { count: scan.report.damages.len(), first: first.clone() });
        }
        if scan.report.segments == 0 {
            return Err(OpenError::NoStore { directory: directory.to_owned() });
        }
        Ok(Self { disk, scan })
    }

    /// What the log has.
    pub fn report(&self) -> &Report {
        &self.scan.report
    }

    /// Passes each live entry to `visitor`, in the order of the log: its body, and those of its puts that are live, with their parts. Each live key comes once.
    ///
    /// # Errors
    /// Those of `visitor`; [`io::Error`]: the log cannot be read again.
    pub fn read<E: From<io::Error>>(&self, visitor: &mut Visitor<'_, E>) -> Result<(), E> {
        let Scan { index, segments, .. } = &self.scan;
        let live: HashMap<u32, u64> = index.segments().map(|(segment, usage)| (segment, usage.live_keys)).collect();
        for (at, header) in segments.iter().enumerate() {
            let mut left = live.get(&header.number).copied().unwrap_or_default();
            if left == 0 {
                continue;
            }
            let next = segments.get(at + 1).map(|next| next.first_sequence);
            let file = self.disk.open(&segment_name(header.number))?;
            let mut reader = LogReader::new(SegmentReader::new(*header, file)?, next);
            while let Some(found) = reader.next() {
                for (offset, entry) in found.entries() {
                    let (puts, parts) = live_puts(index, (header.number, offset), &entry);
                    if !puts.is_empty() {
                        left = left.saturating_sub(puts.len() as u64);
                        visitor(entry.body, &puts, &parts)?;
                    }
                }
            }
            if left > 0 {
                let text = format!("{} cannot be read again", segment_name(header.number));
                return Err(io::Error::new(io::ErrorKind::InvalidData, text).into());
            }
        }
        Ok(())
    }
}

/// Those puts of an entry that are live, with their parts.
fn live_puts<'a>(index: &Index, (segment, offset): (u32, u32), entry: &Decoded<'a>) -> (Keys, SmallVec<[&'a [u8]; 4]>) {
    let is_live = |put, key| {
        let current = index.get(key).map(|place| (place.segment, place.offset));
        current == Some((segment, offset.saturating_add(entry.distance(put))))
    };
    let live = entry.puts.iter().enumerate().filter(|(put, key)| is_live(*put, **key));
    live.map(|(put, key)| (*key, entry.part(put))).unzip()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::{Entry, Hooks, Level, NewLog, Options, Room, Store};
    use super::*;

    type Found = BTreeMap<Key, (Vec<u8>, Vec<u8>)>;

    /// Each live key with its body and its part. Those without a body of their own come in one entry.
    fn read(log: &LiveLog) -> Found {
        let mut found = Found::new();
        let read = log.read(&mut |body, puts, parts| {
            for (key, part) in puts.iter().zip(parts) {
                assert_eq!(found.insert(*key, (body.to_vec(), part.to_vec())), None, "{key:?} comes twice");
            }
            Ok::<_, io::Error>(())
        });
        read.unwrap();
        found
    }

    fn any_keys() -> impl Strategy<Value = Vec<Key>> {
        let key = (0..3_u64, 0..2_u8, 0..6_u64).prop_map(|(group, kind, id)| Key { group, kind, id });
        prop::collection::btree_set(key, 0..6).prop_map(|keys| keys.into_iter().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_live_keys_come_once_with_what_they_have_and_a_new_log_has_them(
            changes in prop::collection::vec((any_keys(), any_keys(), prop::option::weighted(0.2, 0..3_u64), 0..2_usize), 0..30),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let (from, to) = (directory.path().join("from"), directory.path().join("to"));
            let options = Options { level: Level::Crash, segment_bytes: 4096, ..Options::default() };
            let (store, _) = Store::open(&from, &options, Hooks::default(), &mut |_| ()).unwrap();
            let mut model = Found::new();
            for (number, (puts, deletes, ends, part)) in (1..).zip(&changes) {
                let (body, parts) = (vec![7; usize::try_from(number).unwrap() * 100], vec![&b"part"[..*part * 4]; puts.len()]);
                let (level, room, ends) = (Level::Crash, Room::Ordinary, *ends);
                store.append(0, number, &Entry { body: &body, puts, parts: &parts, deletes, ends, level, room }).unwrap();
                model.retain(|key, _| Some(key.group) != ends && !deletes.contains(key));
                model.extend(puts.iter().map(|key| (*key, (body.clone(), parts[0].to_vec()))));
            }
            store.close();
            prop_assert_eq!(store.poisoned(), None);
            drop(store);
            let log = LiveLog::open(&from).unwrap();
            prop_assert_eq!(&read(&log), &model);
            prop_assert_eq!(log.report().keys, model.len() as u64);
            let is_locked = matches!(LiveLog::open(&from), Err(OpenError::Locked { .. }));
            prop_assert!(is_locked);
            let mut new = NewLog::create(&to, &options).unwrap();
            log.read(&mut |body, puts, parts| new.append(body, puts, parts)).unwrap();
            new.commit().unwrap();
            drop(new);
            prop_assert_eq!(&read(&LiveLog::open(&to).unwrap()), &model);
        }
    }

    #[test]
    fn a_log_of_version_1_is_read_and_a_damaged_or_missing_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let segment = include_bytes!("tests/version-1.seg");
        std::fs::write(directory.path().join("0000000001.seg"), segment).unwrap();
        assert_eq!(read(&LiveLog::open(directory.path()).unwrap()).len(), 2);
        std::fs::write(directory.path().join("0000000002.seg"), "no segment").unwrap();
        assert!(matches!(LiveLog::open(directory.path()), Err(OpenError::Damaged { .. })));
        assert!(matches!(LiveLog::open(&directory.path().join("none")), Err(OpenError::NoStore { .. })));
        std::fs::create_dir(directory.path().join("empty")).unwrap();
        assert!(matches!(LiveLog::open(&directory.path().join("empty")), Err(OpenError::NoStore { .. })));
    }
}
