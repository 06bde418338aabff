//! Where the clients of a run are in a cluster with cells.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use siphasher::sip::SipHasher13;

use crate::flow::Role;

/// In which cells the clients are, and to which nodes they connect. Publishers are in the first cell of the first node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Placement {
    /// Subscribers in the same cell, all connected to its owner
    SameCell,
    /// Subscribers in another cell of the same node, all connected to it
    OtherCell,
    /// Subscribers in a cell of another node, all connected to the owners of their cells
    OtherNode,
    /// Subscribers in the same cell, all connected to another node
    Front,
    /// All in whichever cells, connected to their owners
    Spread,
}

/// The cells of a cluster, and the clients' places in them.
#[derive(Debug, Clone)]
pub(crate) struct Cells {
    /// The node that owns each cell.
    owners: Vec<usize>,
    /// The addresses of the nodes.
    nodes: Vec<SocketAddr>,
    placement: Placement,
}

/// A client's identifier, and where it connects.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) client_id: String,
    pub(crate) address: SocketAddr,
}

impl Cells {
    /// The cells with these owners, of nodes with these addresses.
    pub(crate) const fn new(owners: Vec<usize>, nodes: Vec<SocketAddr>, placement: Placement) -> Self {
        Self { owners, nodes, placement }
    }

    /// The seat of a client whose identifier begins with `client_id`.
    pub(crate) fn seat(&self, role: Role, client_id: &str) -> Result<Seat> {
        if self.placement == Placement::Spread {
            let owner = self.owner(self.cell_of(client_id))?;
            return Ok(Seat { client_id: client_id.to_owned(), address: self.address(owner)? });
        }
        let home = self.first_of(|_, owner| owner == 0)?;
        let cell = match (self.placement, role) {
            (Placement::OtherCell, Role::Receiver(_)) => self.first_of(|cell, owner| owner == 0 && cell != home)?,
            (Placement::OtherNode, Role::Receiver(_)) => self.first_of(|_, owner| owner != 0)?,
            (_, Role::Receiver(_) | Role::Publisher(_) | Role::Bystander) => home,
        };
        let node = if self.placement == Placement::Front { 1 } else { self.owner(cell)? };
        let mut client_ids = (0..SUFFIXES_MAX).map(|suffix| format!("{client_id}-{suffix}"));
        let client_id = client_ids.find(|client_id| self.cell_of(client_id) == cell);
        Ok(Seat { client_id: client_id.context("no Client Identifier for the cell")?, address: self.address(node)? })
    }

    /// The broker's own function, written down a second time: identifiers keep their cells for ever.
    fn cell_of(&self, client_id: &str) -> usize {
        let hash = SipHasher13::new_with_key(b"OnceMQ cell of a").hash(client_id.as_bytes());
        usize::try_from(hash % self.owners.len().max(1) as u64).unwrap_or_default()
    }

    fn first_of(&self, is_wanted: impl Fn(usize, usize) -> bool) -> Result<usize> {
        let found = self.owners.iter().enumerate().find(|(cell, owner)| is_wanted(*cell, **owner));
        let Some((cell, _)) = found else { bail!("{:?} needs more cells or nodes", self.placement) };
        Ok(cell)
    }

    fn owner(&self, cell: usize) -> Result<usize> {
        self.owners.get(cell).copied().context("no such cell")
    }

    fn address(&self, node: usize) -> Result<SocketAddr> {
        self.nodes.get(node).copied().with_context(|| format!("{:?} needs more nodes", self.placement))
    }
}

/// With 256 cells, one of so many is in a given cell for certain.
const SUFFIXES_MAX: u32 = 100_000;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn cells(placement: Placement) -> Cells {
        let nodes = (1..4).map(|port| (Ipv4Addr::LOCALHOST, port).into()).collect();
        Cells::new(vec![2, 0, 1, 0, 2, 1], nodes, placement)
    }

    fn seats(placement: Placement) -> [(usize, u16); 2] {
        let cells = cells(placement);
        [Role::Publisher(0), Role::Receiver(0)].map(|role| {
            let seat = cells.seat(role, "c").unwrap();
            (cells.cell_of(&seat.client_id), seat.address.port())
        })
    }

    #[test]
    fn clients_are_in_the_cells_of_their_placement_and_connect_where_it_says() {
        assert_eq!(seats(Placement::SameCell), [(1, 1), (1, 1)]);
        assert_eq!(seats(Placement::OtherCell), [(1, 1), (3, 1)]);
        assert_eq!(seats(Placement::OtherNode), [(1, 1), (0, 3)]);
        assert_eq!(seats(Placement::Front), [(1, 2), (1, 2)]);
    }

    #[test]
    fn a_placement_that_the_cluster_does_not_have_is_an_error() {
        let one = Cells::new(vec![0], vec![(Ipv4Addr::LOCALHOST, 1).into()], Placement::OtherNode);
        assert!(one.seat(Role::Receiver(0), "c").is_err() && one.seat(Role::Publisher(0), "c").is_ok());
    }

    #[test]
    fn an_identifier_is_in_the_cell_that_the_broker_gives_it() {
        // What `CellId::of_client` of the broker gives.
        let six = Cells::new(vec![0; 6], Vec::new(), Placement::Spread);
        let cells: Vec<usize> = ["a", "b", "client-1", ""].iter().map(|id| six.cell_of(id)).collect();
        assert_eq!(cells, [2, 0, 1, 1]);
    }
}
