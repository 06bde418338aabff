//! Streams: the messages of some topics, kept in the order of their acceptance and numbered without gaps. This module has what shards know
//! about them: which there are, which topics they keep, and the subscriptions of clients to them.
//!
//! A subscription to a stream is a [`Cursor`](cursor::Cursor) of its Session, and not part of the subscription index. It asks for the next messages
//! of the stream with [`Action::ReadStream`](crate::broker::Action::ReadStream), and passes them to the client as the client reads them. When it has
//! all, it waits for [`Event::StreamAdvanced`](crate::broker::Event::StreamAdvanced).
//!
//! | a cursor waits for | woken by |
//! | --- | --- |
//! | CONNACK, or the answers to the rest of its SUBSCRIBE packet | the packet, which `replay` follows |
//! | room in the outgoing buffer of its connection | `Event::Flushed` |
//! | room in Receive Maximum | PUBACK, PUBREC or PUBCOMP of the client |
//! | a read in progress, at most one | `Event::StreamRead` |
//! | one of the [`READS_MAX`](state::READS_MAX) reads of the shard | `Event::StreamRead` of another cursor |
//! | another turn, because it has used up this one and has sent nothing | `Timer::Streams` |
//! | another attempt to read, after an error of the disk | `Timer::StreamRetry` |
//! | the next message of the stream | `Event::StreamAdvanced`; the cursor compares the end again after it has registered, so none is missed |
//!
//! In a Session that outlives its connection, the messages go through the queue of the Session, a [window](window) at a time, and the position is stored
//! with them.
//!
//! | such a cursor waits for | woken by |
//! | --- | --- |
//! | the record of its last window | `Event::Persisted` |
//! | room in the queue of its Session | PUBACK and others, as for Receive Maximum; `Timer::StreamRetry` if no message is in flight |
//! | room on the disk, a congested store | the same |
//! | the next connection of its Session | CONNECT |
//!
//! A cursor pauses no connection, so Keep Alive is as ever. Its memory is one chunk of at most [`CHUNK_BYTES_MAX`](deliver::CHUNK_BYTES_MAX) bytes or
//! one message. What is in the chunk is checked against the access rules when it is sent, so a reload applies at once.

pub(in crate::broker) mod board;
pub(in crate::broker) mod cursor;
pub(in crate::broker) mod cursors;
pub(in crate::broker) mod deliver;
pub(in crate::broker) mod groups;
pub(in crate::broker) mod key;
pub(in crate::broker) mod marks;
pub(in crate::broker) mod name;
pub(in crate::broker) mod number;
pub(in crate::broker) mod offset;
pub(in crate::broker) mod position;
pub(in crate::broker) mod read;
pub(in crate::broker) mod start;
pub(in crate::broker) mod state;
pub(in crate::broker) mod subscribe;
pub(in crate::broker) mod subscriptions;
pub(in crate::broker) mod table;
pub(in crate::broker) mod window;
