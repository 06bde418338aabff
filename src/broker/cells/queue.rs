use crate::routing::{CellId, Subscriber};

/// The cell for which a Session has messages, if it is one of those.
pub(super) fn cell_of_queue(session: &Subscriber) -> Option<CellId> {
    let cell = session.client_id.as_str().strip_prefix(OUT).filter(|_| session.is_link())?;
    cell.parse().ok().map(CellId)
}

/// What the Client Identifiers of these Sessions begin with: none of a client does. The number of the other cell follows.
pub(super) const OUT: &str = "$link/to-";
