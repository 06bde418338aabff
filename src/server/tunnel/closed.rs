use crate::cluster::tunnel::Refusal;

/// Why a tunnel is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// The other node has ended it, perhaps because it does not accept it.
    ByOther(Option<Refusal>),
    /// The link is gone, or there is none.
    Lost,
}
