/// Why a query has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// The server can't be reached, or has closed the connection.
    #[error("{0}")]
    Lost(String),
    /// The query has taken too long.
    #[error("the query takes too long")]
    Slow,
    /// The query can't be used with what this client has sent, such as a name that is no number. The text is an SQLSTATE: the message of the server
    /// may repeat what the client has sent.
    #[error("the query fails for the names of this client (SQLSTATE {0})")]
    Value(String),
    /// Anything else that is wrong with the query or its answer.
    #[error("{0}")]
    Failed(String),
}
