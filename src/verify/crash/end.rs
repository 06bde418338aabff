use crate::verify::link::LinkError;

/// Why a client ended.
#[derive(Debug)]
pub(super) enum End {
    /// A violation of the guarantees.
    Fault(String),
    /// The connection, which ends with the broker.
    Link(LinkError),
}

impl From<LinkError> for End {
    fn from(error: LinkError) -> Self {
        match error {
            // Such a packet is a fault, with or without a kill.
            LinkError::Malformed(error) => Self::Fault(error.to_string()),
            error @ (LinkError::Closed(_) | LinkError::Silent(_)) => Self::Link(error),
        }
    }
}
