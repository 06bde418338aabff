//! Keeps the byte streams open between the servers of each two cells.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::arrivals::ACCEPTED;
use super::front::Front;
use super::stream::TunnelStream;
use crate::broker::{LinkPeer, LinkRole};
use crate::cluster::tunnel::{Destination, Opening};
use crate::routing::CellId;
use crate::server::cells::{Cells, Gate, Place};

/// Keeps the streams of all cells that are here to those with higher numbers. The nodes of those with lower numbers open the others.
pub(super) async fn keep_links(front: Arc<Front>, cells: Arc<Cells>) {
    let last = u8::try_from(cells.count().saturating_sub(1)).unwrap_or(u8::MAX);
    let mut links = JoinSet::new();
    for from in 0..last {
        for to in from + 1..=last {
            for role in LinkRole::ALL {
                links.spawn(keep_link(Arc::clone(&front), Arc::clone(&cells), (CellId(from), CellId(to), role)));
            }
        }
    }
    while links.join_next().await.is_some() {}
}

/// The most streams that all nodes have between these cells.
pub(super) fn links_max(cells: &Cells) -> usize {
    let cells = usize::from(cells.count());
    LinkRole::ALL.len() * cells * cells.saturating_sub(1) / 2
}

/// Keeps a stream between two cells, of which the one with the lower number may be here, and for which it has this role.
async fn keep_link(front: Arc<Front>, cells: Arc<Cells>, (from, to, role): (CellId, CellId, LinkRole)) {
    let mut places = cells.watch();
    let mut pause = PAUSE_MIN;
    loop {
        places.borrow_and_update();
        let is_due = cells.place(from).for_cells().is_some() && !matches!(cells.place(to), Place::Unknown);
        if !is_due {
            if places.changed().await.is_err() {
                return;
            }
            continue;
        }
        let begun = Instant::now();
        if let Some(ended) = open(&front, &cells, (from, to, role)).await {
            // It is sent when the server drops its end, or lost with it.
            let _ = ended.await;
        }
        pause = if begun.elapsed() >= PAUSE_MAX { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
        sleep(pause).await;
    }
}

/// Opens the stream between two cells, and gives both ends to their servers. Returns what notices its end at the one that is here.
async fn open(
    front: &Front,
    cells: &Cells,
    (from, to, role): (CellId, CellId, LinkRole),
) -> Option<oneshot::Receiver<()>> {
    let (place, other) = (cells.place(from), cells.place(to));
    let gate = place.for_cells()?;
    if gate.is_closed() || other.for_cells().is_some_and(Gate::is_closed) {
        return None;
    }
    let (mut stream, mut other) = match other {
        Place::Unknown => return None,
        Place::Joining(other) | Place::Here(other) => {
            let [stream, end] = TunnelStream::local();
            (stream, Some((other, end)))
        }
        Place::Node(node) => (timeout(OPENING_MAX, open_tunnel(front, node, (from, to, role))).await.ok()??, None),
    };
    let ended = stream.dropped();
    let is_taken = gate.admit_link(stream, LinkPeer { cell: to, role })
        && other.take().is_none_or(|(gate, end)| gate.admit_link(end, LinkPeer { cell: from, role: role.reversed() }));
    is_taken.then_some(ended)
}

/// Opens a stream to the cell `to` at another node, and waits until its server has it.
async fn open_tunnel(
    front: &Front,
    node: Arc<str>,
    (CellId(from), CellId(to), role): (CellId, CellId, LinkRole),
) -> Option<TunnelStream> {
    let to = Destination::Link { from, to, kind: role as u8 };
    let opening = Opening { is_local: true, to, ..Opening::default() }.encode()?;
    let mut stream = front.open(opening, to, Some(node)).await?;
    let answer = stream.read_u8().await.ok()?;
    (answer == ACCEPTED).then_some(stream)
}

/// How long a link is not opened again when it has ended: at first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// After this time, the place of the cell is looked up anew.
const OPENING_MAX: Duration = Duration::from_secs(5);
