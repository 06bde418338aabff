//! Compacts the streams that keep the last message of each key, one after the other.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::atomic::Ordering;

use super::shortage::Shortage;
use super::stream::{Compaction, Step};
use super::stream_files::StreamFiles;

/// The pass in progress.
#[derive(Default)]
pub(super) struct Compacting {
    pass: Option<(u64, Compaction)>,
    /// The group of the last stream that had a pass.
    last: u64,
    /// After an error, how often a stream is passed over.
    pauses: BTreeMap<u64, u32>,
}

impl Compacting {
    /// Begins a pass over the next stream that needs one, unless one is in progress.
    pub(super) fn begin(&mut self, streams: &StreamFiles) {
        let Self { pass, last, pauses } = self;
        if pass.is_some() {
            return;
        }
        let logs = streams.logs();
        let behind = logs.range((Bound::Excluded(*last), Bound::Unbounded));
        for (group, stream) in behind.chain(logs.range(..=*last)) {
            let Some(key) = &stream.key else { continue };
            if let Some(pause) = pauses.get_mut(group).filter(|pause| **pause > 0) {
                *pause -= 1;
                continue;
            }
            if let Some(compaction) = stream.log.compaction(key) {
                (*pass, *last) = (Some((*group, compaction)), *group);
                return;
            }
        }
    }

    /// A step of the pass in progress. Returns whether there may be more to do at once.
    ///
    /// # Errors
    ///
    /// It is not known whether the files of a stream are as they should be.
    pub(super) fn step(&mut self, streams: &StreamFiles) -> io::Result<bool> {
        let Some((group, compaction)) = &mut self.pass else { return Ok(false) };
        let (group, mut failure) = (*group, None);
        let result = match compaction.step() {
            Ok(Step::Again) => return Ok(true),
            Ok(Step::Ended) => Ok(()),
            Ok(Step::Complete) => {
                let logs = streams.logs();
                if streams.pins.load(Ordering::SeqCst) > 0 {
                    return Ok(false);
                }
                // Otherwise the stream was removed, or its key was changed.
                let key = logs.get(&group).and_then(|stream| stream.key.as_ref());
                match key.is_some_and(|key| compaction.has_key(key)).then(|| compaction.replace()) {
                    Some(Ok(())) => return Ok(true),
                    Some(Err(error)) if Shortage::of(&error).is_none() => {
                        failure = Some(error);
                        Ok(())
                    }
                    Some(Err(error)) => Err(error),
                    None => Ok(()),
                }
            }
            Err(error) => Err(error),
        };
        if failure.is_none() {
            // On a full disk it would hold the space that messages need.
            compaction.discard();
        }
        self.pass = None;
        if result.is_err() {
            // What could not be read or written stays as it is.
            self.pauses.insert(group, PAUSED_CALLS);
        }
        failure.map_or(Ok(false), Err)
    }
}

/// With a call in each second, ten minutes.
const PAUSED_CALLS: u32 = 600;
