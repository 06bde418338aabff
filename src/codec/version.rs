use super::DecodeError;
use super::primitives::Reader;

/// The protocol version of a connection, determined by its CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProtocolVersion {
    /// 3.1: protocol name `MQIsdp`, level 3. Handled as 3.1.1, except for an empty Client Identifier, which is refused,
    /// and for what its text doesn't use or lets a client omit, which is ignored. Its limit of 23 characters for Client
    /// Identifiers is not enforced.
    V3_1,
    /// 3.1.1: protocol name `MQTT`, level 4.
    V3_1_1,
    /// 5.0: protocol name `MQTT`, level 5.
    V5,
}

impl ProtocolVersion {
    /// The name of the version, such as `3.1.1`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V3_1 => "3.1",
            Self::V3_1_1 => "3.1.1",
            Self::V5 => "5.0",
        }
    }

    /// Whether packets have properties and Reason Codes.
    pub const fn has_properties(self) -> bool {
        matches!(self, Self::V5)
    }

    /// The protocol name on the wire.
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::V3_1 => "MQIsdp",
            Self::V3_1_1 | Self::V5 => "MQTT",
        }
    }

    /// The protocol level on the wire.
    pub const fn protocol_level(self) -> u8 {
        match self {
            Self::V3_1 => 3,
            Self::V3_1_1 => 4,
            Self::V5 => 5,
        }
    }

    /// Decodes the protocol name and level. The `bool` tells whether the level has [`BRIDGE`]. Sets `answer_in` to the
    /// version, or to the closest one for an unknown version.
    pub(super) fn decode(reader: &mut Reader<'_>, answer_in: &mut Option<Self>) -> Result<(Self, bool), DecodeError> {
        let name = reader.binary()?;
        let level = reader.u8()?;
        let version = match (name.as_ref(), level) {
            (b"MQTT", 4 | BRIDGE_V3_1_1) => Ok(Self::V3_1_1),
            (b"MQTT", 5) => Ok(Self::V5),
            (b"MQIsdp", 3 | BRIDGE_V3_1) => Ok(Self::V3_1),
            (b"MQTT" | b"MQIsdp", _) => Err(DecodeError::ProtocolLevel(level)),
            _ => Err(DecodeError::ProtocolName),
        };
        let is_new = name.as_ref() != b"MQIsdp" && level & !BRIDGE >= Self::V5.protocol_level();
        *answer_in = Some(version.unwrap_or(if is_new { Self::V5 } else { Self::V3_1_1 }));
        Ok((version?, level & BRIDGE != 0))
    }

    /// Whether a CONNECT whose body begins with `body` may be one of 3.1, as far as it has arrived.
    pub(super) fn may_be_3_1(body: &[u8]) -> bool {
        match body.split_at_checked(NAME_3_1.len()) {
            Some((name, rest)) => name == NAME_3_1 && rest.first().is_none_or(|level| level & !BRIDGE == 3),
            None => NAME_3_1.starts_with(body),
        }
    }

    /// Whether bits that the version doesn't use may have any value: in the fixed header all flags of packets other than
    /// PUBLISH, and DUP at QoS 0; bit 0 of the Connect Flags, and Will QoS and Will Retain without a Will; the upper six
    /// bits of a Requested QoS.
    ///
    /// 3.1 says of such bits that they are not used, or that their value is disregarded. It lets a client set DUP when it
    /// sends PUBREL, SUBSCRIBE or UNSUBSCRIBE again, and the receiver take it as a hint only. 3.1.1 and 5.0 require the
    /// values in their tables. [MQTT-2.2.2-2] of 3.1.1, [MQTT-2.1.3-1]
    pub(super) const fn ignores_unused(self) -> bool {
        matches!(self, Self::V3_1)
    }

    /// Whether the Remaining Length of CONNECT decides on User Name and Password: they may be missing in spite of their
    /// flags, and without its flag a value is disregarded. In 3.1 this is for compatibility with clients that are older
    /// than these fields.
    pub(super) const fn may_omit_credentials(self) -> bool {
        matches!(self, Self::V3_1)
    }

    /// Whether an empty Client Identifier is refused. [MQTT-3.1.3-7 of 3.1.1]
    pub(super) const fn needs_client_id(self, clean_start: bool) -> bool {
        match self {
            Self::V3_1 => true,
            Self::V3_1_1 => !clean_start,
            Self::V5 => false,
        }
    }

    /// Which Client Identifiers the version permits, in words for the error of an empty one.
    pub(super) const fn client_id_rule(self) -> &'static str {
        match self {
            Self::V3_1 => "MQTT 3.1 asks for 1 to 23 characters",
            Self::V3_1_1 => "MQTT 3.1.1 asks for at least one character without clean session",
            Self::V5 => "MQTT 5.0 permits it",
        }
    }

    /// The default Session Expiry Interval of a CONNECT, in seconds.
    pub(super) const fn session_expiry_interval(self, clean_start: bool) -> u32 {
        match self {
            Self::V3_1 | Self::V3_1_1 if !clean_start => u32::MAX,
            Self::V3_1 | Self::V3_1_1 | Self::V5 => 0,
        }
    }
}

/// The protocol name of 3.1 on the wire.
const NAME_3_1: &[u8] = b"\0\x06MQIsdp";
/// The bit of the protocol level by which a bridge of 3.1 or 3.1.1 makes itself known.
pub(super) const BRIDGE: u8 = 0x80;
const BRIDGE_V3_1: u8 = BRIDGE | 3;
const BRIDGE_V3_1_1: u8 = BRIDGE | 4;
