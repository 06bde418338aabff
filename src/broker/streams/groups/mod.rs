//! Groups: `$share/GROUP/$stream/NAME[/FILTER]`. Each message of the stream that matches FILTER goes to one member of the group, at least once.
//!
//! A group is identified by stream, name and filter. Its position is stored, and stays when no member is connected. Its [`Ledger`](ledger::Ledger) has
//! the messages that were read and are not acknowledged. All shards share the ledger. A shard that notices room or further messages reads the next
//! messages, assigns them to members, and notifies the shards of these members. A group that has all messages gets the next ones without a read, when
//! their records are stable, from the shards that accepted them ([`enter`]). A shard takes the messages of its own members when they have room, and
//! removes those that they acknowledge.
//!
//! | a message of the group is | left by |
//! | --- | --- |
//! | not read | a read of any shard, which begins when there is a member and the window has room |
//! | given to a member, or waits for room or for its key | room of the member; the end of its connection gives it to others |
//! | sent to a member | its PUBACK, which settles it; the end of the connection gives it to others |
//! | refused by a member | without a rule, it is settled [MQTT-4.8.2-6]; with one, `Timer::GroupRefused` gives it to a member, and the last refusal settles it |
//! | done | – |
//!
//! The standard lets a Server give a message at QoS 1 to another member when the connection of the chosen one breaks: only a message at QoS 2 stays with
//! its client [MQTT-4.8.2-4] [MQTT-4.8.2-5], and members get QoS 1 at most. So a message of a group is never in the durable queue of a Session: it is in
//! the stream until the group has acknowledged it.
//!
//! **What is stored.** The record that makes a group is stable before its first SUBACK. Later ones follow 100 ms after an acknowledgement, and nothing
//! waits for them: a crash repeats what was acknowledged since, and loses nothing, because a position has only what was acknowledged. The records of
//! a group are appended in the order of its positions: a shard writes one only when the last record of another shard is stable.

pub(in crate::broker) mod deliver;
pub(in crate::broker) mod dispatch;
pub(in crate::broker) mod enter;
pub(in crate::broker) mod fresh;
pub(in crate::broker) mod group;
pub(in crate::broker) mod join;
pub(in crate::broker) mod ledger;
pub(in crate::broker) mod lost;
pub(in crate::broker) mod memberships;
pub(in crate::broker) mod operate;
pub(in crate::broker) mod query;
pub(in crate::broker) mod read;
pub(in crate::broker) mod refusals;
pub(in crate::broker) mod refused;
pub(in crate::broker) mod roster;
pub(in crate::broker) mod save;
pub(in crate::broker) mod saved;
pub(in crate::broker) mod table;

#[cfg(test)]
mod tests;
