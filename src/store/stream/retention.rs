use std::io;

use super::super::format::segment_name;
use super::format::{HEADER_BYTES, encode_mark};
use super::index::index_name;
use super::log::StreamLog;
use super::options::Retention;
use super::recovery::{MARK, NEW_MARK};
use super::segments::Shared;

impl StreamLog {
    /// Trims the messages that are beyond the limits, and removes segments of which no message is kept. Returns the sequence of the oldest
    /// message that is kept; [`next`](Self::next), if none is. `now` is in milliseconds of the wall clock.
    ///
    /// What is trimmed can't be read any more at once. After a restart it can't be read either if its segment was removed; otherwise
    /// the limits must be applied again. It costs a read of up to 256 KiB when a message has expired, otherwise nothing.
    ///
    /// # Errors
    ///
    /// See [`StreamLog`]. On a full disk, space is freed nevertheless.
    pub fn retain(&mut self, limits: &Retention, now: u64) -> io::Result<u64> {
        let mut oldest = self.reader.oldest();
        if let Some(messages) = limits.max_messages {
            oldest = oldest.max(self.next.saturating_sub(messages));
        }
        if let Some(bytes) = limits.max_bytes {
            oldest = self.shared.with(|segments| segments.keeping_bytes(oldest, bytes));
        }
        self.shared.set_oldest(oldest);
        if let Some(cutoff) = limits.max_age.and_then(|age| now.checked_sub(age)) {
            oldest = oldest.max(self.first_younger(cutoff, now));
            self.shared.set_oldest(oldest);
        }
        self.remove_trimmed()?;
        let large = HEADER_BYTES as u64 + self.options.segment_bytes() / EMPTIED_SHARE;
        if oldest == self.next && self.tail.as_ref().is_some_and(|tail| tail.offset >= large) {
            self.begin_segment(self.next)?;
            self.remove_trimmed()?;
        }
        Ok(oldest)
    }

    /// Trims the messages below a sequence. They can't be read any more, also after a restart.
    ///
    /// # Errors
    ///
    /// See [`StreamLog`]. After an error, they can't be read until the next restart.
    pub fn trim_below(&mut self, sequence: u64) -> io::Result<()> {
        let oldest = sequence.min(self.next);
        self.shared.set_oldest(oldest);
        let marked = self.write_mark(self.reader.oldest());
        self.remove_trimmed()?;
        marked
    }

    /// The first message that is kept and whose timestamp is at or after `cutoff`; the end of the stream, if there is none. If it can't be
    /// read now, the first of its block.
    fn first_younger(&mut self, cutoff: u64, now: u64) -> u64 {
        let oldest = self.reader.oldest();
        let is_young = |timestamp: u64| (cutoff..=now).contains(&timestamp);
        if self.oldest_timestamp.is_some_and(|(sequence, timestamp)| sequence == oldest && is_young(timestamp)) {
            return oldest;
        }
        let mut below = oldest;
        while let Some((expired, next)) = self.shared.with(|segments| segments.expired(below, cutoff, now)) {
            let Some((from, end)) = next else { return expired };
            let from = from.max(expired);
            match self.reader.first_since(cutoff, from, end) {
                Ok(Some((found, timestamp))) => {
                    self.oldest_timestamp = Some((found, timestamp));
                    return found;
                }
                // The message because of which the segment had not expired is trimmed or damaged.
                Ok(None) => below = end,
                Err(_) => return from,
            }
        }
        below
    }

    /// Removes the segments of which no message is kept, except for the current one.
    pub(super) fn remove_trimmed(&mut self) -> io::Result<()> {
        let oldest = self.reader.oldest();
        let forget = self.shared.with(|segments| std::mem::take(&mut segments.damaged));
        for number in forget {
            // It is not compacted either, so that what is left of it stays for inspection.
            self.shared.with(|segments| segments.set_damaged(number));
            // So the next start reads the segment, reports the damage and copies it to the quarantine.
            let _ = self.shared.disk.remove(&index_name(number));
        }
        let is_trimmed = |shared: &Shared| {
            shared.with(|segments| {
                let following = segments.list.get(1)?;
                let first = segments.list.front()?;
                (following.header.first_sequence <= oldest).then_some(first.header.number)
            })
        };
        if is_trimmed(&self.shared).is_none() {
            return Ok(());
        }
        // With the mark, a crash may keep any of the files. If the disk is full, they are removed one by one.
        let is_marked = self.write_mark(oldest).is_ok();
        while let Some(number) = is_trimmed(&self.shared) {
            let disk = &self.shared.disk;
            match disk.remove(&segment_name(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => drop(disk.remove(&index_name(number))),
            }
            self.shared.change(|segments| segments.list.pop_front());
            self.shared.forget_file(number);
            if !is_marked {
                disk.sync_names()?;
            }
        }
        Ok(())
    }

    /// Makes stable that messages below a sequence are trimmed.
    fn write_mark(&mut self, oldest: u64) -> io::Result<()> {
        if oldest <= self.mark {
            return Ok(());
        }
        let disk = &self.shared.disk;
        let file = disk.create(NEW_MARK)?;
        let bytes = encode_mark(self.options.number, oldest);
        file.write_at(0, &bytes).and_then(|()| file.sync()).and_then(|()| disk.rename(NEW_MARK, MARK))?;
        disk.sync_names()?;
        self.mark = oldest;
        Ok(())
    }
}

/// If no message is kept, the current segment is removed too if it has at least this part of its size.
const EMPTIED_SHARE: u64 = 16;
