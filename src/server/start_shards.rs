//! Starts the threads of the shards with what was recovered from the store.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::log::{self, log_line};
use super::shard::driver::Parts;
use super::shard::task::MainHandle;
use super::store::handle::StoreHandle;
use super::tunnel::Tunnels;
use super::{Server, shard};
use crate::broker::{Recovered, Shard};
use crate::routing::ShardId;

impl Server {
    pub(super) fn start_shards(
        &self,
        recovered: Recovered,
        ended: &mpsc::Sender<ShardId>,
        failures: &mpsc::Sender<String>,
    ) -> io::Result<()> {
        let settings = Arc::new(self.shard_settings(&self.config));
        let Recovered {
            sessions,
            retained,
            retained_cleared,
            retained_gone,
            deduplicated,
            mut delayed,
            mut orphans,
            dead_letters,
            receipts,
            groups,
            ..
        } = recovered;
        self.shared.set_streams(self.streams.table());
        self.streams.begin(&self.shared, &self.mailboxes);
        self.shared.restore_groups(groups);
        self.shared.restore_deduplication(&deduplicated);
        let keys = sessions.iter().map(|session| session.key).chain(delayed.iter().map(|delayed| delayed.session));
        let keys = keys.chain(dead_letters.iter().map(|(_, letter)| letter.session));
        let now = self.clock.read().now;
        let too_many = self.shared.restore(now, (retained, retained_cleared), retained_gone, keys);
        self.shared.restore_dead_letters(dead_letters);
        self.shared.restore_receipts(receipts);
        if !too_many.is_empty() {
            let count = too_many.len();
            log_line!(
                RetainedDiscarded { count },
                "{count} retained messages in the store exceed the limits and are discarded"
            );
        }
        let of_shard = sessions.len().div_ceil(self.mailboxes.len()); // where they are until their clients connect
        let delayed_of_shard = delayed.len().div_ceil(self.mailboxes.len());
        let mut sessions = sessions.into_iter();
        let mut waiting = Vec::new();
        for (number, _) in (0..).zip(self.mailboxes.iter()) {
            let id = ShardId(number);
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(io::Error::other)?;
            let parts = Parts {
                id,
                shard: Shard::new(id, Arc::clone(&settings), Arc::clone(&self.shared), seed),
                clock: self.clock,
                write_timeout: self.config.limits.write_timeout,
                authentication: Arc::clone(&self.authentication),
                bans: Arc::clone(&self.bans),
                mailboxes: Arc::clone(&self.mailboxes),
                shared: Arc::clone(&self.shared),
                memory: Arc::clone(&self.memory),
                store: self.store_handle(number, failures),
                traces: Arc::clone(&self.attendants.traces),
                detail: log::detail(&self.config.log),
                restored: sessions.by_ref().take(of_shard).collect(),
                orphans: std::mem::take(&mut orphans),
                delayed: delayed.split_off(delayed.len().saturating_sub(delayed_of_shard)),
            };
            let front = self.tunnels.as_ref().and_then(Tunnels::front);
            let main = MainHandle { status: Arc::clone(&self.status), ended: ended.clone(), front };
            waiting.push(shard::task::start(parts, main)?);
        }
        // No shard starts before all have restored their subscriptions: earlier messages and Wills would miss them.
        for begin in waiting {
            begin.send(()).map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn store_handle(&self, shard: u16, failures: &mpsc::Sender<String>) -> StoreHandle {
        let handle =
            StoreHandle::new(usize::from(shard), self.store.clone(), Arc::clone(&self.messages), failures.clone());
        if self.config.durability_rules.is_empty() { handle } else { handle.with_levels() }
    }
}
