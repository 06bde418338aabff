use crate::placement::Cells;
use crate::transport::Endpoint;

/// The broker's process and endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    pub(crate) pid: u32,
    /// Other processes whose CPU time counts, each with the name of what it belongs to.
    pub(crate) beside: Vec<(&'static str, u32)>,
    /// Where each client is, if the broker is a cluster with cells.
    pub(crate) cells: Option<Cells>,
}
