/// How the Client Identifiers at a listener depend on verified user names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientIds {
    /// A client chooses it.
    #[default]
    Any,
    /// It is the user name. What the client sends is replaced.
    UserName,
    /// The client must send its user name.
    MustBeUserName,
}
