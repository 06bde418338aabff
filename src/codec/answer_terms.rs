use std::num::NonZeroU32;

use super::ProtocolVersion;

/// What a client accepts in the packets that are sent to it, according to its CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerTerms {
    /// The version of the client.
    pub version: ProtocolVersion,
    /// Its Maximum Packet Size in bytes; `None` means no limit. [MQTT-3.1.2-24]
    pub maximum_packet_size: Option<NonZeroU32>,
    /// Request Problem Information: whether it wants Reason Strings. [MQTT-3.1.2-29]
    pub request_problem_information: bool,
}

impl AnswerTerms {
    /// The standard's defaults.
    pub const fn new(version: ProtocolVersion) -> Self {
        Self { version, maximum_packet_size: None, request_problem_information: true }
    }
}
