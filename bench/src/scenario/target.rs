use crate::transport::Endpoint;

/// The process to measure, and where it listens.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    pub(crate) pid: u32,
}
