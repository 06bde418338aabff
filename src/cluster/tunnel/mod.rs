//! The connections of clients that are on another node than the owner: a link between two nodes, with many tunnels, as a pure state machine.
//!
//! The node that a client's socket is on is the *front*. It opens a tunnel for each connection, and the owner serves it as one of its own.
//! What carries frames from node to node may lose them: it delivers a frame at most once. A [`Link`] therefore never repairs. It numbers its frames, and
//! when one is missing, comes twice or too early, all tunnels of the link are closed, and the front begins anew. For a client that is the end of its
//! connection, from which MQTT recovers.
//!
//! | bound | value | when it is reached |
//! | --- | --- | --- |
//! | bytes of a frame | [`FRAME_BYTES_MAX`] | the rest is in the next frame |
//! | frames that are not acknowledged, for each direction | [`FRAMES_MAX`] | bytes wait in their tunnels |
//! | bytes of a tunnel that its receiver has not consumed, for each direction | [`WINDOW_BYTES`] | the sender does not read its client, or holds the packets back as for a slow client |
//! | tunnels of a link | the owner of the link says so | a further one is refused |
//! | refusals that are not sent | [`REFUSALS_MAX`] | the link is closed |
//! | silence of the other node | [`SILENCE_MAX`] | the link is closed |

mod action;
mod frame;
mod link;
mod opening;
mod tunnel_end;
mod up;

pub use action::{Action, Side};
pub use frame::{Frame, FrameError, Item, Items, Refusal};
pub use link::Link;
pub use opening::{Destination, Opening};

/// The number of a tunnel in its link. They rise, and none is used twice.
pub type TunnelId = u32;

/// The most bytes of a frame: less than any server of NATS takes.
pub const FRAME_BYTES_MAX: usize = 64 << 10;
/// The most frames of a link, for each direction, that the other node has not acknowledged: 4 MiB.
pub const FRAMES_MAX: u64 = 64;
/// The most bytes of a tunnel, for each direction, that are on their way or wait at its receiver.
pub const WINDOW_BYTES: usize = 64 << 10;
/// The most refused tunnels of which the other node has not been told.
pub const REFUSALS_MAX: usize = 1_024;
/// A link is closed when no frame of the other node has come for this number of milliseconds.
pub const SILENCE_MAX: u64 = 5_000;
