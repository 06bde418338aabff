//! Passes messages on between two brokers, as pure code: packets of a server in, packets of a client out.
//!
//! A bridge has two connections, one to this broker and one to the other, each with a Session that outlives it. [`Relay`] passes **Packet
//! Identifiers on**: the PUBLISH that one broker sends with identifier 7 is the PUBLISH that the other one gets with identifier 7, and so are the
//! acknowledgements on their way back. So the two Sessions are the whole state of the bridge:
//!
//! | message of QoS 2 from here to there | what this broker keeps | what the other one keeps |
//! | --- | --- | --- |
//! | not sent | it in the queue | nothing |
//! | PUBLISH 7 has arrived there | it, unacknowledged | it, and 7 as received |
//! | PUBREC 7 has arrived here | 7 as released | 7 as received |
//! | PUBREL 7 has arrived there | 7 as released | nothing |
//! | PUBCOMP 7 has arrived here | nothing | nothing |
//!
//! When either connection ends, so does the other; when both are back, each broker sends again what is not acknowledged, with the same
//! identifiers, and what the receiver has it recognizes. Messages in the other direction take the same way from the other end. The bridge itself
//! remembers nothing beyond its two connections: it may be killed at any time.

mod asked;
mod properties;
mod relay;
mod rules;
mod size;
mod terms;

pub use properties::BRIDGE_ID;
pub use relay::{Relay, Sends};
pub use rules::{Rule, Rules};
pub use terms::{Congestion, Counts, Dropped, Ended, Refusal, Side, Terms, in_words};
