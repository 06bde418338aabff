/// A user that owns Sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account<'a> {
    /// The user name.
    pub name: &'a str,
    /// The provider that verified it; `None`: it is not known, as for a Session that an operator gave to a user.
    pub provider: Option<&'a str>,
}
