//! Refused messages: a full queue with the policy `reject`, and a full disk.

use oncemq::broker::{Event, StoreRoom};
use oncemq::codec::{Publish, Qos, ReasonCode};

use crate::ledger::Message;
use crate::world::{Phase, Step, World};

impl World {
    pub(crate) fn begin_refusals(&mut self) {
        if self.mix.disk_fills {
            let delay = self.rng.between(1, FULL_MAX);
            self.schedule(delay, Step::DiskSpace(false));
        }
    }

    /// Other files take all free space of the disk, or leave it again.
    pub(crate) fn on_disk_space(&mut self, is_free: bool) {
        if !is_free && self.phase != Phase::Busy {
            return;
        }
        self.trace.note(self.now, None, || format!("the disk has free space: {is_free}"));
        let left = self.rng.between(0, 300);
        match &self.restarting {
            Some(disk) => disk.set_capacity(if is_free { u64::MAX } else { disk.used() + left }),
            None => {
                self.log.set_free(if is_free { None } else { Some(left) });
                self.sync_soon(); // the store tries again
            }
        }
        let longest = if !is_free && self.rng.percent(20) { LONG_FULL_MAX } else { FULL_MAX };
        let delay = self.rng.between(1, longest);
        self.schedule(delay, Step::DiskSpace(!is_free));
    }

    /// The store wakes all shards when the disk has become full, or is no longer.
    pub(crate) fn announce_room(&mut self) {
        let is_full = self.log.is_full();
        for shard in 0..self.shards.len() {
            if self.shards[shard].was_full != is_full {
                let delay = self.delay(self.mix.sync_delay);
                self.schedule(delay, Step::StoreRoom(shard));
            }
        }
    }

    /// A shard looks at the store before each event, as its driver does.
    pub(crate) fn notice_room(&mut self, shard: usize) {
        let is_full = self.log.is_full();
        if std::mem::replace(&mut self.shards[shard].was_full, is_full) == is_full {
            return;
        }
        self.trace.note(self.now, None, || format!("shard {shard} notices that the disk is full: {is_full}"));
        let room = if is_full { StoreRoom::None } else { StoreRoom::Some };
        let mut actions = Vec::new();
        let time = self.time();
        self.shards[shard].shard.handle(time, Event::StoreRoom(room), &mut actions);
        self.perform_all(shard, &mut actions);
        self.schedule_deadline(shard);
    }

    /// Notes whether the message that the broker reads now may be refused.
    pub(crate) fn note_refusable(&mut self, publish: &Publish) {
        let may_be_full = self.mix.rejects || self.log.is_full();
        let ledger = &mut self.checker.ledger;
        if let Some(number) = ledger.find(&publish.message.payload) {
            ledger.change(number, |message| message.refusable = may_be_full);
        }
    }

    /// A refusal must have a cause, and names it.
    pub(crate) fn check_refusal(message: &Message, code: ReasonCode) -> Result<(), String> {
        if code != ReasonCode::QuotaExceeded || !message.refusable {
            return Err(format!("message {} refused: {code:?}", message.number));
        }
        Ok(())
    }

    /// Checks that nobody received a message of which each copy was refused: it has no effect.
    pub(crate) fn check_refused(&self) -> Result<(), String> {
        for message in self.checker.ledger.messages.iter().filter(|message| message.refused) {
            // A message at QoS 1 may have been accepted on an earlier connection, whose PUBACK was lost. At QoS 2 the broker would still
            // know its Packet Identifier, and repeat the acknowledgement.
            let was_accepted_once = message.qos == Qos::AtLeastOnce
                || message.uncertain
                || !self.clients[message.publisher].has_one_session();
            if message.read > 1 && was_accepted_once {
                continue;
            }
            let receiver = (0..self.clients.len()).find(|client| {
                let received = self.checker.ledger.received.get(&(*client, message.number));
                received.is_some_and(|received| received.live + received.replayed > 0)
            });
            if let Some(client) = receiver {
                return Err(format!("client {client} got message {}, which was refused", message.number));
            }
        }
        Ok(())
    }

    /// With the policy `reject`, no queue is longer than its bound; only a message of a share that moves is admitted in any case.
    pub(crate) fn check_queues(&mut self, shard: usize) {
        if !self.mix.rejects || self.mix.shares {
            return;
        }
        let counters = self.shards[shard].shard.counters();
        let bound = counters.sessions * self.settings.queued_messages_max as u64;
        if counters.queued_messages > bound {
            let text = format!("{} messages in the queues of shard {shard}, above {bound}", counters.queued_messages);
            self.fail(None, text);
        }
    }
}

/// Longest usual time that the disk is full or has space, in milliseconds.
const FULL_MAX: u64 = 500;
/// Longest time that it is full, in milliseconds.
const LONG_FULL_MAX: u64 = 5_000;
