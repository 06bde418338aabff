//! Crashes of the whole broker, and its recovery from the store.

use std::sync::Arc;

use oncemq::broker::{Recovered, Shard, Shared, Ticket};
use oncemq::routing::{Access, RetainedLimits, ShardId};
use oncemq::store::sim::{Loss, SimDisk};
use oncemq::timestamp::Timestamp;

use crate::connection::Transport;
use crate::network::Chunk;
use crate::world::{Phase, ShardSide, Step, World};

impl World {
    /// Crashes before a step with a fixed probability.
    pub(crate) fn maybe_crash(&mut self) {
        let Some(every) = self.mix.crash_every.filter(|_| self.phase == Phase::Busy && self.restarting.is_none())
        else {
            return;
        };
        if self.crash_rng.below(every) == 0 {
            self.crash();
        }
    }

    /// Removes shards, connections and unstable data.
    fn crash(&mut self) {
        let loss = self.mix.loss;
        self.trace.note(self.now, None, || format!("crash: {loss:?}"));
        let disk = self.log.crash(loss, &mut self.crash_rng);
        self.restarting = Some(disk);
        self.operator.forget();
        self.forget_letters();
        self.steps.retain(|_, step| !step.is_of_broker());
        self.syncing = false;
        let longest = self.crash_rng.pick(&[5, 50, 1_000]);
        let down = self.crash_rng.between(1, longest);
        let restart_at = self.now + down;
        for number in 0..self.connections.len() {
            if self.connections[number].broker.state != Transport::Closed {
                self.lose_connection(number, loss);
            }
        }
        self.checker.on_crash(self.now, restart_at);
        self.schedule_at(restart_at, Step::Restart);
    }

    fn lose_connection(&mut self, number: usize, loss: Loss) {
        let connection = &mut self.connections[number];
        connection.broker.state = Transport::Closed;
        connection.broker.output.clear();
        let slot = usize::try_from(connection.id.slot).unwrap();
        self.shards[connection.shard].slots[slot].1 = false;
        match loss {
            // The operating system closes the connection.
            Loss::Process => self.put_down(number, Chunk::End),
            Loss::Power => {
                let cut = self.now + self.crash_rng.between(0, 30);
                self.connections[number].down.cut(cut);
                let noticed = self.crash_rng.between(30, 300);
                self.schedule(noticed, Step::ClientNotices(number));
            }
        }
    }

    /// Connecting fails: the client notices soon.
    pub(crate) fn refuse_connection(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        connection.broker.state = Transport::Closed;
        let slot = usize::try_from(connection.id.slot).unwrap();
        self.shards[connection.shard].slots[slot].1 = false;
        self.put_down(number, Chunk::End);
    }

    pub(crate) fn on_restart(&mut self) {
        let Some(disk) = self.restarting.take() else { return };
        let recovered = self.recover(disk).and_then(|recovered| self.resume_time(&recovered).map(|()| recovered));
        match recovered {
            Ok(recovered) => self.start(recovered),
            Err(text) => self.fail(None, text),
        }
    }

    fn recover(&mut self, disk: SimDisk) -> Result<Recovered, String> {
        let recovered = self.log.recover(disk, self.mix.loss, &mut self.crash_rng)?;
        self.trace.note(self.now, None, || format!("restarts with {recovered:?}"));
        self.resume_streams(&recovered);
        self.check_recovered_groups(&recovered)?;
        self.checker.store.recover(&recovered);
        Ok(recovered)
    }

    /// Starts the broker as the server does: it restores recovered state before the first connection.
    fn start(&mut self, recovered: Recovered) {
        let shared = new_shared(self.shards.len());
        let Recovered {
            sessions,
            retained,
            retained_cleared,
            retained_gone,
            orphans,
            dead_letters,
            receipts,
            groups,
            ..
        } = recovered;
        self.shared = Arc::clone(&shared);
        self.set_streams();
        shared.restore_groups(groups);
        let keys = sessions.iter().map(|session| session.key);
        let too_many = shared.restore(Timestamp(self.now), (retained, retained_cleared), retained_gone, keys);
        assert!(too_many.is_empty());
        shared.restore_dead_letters(dead_letters);
        shared.restore_receipts(receipts);
        for (number, side) in self.shards.iter_mut().enumerate() {
            let shard = new_shard(number, &self.settings, &shared);
            let slots = std::mem::take(&mut side.slots);
            *side = ShardSide { slots, ..ShardSide::new(shard, side.channels.len()) };
        }
        self.store_anchor();
        let (shards, time) = (self.shards.len(), self.time());
        let mut actions = Vec::new();
        for (number, session) in sessions.into_iter().enumerate() {
            let shard = number % shards;
            let access = Arc::new(Access::everything());
            self.shards[shard].shard.restore(time, *session, access, &mut actions);
            self.perform_all(shard, &mut actions);
        }
        self.shards[0].shard.end_orphans(orphans, &mut actions);
        self.perform_all(0, &mut actions);
        for shard in 0..shards {
            self.schedule_deadline(shard);
        }
    }
}

pub(crate) fn new_shared(shards: usize) -> Arc<Shared> {
    let limits = RetainedLimits { retained_messages_max: 1_000, retained_bytes_max: 1_000_000 };
    Arc::new(Shared::new(shards, limits).with_checked_directory())
}

pub(crate) fn new_shard(number: usize, settings: &Arc<oncemq::broker::Settings>, shared: &Arc<Shared>) -> Shard {
    let id = ShardId(u16::try_from(number).unwrap());
    Shard::new(id, Arc::clone(settings), Arc::clone(shared), [7; 32])
}

impl ShardSide {
    pub(crate) fn new(shard: Shard, shards: usize) -> Self {
        Self {
            shard,
            slots: Vec::new(),
            channels: vec![0; shards],
            notified_until: 0,
            last_ticket: Ticket(0),
            stable: Ticket(0),
            deadline: None,
            was_full: false,
        }
    }
}
