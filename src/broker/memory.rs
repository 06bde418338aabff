//! What the broker does when the memory of `limits.memory_max` gets short.
//!
//! The caller measures the resident memory of the process, which counts everything, and passes each change of the level as
//! [`Event::Memory`](crate::broker::Event::Memory). What grows with input, its own bound, and what it does when memory is short:
//!
//! | memory | bound of its own | when memory is short |
//! | --- | --- | --- |
//! | incomplete packets | `maximum_packet_size` for each connection; a quarter of `memory_max` for all, a sixteenth from `Elevated` on | the connections with the most are ended with 0x97 |
//! | unsent bytes of a connection | `outgoing_bytes_max` | the bound shrinks to 64 KiB, then 16 KiB: QoS 0 is dropped, QoS 1 and 2 stay in the queue, publishers are paused within the grace; from `Critical` on, the connections with the most are ended with 0x97 |
//! | queues of durable Sessions | the head of each queue, the rest is in the store | the heads shrink to 16 messages or 16 KiB |
//! | stored messages that several Sessions read | 4 MiB, or a 64th of `memory_max` | from `Elevated` on, none is kept |
//! | queues of other Sessions, and messages of durability `none` | `queued_messages_max`, `queued_bytes_max` | from `High` on, a new message is dropped if 16 messages or 64 KiB wait |
//! | retained messages | `retained_messages_max`, `retained_bytes_max`, and half of `memory_max` | from `High` on, a new one is refused with 0x97 |
//! | replays of retained messages | a cursor for each subscription | as unsent bytes |
//! | subscriptions to streams | one chunk for each, of 128 KiB and one message, and only while its client reads | from `High` on, chunks of 8 KiB; those that wait for their clients are given back, and read again later |
//! | SUBSCRIBE and UNSUBSCRIBE packets that are handled in parts | one for each connection, of `maximum_packet_size` | – |
//! | Wills, Sessions, connections | `connections_max`, `sessions_max` | from `High` on, CONNECT is refused with 0x88; from `Critical` on, connections are closed when they are accepted |
//! | connections of users with `connections_max` | one Client Identifier for each connection | as connections |
//! | subscriptions | `subscriptions_per_session_max` | from `High` on, SUBSCRIBE is refused with 0x97 |
//! | Topic Aliases of clients | `topic_alias_maximum` for each connection | from `High` on, a client that sets one is ended with 0x97 |
//! | route cache | 32 MiB for each shard | the bound shrinks to a quarter, a sixteenth, a sixty-fourth |
//! | a batch | the size of its packet, `batch_messages_max`, 200,000 copies; within one turn | – |
//! | delayed messages | `delayed_messages_max`, about 60 bytes each: 24 in the schedule, the rest in the index of the store; their contents are in the store | from `High` on, a new one is refused with 0x97 |
//! | delayed messages without a store | `delayed_bytes_max` | as above |
//! | refused messages that are sent again | the queue of their Session, about 200 bytes each; their contents are in the store | as queues |
//! | kept dead letters | `dead_letters_max`, about 300 bytes each; their contents are in the store | – |
//! | open receipts | `open_max`, about 500 bytes each; a million copies, about 100 bytes each | from `High` on, a message that asks for one is refused with 0x97 |
//! | deduplication window | `deduplication_ids_max` for each publisher, a million for all | from `High` on, a new identifier evicts one |
//! | permits of other cells that are awaited, and what is to be sent about them | one for each connection, 100,000 of each | messages wait before they ask |
//! | history of clients | 2.5 MiB for each shard, the oldest events are forgotten | from `High` on, a quarter of it |
//! | journeys of messages | `journey_steps_max`, about 52 bytes each; names of 256 KiB for each shard | from `High` on, a quarter of it |
//! | logs of refusals and drops | 1,000 entries and 256 KiB each, three for each shard | – |
//! | password checks | 1,024 requests, a thread for two cores | CONNECT is refused before |
//! | unused buffers of large packets | a sixteenth of `memory_max` for all, 128 MiB for each shard | freed |
//! | records that wait for a commit | the congestion of the store | publishers are paused |
//! | groups of subscribers of streams | 1,000 groups; with members, 8,192 messages and about 2 MiB for each, and the numbers of 4,096 messages without | – |
//! | messages between shards | the weight of a mailbox | publishers are paused |

use std::sync::Arc;

use crate::broker::connection::disconnect::Ending;
use crate::broker::ids::ConnectionId;
use crate::broker::limit_table::LimitTable;
use crate::broker::memory_level::MemoryLevel;
use crate::broker::publish::queue_room::QueueRoom;
use crate::broker::settings::Settings;
use crate::broker::shard::{Shard, Turn};
use crate::codec::ReasonCode;
use crate::session::{self, Limits, QueueHead};

