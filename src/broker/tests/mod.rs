//! The rules of the standard as clients see them: decoded packets in, packets out, in one thread and under a virtual clock.

mod aliases;
mod auth;
mod backpressure;
mod connect;
mod connect_refused;
mod defaults;
mod disconnect;
mod durability;
mod expiry;
mod harness;
mod keep_alive;
mod limits;
mod overflow;
mod packets;
mod properties;
mod publish_in;
mod publish_out;
mod retained;
mod shared;
mod subscribe;
mod takeover;
mod takeover_shards;
mod unsubscribe;
mod v311;
mod will;
