use std::io;

use super::target::Target;
use crate::config;
use crate::topic::TopicName;

/// What a probe does, until a reload changes it.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) settings: config::Probe,
    pub(super) target: Target,
    /// No other client knows it before it is used.
    pub(super) topic: TopicName,
}

impl Plan {
    pub(super) fn new(settings: config::Probe, target: Target) -> io::Result<Self> {
        let random = getrandom::u64().map_err(io::Error::other)?;
        let topic = format!("{}/{random:016x}", settings.topic_prefix);
        let topic = TopicName::new(topic.into()).map_err(io::Error::other)?;
        Ok(Self { settings, target, topic })
    }
}
