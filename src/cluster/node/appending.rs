use std::io;
use std::time::Duration;

use tokio::time::sleep;

use super::attending::{Commands, Ended, attending};
use super::copying_log::{Batches, Copy};
use super::view::View;
use crate::cluster::Reader;
use crate::store::{Follower, Shortage};

impl Copy {
    /// Appends batches. On a full disk it waits for space: what it has stays open.
    pub(super) async fn append(
        &mut self,
        view: &View,
        commands: &mut Commands,
        mut batches: Batches,
    ) -> Result<(), Ended> {
        let mut pause = SPACE_PAUSE;
        while !batches.is_empty() {
            let (appended, left, whole) = self.with(move |follower| append_all(follower, batches)).await?;
            batches = left;
            if let Some(whole) = whole {
                self.whole = whole;
            }
            let Err(error) = appended else { continue };
            let has_failed = self.follower.as_ref().is_none_or(Follower::has_failed);
            let Some(shortage) = Shortage::of(&error).filter(|_| !has_failed) else { return Err(error.into()) };
            view.says(|beat| beat.is_candidate = false);
            view.trouble(Some(&format!("{}: the copy of the log waits until that is over", shortage.sentence())));
            // It may free segments.
            if batches.front().is_some_and(|(_, reader)| reader.is_some()) {
                self.sync(view).await?;
            }
            attending(view, commands, sleep(pause)).await?;
            pause = (2 * pause).min(SPACE_PAUSE_MAX);
        }
        Ok(())
    }
}

/// Appends batches until one fails. Returns how that ended, those that are left, and the place behind the last one that was appended.
fn append_all(follower: &mut Follower, mut batches: Batches) -> (io::Result<()>, Batches, Option<(Reader, u64)>) {
    let mut whole = None;
    while let Some((batch, reader)) = batches.pop_front() {
        if let Err(error) = follower.append(batch.first_sequence, batch.entries, &batch.bytes) {
            batches.push_front((batch, reader));
            return (Err(error), batches, whole);
        }
        whole = reader.map(|reader| (reader, follower.sequence()));
    }
    (Ok(()), batches, whole)
}

/// How long to wait until an append is tried again on a full disk, at first. Each time twice as long.
const SPACE_PAUSE: Duration = Duration::from_secs(1);
const SPACE_PAUSE_MAX: Duration = Duration::from_secs(60);
