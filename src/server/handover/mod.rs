//! Listening sockets that another process has opened: systemd, or a running broker that a new one replaces.
//!
//! A running broker listens at the Unix socket `handover.sock` in its data directory. A new process of the same user, started with
//! `--take-over` and the same data directory, asks it there to hand over:
//!
//! ```text
//! new process                          running broker
//! TakeOver ───────────────────────────►
//!          ◄─────────────────────────── Socket, with a descriptor; for each listening socket
//!          ◄─────────────────────────── Sockets: how many
//! checks configuration, certificates,   serves on, as if nothing had happened
//! files and the format of the store
//! Go ─────────────────────────────────►
//!                                       accepts no more, disconnects its clients, closes the store, unlocks it
//!          ◄─────────────────────────── Released
//! opens the store, accepts
//! Ready ──────────────────────────────► ends with exit code 0
//! ```
//!
//! From the beginning to the end one of the two has the listening sockets open, so every connect is accepted by the kernel. From `Go` on the new
//! process accepts the connections and keeps them until it can serve them ([`early`]), because the backlog is small. The end of the connection between the two says that the other process has ended:
//!
//! | ends | until Go | then, until Ready |
//! | --- | --- | --- |
//! | the new process | the running broker serves on | it takes its place again: it opens the store and accepts |
//! | the running broker | the new process starts as after any crash | the same, with the sockets it got |

pub(super) mod activation;
pub(super) mod early;
pub(super) mod ended;
pub(super) mod message;
pub(super) mod own;
pub(super) mod passed;
pub(super) mod predecessor;
pub(super) mod successor;
