use crate::transport::Endpoint;

/// The broker's process and endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    pub(crate) pid: u32,
}
