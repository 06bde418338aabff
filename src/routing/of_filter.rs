/// What a [`FilterTree`](crate::routing::filter_tree::FilterTree) has for a filter.
pub(super) trait OfFilter: Default {
    /// Whether the filter is not needed any more.
    fn is_unused(&self) -> bool;
}
