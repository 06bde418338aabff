//! Tests with valid, malformed and random packets.

use bytes::Bytes;

use super::client::{ServerDecoder, encode_client};
use super::{ClientPacket, Connack, Connect, DecodeError, Decoder, ProtocolVersion, ServerPacket};

mod acknowledgements;
mod client;
mod connect;
mod differential;
mod encode;
mod find_client_id;
mod frame;
mod of_cell;
mod publish;
mod random;
mod second_opinion;
mod strategies;
mod subscribe;
mod user_properties;
mod version_3_1;

const V3_1: ProtocolVersion = ProtocolVersion::V3_1;
const V3: ProtocolVersion = ProtocolVersion::V3_1_1;
const V5: ProtocolVersion = ProtocolVersion::V5;
const VERSIONS: [ProtocolVersion; 3] = [V3_1, V3, V5];

/// A decoder that has decoded a CONNECT of this version.
fn connected(version: ProtocolVersion) -> Decoder {
    let mut decoder = Decoder::new(u32::MAX);
    let mut output = bytes::BytesMut::new();
    encode_client(&ClientPacket::Connect(Box::new(Connect::new(version, "c", true))), version, &mut output);
    decoder.decode(&mut output.freeze()).unwrap().unwrap();
    assert_eq!(decoder.version(), Some(version));
    decoder
}

/// A decoder of the Client's side that has decoded CONNACK.
fn answered(version: ProtocolVersion, maximum_packet_size: u32) -> ServerDecoder {
    let mut decoder = ServerDecoder::new(version, maximum_packet_size, u16::MAX);
    let mut output = bytes::BytesMut::new();
    super::encode(&ServerPacket::Connack(Box::new(Connack::accepted(false))), version, &mut output);
    decoder.decode(&mut output.freeze()).unwrap().unwrap();
    decoder
}

/// Decodes one complete packet of a Server, the first one if it is CONNACK.
fn decode_server(version: ProtocolVersion, frame: &[u8]) -> Result<ServerPacket, DecodeError> {
    let is_connack = frame.first().is_some_and(|first_byte| first_byte >> 4 == 2);
    let mut decoder =
        if is_connack { ServerDecoder::new(version, u32::MAX, u16::MAX) } else { answered(version, u32::MAX) };
    let mut input = Bytes::copy_from_slice(frame);
    let packet = decoder.decode(&mut input)?.expect("a whole packet");
    assert!(input.is_empty());
    Ok(packet)
}

/// A packet that consists of these parts.
fn packet(first_byte: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut output = bytes::BytesMut::new();
    super::primitives::put_packet(&mut output, first_byte, &body);
    output.to_vec()
}

/// Decodes one complete packet after a CONNECT of this version.
fn decode(version: ProtocolVersion, frame: &[u8]) -> Result<ClientPacket, DecodeError> {
    let mut input = Bytes::copy_from_slice(frame);
    let packet = connected(version).decode(&mut input)?.expect("a whole packet");
    assert!(input.is_empty());
    Ok(packet)
}

/// Decodes a CONNECT.
fn decode_connect(frame: &[u8]) -> Result<Connect, DecodeError> {
    match Decoder::new(u32::MAX).decode(&mut Bytes::copy_from_slice(frame))? {
        Some(ClientPacket::Connect(connect)) => Ok(*connect),
        other => panic!("not a CONNECT: {other:?}"),
    }
}

#[track_caller]
fn refused(version: ProtocolVersion, frame: &[u8], error: DecodeError) {
    assert_eq!(decode(version, frame), Err(error), "{frame:02x?}");
}

#[track_caller]
fn accepted(version: ProtocolVersion, frame: &[u8]) {
    decode(version, frame).unwrap_or_else(|error| panic!("{frame:02x?}: {error}"));
}

/// Passes `input` to a decoder in pieces of `piece` bytes. Returns the packets, and the number of remaining bytes or the error.
fn decode_in_pieces<P>(
    input: &[u8],
    piece: usize,
    mut decode: impl FnMut(&mut Bytes) -> Result<Option<P>, DecodeError>,
) -> (Vec<P>, Result<usize, DecodeError>) {
    let mut packets = Vec::new();
    let mut buffer = Bytes::new();
    for chunk in input.chunks(piece) {
        buffer = Bytes::from([&buffer, chunk].concat());
        loop {
            match decode(&mut buffer) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(error) => return (packets, Err(error)),
            }
        }
    }
    (packets, Ok(buffer.len()))
}
