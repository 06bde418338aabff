/// Which member of a Shared Subscription gets a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShareStrategy {
    /// One after the other.
    #[default]
    RoundRobin,
}
