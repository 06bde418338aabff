//! Attacks on the real binary, while a publisher and a subscriber that behave well are watched.
//!
//! Each attack lasts [`arena::DURATION`], or `ONCEMQ_ABUSE_SECONDS`. The broker must lose no message of the pair, and its memory and its
//! file descriptors must stay within the bounds of the attack. Latencies are printed and not judged: they are those of the machine.
//! With `ONCEMQ_ABUSE_MEMORY_MIB=128` the broker has that budget (`limits.memory_max`), and its resident memory may not exceed 1.15 times as much.
//! With `ONCEMQ_TEST_PEER=mosquitto` nothing is judged, and the figures are those of mosquitto. `docs/SECURITY.md` has both.

#[cfg(test)]
mod arena;
#[cfg(test)]
#[path = "../clients/broker.rs"]
#[expect(dead_code, reason = "the tests with real clients use more of it")]
mod broker;
#[cfg(test)]
#[path = "../clients/certificates.rs"]
#[expect(dead_code, reason = "the tests with real clients use more of it")]
mod certificates;
#[cfg(test)]
mod client;
#[cfg(test)]
mod connections;
#[cfg(test)]
#[path = "../clients/deadline.rs"]
#[expect(dead_code, reason = "the tests with real clients use more of it")]
mod deadline;
#[cfg(test)]
mod handshakes;
#[cfg(test)]
mod mutants;
#[cfg(test)]
mod pair;
#[cfg(test)]
#[path = "../clients/peer.rs"]
mod peer;
#[cfg(test)]
mod process;
#[cfg(test)]
mod readers;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod state;
#[cfg(test)]
mod table;
