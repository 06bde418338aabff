use bytes::{Bytes, BytesMut};
use oncemq::codec::client::{ServerDecoder, encode_client};
use oncemq::codec::{
    CLIENT_ID_WITHIN, ClientPacket, Connack, Connect, Decoder, FoundClientId, ProtocolVersion, ServerPacket, encode,
    find_client_id,
};

/// Arbitrary bytes, decoded in each version and direction, decode or fail; encoding and decoding a result reproduces it.
pub(crate) fn decode(input: &[u8]) {
    find(input);
    decode_all(&mut Decoder::new(MAXIMUM_PACKET_SIZE), input);
    for version in VERSIONS {
        decode_all(&mut connected(version), input);
        decode_server(version, input);
    }
}

/// A decoder that has decoded a CONNECT of this version.
fn connected(version: ProtocolVersion) -> Decoder {
    let mut decoder = Decoder::new(MAXIMUM_PACKET_SIZE);
    let mut connect = BytesMut::new();
    encode_client(&ClientPacket::Connect(Box::new(Connect::new(version, "c", true))), version, &mut connect);
    decoder.decode(&mut connect.freeze()).expect("a legal CONNECT");
    decoder
}

/// The Client Identifier that is found at the beginning of a connection is the one that a decoder finds, and stays the same when more bytes come.
fn find(input: &[u8]) {
    let found = find_client_id(input);
    assert!(found != FoundClientId::NeedMore || input.len() < CLIENT_ID_WITHIN);
    for length in 0..input.len().min(64) {
        let earlier = find_client_id(&input[..length]);
        assert!(earlier == FoundClientId::NeedMore || earlier == found);
    }
    if let Ok(Some(ClientPacket::Connect(connect))) = Decoder::new(u32::MAX).decode(&mut Bytes::copy_from_slice(input))
    {
        assert!(found == FoundClientId::Found(&connect.client_id) || input.len() > 64 << 10);
    }
}

fn decode_all(decoder: &mut Decoder, input: &[u8]) {
    let mut input = Bytes::copy_from_slice(input);
    loop {
        let mut before = decoder.clone();
        let Ok(Some(packet)) = decoder.decode(&mut input) else { return };
        let mut written = BytesMut::new();
        encode_client(&packet, decoder.version().expect("a packet was read"), &mut written);
        assert_eq!(before.decode(&mut written.freeze()), Ok(Some(packet)));
    }
}

fn decode_server(version: ProtocolVersion, input: &[u8]) {
    decode_all_of_server(ServerDecoder::new(version, MAXIMUM_PACKET_SIZE, TOPIC_ALIAS_MAXIMUM), version, input);
    decode_all_of_server(answered(version), version, input);
}

/// A client's decoder that has decoded a CONNACK.
pub(crate) fn answered(version: ProtocolVersion) -> ServerDecoder {
    let mut answered = ServerDecoder::new(version, MAXIMUM_PACKET_SIZE, TOPIC_ALIAS_MAXIMUM);
    let mut connack = BytesMut::new();
    encode(&ServerPacket::Connack(Box::new(Connack::accepted(false))), version, &mut connack);
    answered.decode(&mut connack.freeze()).expect("a legal CONNACK");
    answered
}

fn decode_all_of_server(mut decoder: ServerDecoder, version: ProtocolVersion, input: &[u8]) {
    let mut input = Bytes::copy_from_slice(input);
    loop {
        let mut before = decoder.clone();
        let _oversized = decoder.clone().decode_oversized(&input);
        let Ok(Some(packet)) = decoder.decode(&mut input) else { return };
        let mut written = BytesMut::new();
        encode(&packet, version, &mut written);
        assert_eq!(written.len(), packet.encoded_len(version));
        assert_eq!(before.decode(&mut written.freeze()), Ok(Some(packet)));
    }
}

pub(crate) const VERSIONS: [ProtocolVersion; 3] = [ProtocolVersion::V3_1, ProtocolVersion::V3_1_1, ProtocolVersion::V5];
const MAXIMUM_PACKET_SIZE: u32 = 1 << 20;
const TOPIC_ALIAS_MAXIMUM: u16 = 3;
