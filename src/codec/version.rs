/// The version of the protocol a connection speaks, fixed by its CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProtocolVersion {
    /// 3.1: protocol name `MQIsdp`, level 3. Treated as 3.1.1 but for the limit of 23 characters of its Client Identifier, which
    /// is not enforced.
    V3_1,
    /// 3.1.1: protocol name `MQTT`, level 4.
    V3_1_1,
    /// 5.0: protocol name `MQTT`, level 5.
    V5,
}

impl ProtocolVersion {
    /// Whether packets carry properties and Reason Codes.
    pub const fn has_properties(self) -> bool {
        matches!(self, Self::V5)
    }
}