impl Shard {
    /// The bytes that this shard has queued since its start, for clients to read or to acknowledge: an upper bound for the growth of its
    /// memory by output.
    pub const fn queued_total(&self) -> u64 {
        self.queued_total
    }

    /// The level of memory has changed, or is still critical a second later.
    pub(in crate::broker) fn on_memory(&mut self, level: MemoryLevel, turn: &mut Turn<'_>) {
        let before = std::mem::replace(&mut self.memory, level);
        if level != before {
            self.routes.get_or_insert_default().limit(level);
            self.history.limit(level);
            self.journeys.limit(level);
            if level >= MemoryLevel::High && before < MemoryLevel::High {
                self.give_back_streams();
            }
            self.outgoing_bytes_max = outgoing_bytes_max(&self.settings, level);
            let limits = LimitTable::new(&self.settings, |limits| adapted(limits, level));
            if limits != self.limits {
                self.change_limits(limits, turn);
            }
        }
        if level == MemoryLevel::Critical {
            self.end_largest(turn);
        }
    }

    /// The settings were reloaded. What is looked up at each use changes with them; the rest is derived again. The queues are credited as
    /// before, so `queue_overflow` and `dead_letter_topic`, which decide whether that is counted, must be the same.
    pub(in crate::broker) fn on_settings_changed(&mut self, settings: Arc<Settings>, turn: &mut Turn<'_>) {
        let has_other_users = settings.user_limits != self.settings.user_limits;
        self.settings = settings;
        self.queue_room = QueueRoom::new(&self.settings);
        self.journeys.resize(self.shared.share_of(self.settings.journey_steps_max), self.memory);
        self.outgoing_bytes_max = outgoing_bytes_max(&self.settings, self.memory);
        let limits = LimitTable::new(&self.settings, |limits| adapted(limits, self.memory));
        if has_other_users || limits != self.limits {
            self.change_limits(limits, turn);
        }
        self.limit_connections();
    }

    /// Passes limits to all Sessions.
    fn change_limits(&mut self, limits: LimitTable, turn: &mut Turn<'_>) {
        self.limits = limits;
        for slot in 0..self.sessions.slots_end() {
            if let Some(limits) = self.limits_of(slot) {
                self.drive(slot, session::Event::LimitsChanged(limits), turn);
            }
        }
    }

    /// Ends the connections with the most unsent bytes: those above the present bound, at most a tenth of all.
    fn end_largest(&mut self, turn: &mut Turn<'_>) {
        let bound = self.outgoing_bytes_max;
        let mut largest: Vec<(usize, ConnectionId)> =
            self.connections.iter().map(|connection| (connection.unsent_bytes(), connection.id)).collect();
        let count = largest.len().div_ceil(ENDED_SHARE);
        largest.retain(|(unsent, _)| *unsent > bound);
        largest.sort_unstable_by_key(|(unsent, _)| std::cmp::Reverse(*unsent));
        for (_, id) in largest.into_iter().take(count) {
            self.end_for_memory(id, turn);
        }
    }

    /// Ends a connection that uses too much of the memory.
    pub(in crate::broker) fn end_for_memory(&mut self, id: ConnectionId, turn: &mut Turn<'_>) {
        self.counters.ended_for_memory += 1;
        self.end_connection(id, Ending::with_disconnect(ReasonCode::QuotaExceeded, MEMORY_SHORT), turn);
    }

    /// Whether memory is so short that what stays in it is refused.
    pub(in crate::broker) fn is_memory_short(&self) -> bool {
        self.memory >= MemoryLevel::High
    }
}

/// The bytes that may wait in the outgoing buffer of one connection.
fn outgoing_bytes_max(settings: &Settings, level: MemoryLevel) -> usize {
    let shrunk = match level {
        MemoryLevel::Normal => usize::MAX,
        MemoryLevel::Elevated => 64 * 1024,
        MemoryLevel::High | MemoryLevel::Critical => 16 * 1024,
    };
    settings.outgoing_bytes_max.min(shrunk)
}

/// The limits of Sessions at this level of memory.
fn adapted(limits: Limits, level: MemoryLevel) -> Limits {
    if level < MemoryLevel::High {
        return limits;
    }
    let head = limits.queue_head;
    let queue_head = QueueHead {
        messages_max: head.messages_max.min(HEAD_MESSAGES_MAX),
        bytes_max: head.bytes_max.min(HEAD_BYTES_MAX),
        away_share: head.messages_max.clamp(1, HEAD_MESSAGES_MAX),
    };
    Limits { queue_head, is_memory_short: true, ..limits }
}

/// What clients and the log read.
pub(in crate::broker) const MEMORY_SHORT: &str = "memory_max is nearly reached";
/// At most one in this many connections is ended at once.
const ENDED_SHARE: usize = 10;
/// The head of a queue when memory is short.
const HEAD_MESSAGES_MAX: usize = 16;
const HEAD_BYTES_MAX: usize = 16 * 1024;
