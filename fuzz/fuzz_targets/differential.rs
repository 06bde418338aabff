//! Packets that both this codec and `mqttbytes` accept decode to the same values.

#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
// The module is shared with the codec's tests and refers to these by `crate`.
use oncemq::codec::client::encode_client;
use oncemq::codec::{ClientPacket, Connect, Decoder, ProtocolVersion};
use oncemq::{codec, topic};

#[path = "../../src/codec/tests/second_opinion.rs"]
mod second_opinion;

fuzz_target!(|input: &[u8]| {
    compare(Decoder::new(u32::MAX), ProtocolVersion::V5, input);
    for version in [ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
        let mut decoder = Decoder::new(u32::MAX);
        let mut connect = BytesMut::new();
        encode_client(&ClientPacket::Connect(Box::new(Connect::new(version, "c", true))), version, &mut connect);
        decoder.decode(&mut connect.freeze()).expect("a legal CONNECT");
        compare(decoder, version, input);
    }
});

fn compare(mut decoder: Decoder, version: ProtocolVersion, input: &[u8]) {
    let mut rest = Bytes::copy_from_slice(input);
    if let Ok(Some(packet)) = decoder.decode(&mut rest) {
        let frame = &input[..input.len() - rest.len()];
        second_opinion::compare(version, frame, &packet);
    }
}
