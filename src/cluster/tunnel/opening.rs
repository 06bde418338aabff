use std::net::{IpAddr, SocketAddr};

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What the owner is told about a tunnel: about a client whose socket is on another node, which has carried out the handshakes before MQTT, or that it is a
/// link between two cells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opening {
    /// The name of the listener that accepted it, which the owner must have too.
    pub listener: String,
    /// The address of the client, after the PROXY header or the headers of a proxy; `None` for a Unix socket.
    pub address: Option<SocketAddr>,
    /// Whether it is certainly on the machine of that node.
    pub is_local: bool,
    /// The identity in its verified certificate, if the listener uses it.
    pub certificate_identity: Option<String>,
    /// Whom it is for.
    pub to: Destination,
}

/// Which broker of a node a tunnel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Destination {
    /// The only one.
    #[default]
    Broker,
    /// That of this cell, because the client's Session is there.
    Cell(u8),
    /// That of the cell `to`. It is no client, but the cell `from`.
    Link {
        /// The cell that opens the link.
        from: u8,
        /// The cell at this node.
        to: u8,
        /// Which of the links between the two cells it is.
        kind: u8,
    },
    /// The process. It is no client, but the process of the other node.
    Node,
}

impl Destination {
    /// The cell that it is for, if there are several.
    pub const fn cell(self) -> Option<u8> {
        match self {
            Self::Broker | Self::Node => None,
            Self::Cell(cell) | Self::Link { to: cell, .. } => Some(cell),
        }
    }
}

impl Opening {
    /// The bytes for a frame. `None`: a text is longer than 4 KiB.
    pub fn encode(&self) -> Option<Bytes> {
        let mut bytes = BytesMut::new();
        let local = u8::from(self.is_local);
        // A node that knows no cells refuses what is for one.
        match self.to {
            Destination::Broker => bytes.put_u8(local),
            Destination::Node => bytes.put_u8(local | FOR_NODE),
            Destination::Cell(cell) => bytes.put_slice(&[local | FOR_CELL, cell]),
            Destination::Link { from, to, kind } => bytes.put_slice(&[local | FOR_LINK, from, to, kind]),
        }
        put_text(&mut bytes, &self.listener)?;
        match self.address {
            None => bytes.put_u8(0),
            Some(address) => {
                match address.ip() {
                    IpAddr::V4(ip) => {
                        bytes.put_u8(4);
                        bytes.put_slice(&ip.octets());
                    }
                    IpAddr::V6(ip) => {
                        bytes.put_u8(6);
                        bytes.put_slice(&ip.octets());
                    }
                }
                bytes.put_u16_le(address.port());
            }
        }
        match &self.certificate_identity {
            None => bytes.put_u8(0),
            Some(identity) => {
                bytes.put_u8(1);
                put_text(&mut bytes, identity)?;
            }
        }
        Some(bytes.freeze())
    }

    /// Decodes what another node has encoded. `None`: it is something else.
    pub fn decode(mut bytes: Bytes) -> Option<Self> {
        let kind = bytes.try_get_u8().ok()?;
        let is_local = kind & LOCAL != 0;
        let to = match kind & !LOCAL {
            0 => Destination::Broker,
            FOR_NODE => Destination::Node,
            FOR_CELL => Destination::Cell(bytes.try_get_u8().ok()?),
            FOR_LINK => {
                let [from, to, kind] = octets(&mut bytes)?;
                Destination::Link { from, to, kind }
            }
            _ => return None,
        };
        let listener = text(&mut bytes)?;
        let address = match bytes.try_get_u8().ok()? {
            0 => None,
            4 => Some(SocketAddr::new(octets::<4>(&mut bytes)?.into(), bytes.try_get_u16_le().ok()?)),
            6 => Some(SocketAddr::new(octets::<16>(&mut bytes)?.into(), bytes.try_get_u16_le().ok()?)),
            _ => return None,
        };
        let certificate_identity = if flag(&mut bytes)? { Some(text(&mut bytes)?) } else { None };
        bytes.is_empty().then_some(Self { listener, address, is_local, certificate_identity, to })
    }
}

fn put_text(bytes: &mut BytesMut, text: &str) -> Option<()> {
    let length = u16::try_from(text.len()).ok().filter(|length| usize::from(*length) <= TEXT_BYTES_MAX)?;
    bytes.put_u16_le(length);
    bytes.put_slice(text.as_bytes());
    Some(())
}

fn text(bytes: &mut Bytes) -> Option<String> {
    let length = usize::from(bytes.try_get_u16_le().ok()?);
    if length > TEXT_BYTES_MAX.min(bytes.len()) {
        return None;
    }
    String::from_utf8(bytes.split_to(length).into()).ok()
}

fn octets<const LENGTH: usize>(bytes: &mut Bytes) -> Option<[u8; LENGTH]> {
    let mut octets = [0; LENGTH];
    bytes.try_copy_to_slice(&mut octets).ok()?;
    Some(octets)
}

fn flag(bytes: &mut Bytes) -> Option<bool> {
    match bytes.try_get_u8().ok()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

const LOCAL: u8 = 1;
const FOR_CELL: u8 = 2;
const FOR_LINK: u8 = 4;
const FOR_NODE: u8 = 8;
/// More than the subject of a certificate has.
const TEXT_BYTES_MAX: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_and_any_part_of_it_is_not() {
        let opening = |address: Option<&str>, identity: Option<&str>| Opening {
            listener: "0.0.0.0:1883".to_owned(),
            address: address.map(|address| address.parse().unwrap()),
            is_local: address.is_none(),
            certificate_identity: identity.map(str::to_owned),
            to: Destination::Broker,
        };
        for opening in [
            opening(Some("192.0.2.1:4711"), None),
            opening(Some("[2001:db8::1]:1"), Some("sensor")),
            opening(None, Some("")),
            Opening { to: Destination::Cell(255), ..opening(None, None) },
            Opening { to: Destination::Node, is_local: true, ..Opening::default() },
            Opening { to: Destination::Link { from: 7, to: 0, kind: 2 }, ..Opening::default() },
        ] {
            let bytes = opening.encode().unwrap();
            assert_eq!(Opening::decode(bytes.clone()), Some(opening));
            for length in 0..bytes.len() {
                assert_eq!(Opening::decode(bytes.slice(..length)), None, "{length}");
            }
            assert_eq!(Opening::decode([&bytes[..], b"x"].concat().into()), None);
        }
        assert_eq!(opening(None, Some(&"x".repeat(5_000))).encode(), None);
    }
}
