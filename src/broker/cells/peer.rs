use crate::routing::CellId;

/// What is at the other end of a connection between the owners of two cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkPeer {
    /// The other cell.
    pub cell: CellId,
    /// What goes over the connection.
    pub role: LinkRole,
}

/// What goes over a connection to another cell. The end of one at `Out` is at `In` there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkRole {
    /// The messages that the other cell wants.
    Out,
    /// The messages that this cell wants.
    In,
    /// What the cells want.
    Control,
}

impl LinkRole {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Out, Self::In, Self::Control];

    /// The one with this number, which is what `as u8` gives.
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| *role as u8 == number)
    }

    /// What it is for the other cell.
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::Out => Self::In,
            Self::In => Self::Out,
            Self::Control => Self::Control,
        }
    }
}
