use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::routing::interest::fingerprint::Fingerprint;
use crate::routing::interest::fingerprints::Fingerprints;

/// How many subscriptions have filters with a fingerprint.
#[derive(Debug)]
pub(super) struct Counts {
    /// With their counts, up to 255.
    counts: Fingerprints,
    /// What is beyond.
    beyond: HashMap<Fingerprint, u32, RandomState>,
}

impl Counts {
    pub(super) fn new() -> Self {
        Self { counts: Fingerprints::new(), beyond: HashMap::default() }
    }

    /// Returns whether it is the first one.
    pub(super) fn add(&mut self, fingerprint: Fingerprint) -> bool {
        match self.counts.tag_mut(fingerprint) {
            None => return self.counts.insert(fingerprint, 1),
            Some(&mut u8::MAX) => *self.beyond.entry(fingerprint).or_default() += 1,
            Some(count) => *count += 1,
        }
        false
    }

    /// Returns whether it was the last one.
    pub(super) fn remove(&mut self, fingerprint: Fingerprint) -> bool {
        match self.counts.tag_mut(fingerprint) {
            None => return false,
            Some(&mut 1) => return self.counts.remove(fingerprint, 1),
            Some(count) => match self.beyond.get_mut(&fingerprint) {
                None => *count -= 1,
                Some(1) => _ = self.beyond.remove(&fingerprint),
                Some(beyond) => *beyond -= 1,
            },
        }
        false
    }

    /// All fingerprints, ascending.
    pub(super) fn sorted(&self) -> Vec<Fingerprint> {
        self.counts.sorted()
    }
}
