//! Writes to the files of a stream what only the log has.

use std::io;
use std::sync::Arc;

use super::backlog::timestamp;
use super::keys::{Key, NUMBERED};
use super::shared::Shared;
use super::stream::{StreamLog, StreamMessage, StreamOpened};

/// What was done when a stream was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamRecovered {
    /// What was found in its files.
    pub opened: StreamOpened,
    /// Messages that the log had and the files of the stream had not.
    pub rewritten: u64,
    /// Sequences whose messages are lost, because both were damaged.
    pub lost: u64,
}

/// A log that has messages of streams.
pub(super) trait Messages {
    /// The messages of a stream that the log has, from a sequence on, in ascending order.
    fn numbered_from(&self, group: u64, from: u64) -> Vec<u64>;

    /// The timestamp and the body of one of them; `None`: it is not there, or damaged.
    fn numbered(&self, group: u64, id: u64) -> io::Result<Option<(u64, Vec<u8>)>>;
}

/// Writes the messages to a stream that only the log has, and whose numbers are below another one.
pub(super) fn rewrite(
    messages: &impl Messages,
    (group, below): (u64, u64),
    log: &mut StreamLog,
    recovered: &mut StreamRecovered,
) -> io::Result<()> {
    let mut ids = messages.numbered_from(group, log.next());
    ids.truncate(ids.partition_point(|id| *id < below));
    let mut rest = &ids[..];
    while !rest.is_empty() {
        let (mut read, mut bytes) = (Vec::<(u64, u64, Vec<u8>)>::new(), 0);
        while let [id, behind @ ..] = rest
            && read.len() < REWRITTEN_MAX
            && bytes < REWRITTEN_BYTES_MAX
        {
            if let Some((timestamp, body)) = messages.numbered(group, *id)? {
                bytes += body.len();
                read.push((*id, timestamp, body));
            }
            rest = behind;
        }
        for run in read.chunk_by(|one, next| one.0 + 1 == next.0) {
            let first = run.first().map_or(log.next(), |message| message.0);
            let lost = first - log.next();
            log.skip_to(first)?;
            recovered.lost += lost;
            let run: Vec<_> = run
                .iter()
                .map(|(sequence, timestamp, body)| StreamMessage { sequence: *sequence, timestamp: *timestamp, body })
                .collect();
            log.append(&run)?;
            recovered.rewritten += run.len() as u64;
        }
    }
    // The messages of damaged entries at the end are lost, but not their numbers.
    if let Some(last) = ids.last().filter(|last| **last >= log.next()) {
        let lost = last + 1 - log.next();
        log.skip_to(last + 1)?;
        recovered.lost += lost;
    }
    Ok(())
}

impl Messages for Shared {
    fn numbered_from(&self, group: u64, from: u64) -> Vec<u64> {
        let ids = self.log().index.ids(group, NUMBERED);
        ids.into_iter().filter(|id| *id >= from).collect()
    }

    fn numbered(&self, group: u64, id: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
        let key = Key { group, kind: NUMBERED, id };
        let read = self.read_key(key, |found| Ok((timestamp(found.part), found.body()?.to_vec())));
        match read {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            read => read,
        }
    }
}

impl Shared {
    /// The last message of a stream that the log has.
    pub(super) fn last_numbered(&self, group: u64) -> Option<u64> {
        self.log().index.ids(group, NUMBERED).last().copied()
    }

    /// How many messages of a stream are lost from a sequence on, because the files do not have them, and the log cannot read them.
    pub(super) fn lost_from(&self, group: u64, from: u64) -> io::Result<u64> {
        let ids = self.numbered_from(group, from);
        let mut lost = ids.last().map_or(0, |last| last + 1 - from);
        for id in ids {
            lost -= u64::from(self.numbered(group, id)?.is_some());
        }
        Ok(lost)
    }

    /// Lets the log forget the messages of a stream below a sequence, which are in the files of the stream, but for the last one: so a start knows
    /// which number was given last, whatever became of the files.
    pub(super) fn release_numbered(self: &Arc<Self>, group: u64, below: u64) {
        let below = below.saturating_sub(1);
        while self.log().index.forget_numbered(group, below, FORGOTTEN_MAX) {}
    }

    /// Lets the log forget all messages of a stream, also those that are appended later.
    pub(super) fn forget_stream(&self, group: u64) {
        while self.log().index.forget_numbered(group, u64::MAX, FORGOTTEN_MAX) {}
    }
}

/// Messages that are read at once when a stream is opened, and their bytes, but for the last one.
const REWRITTEN_MAX: usize = 1_000;
const REWRITTEN_BYTES_MAX: usize = 4 << 20;

/// Keys that are forgotten while the index is locked: about a tenth of a millisecond.
pub(super) const FORGOTTEN_MAX: usize = 2_000;
