//! Compacts the streams that keep the last message of each key, one after the other.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::Ordering;

use super::keeper::StreamKeeper;
use super::shortage::Shortage;
use super::stream::{Compaction, Step};

/// The pass in progress.
#[derive(Default)]
pub(super) struct Compacting {
    pass: Option<(u64, Compaction)>,
    /// The group of the last stream that had a pass.
    last: u64,
    /// After an error, how often a stream is passed over.
    pauses: BTreeMap<u64, u32>,
}

impl StreamKeeper {
    /// Begins a pass over the next stream that needs one, unless one is in progress.
    pub fn begin_compaction(&mut self) {
        let Compacting { pass, last, pauses } = &mut self.compacting;
        if pass.is_some() {
            return;
        }
        let logs = self.shared.streams.logs();
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
    pub fn compact(&mut self) -> bool {
        let Some((group, compaction)) = &mut self.compacting.pass else { return false };
        let group = *group;
        let result = match compaction.step() {
            Ok(Step::Again) => return true,
            Ok(Step::Ended) => Ok(()),
            Ok(Step::Complete) => {
                let logs = self.shared.streams.logs();
                if self.shared.streams.pins.load(Ordering::SeqCst) > 0 {
                    return false;
                }
                if logs.contains_key(&group) {
                    match compaction.replace() {
                        Ok(()) => return true,
                        Err(error) if Shortage::of(&error).is_some() => Err(error),
                        Err(error) => {
                            drop(logs);
                            self.fail(&error);
                            Err(error)
                        }
                    }
                } else {
                    Ok(())
                }
            }
            Err(error) => Err(error),
        };
        self.compacting.pass = None;
        if result.is_err() {
            // What could not be read or written stays as it is.
            self.compacting.pauses.insert(group, PAUSED_CALLS);
        }
        false
    }
}

/// With a call in each second, ten minutes.
const PAUSED_CALLS: u32 = 600;
