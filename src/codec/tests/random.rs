use bytes::{Buf, BytesMut};
use proptest::prelude::*;

use super::strategies::{client_packet, frame_like, server_packet};
use super::*;
use crate::codec::{Message, ServerPacket, encode};

/// Decodes `input` in pieces of `piece` bytes. Returns the packets, the number of remaining bytes, and the error.
fn read_all(
    version: Option<ProtocolVersion>,
    input: &[u8],
    piece: usize,
) -> (Vec<ClientPacket>, Result<usize, DecodeError>) {
    let mut decoder = version.map_or(Decoder::new(1_000), connected);
    decode_in_pieces(input, piece, |buffer| decoder.decode(buffer))
}

proptest! {
    #[test]
    fn any_bytes_decode_or_fail_independently_of_fragmentation(
        frames in prop::collection::vec(frame_like(), 1..4),
        piece in 1usize..20,
        connected in any::<bool>(),
    ) {
        let version = connected.then_some(frames[0].0);
        let input: Vec<u8> = frames.into_iter().flat_map(|(_, frame)| frame).collect();
        let whole = read_all(version, &input, usize::MAX);
        prop_assert_eq!(&whole, &read_all(version, &input, piece));
        prop_assert_eq!(&whole, &read_all(version, &input, 1));
    }

    #[test]
    fn packets_of_a_client_survive_a_round_trip((version, packet) in client_packet()) {
        let mut output = BytesMut::new();
        encode_client(&packet, version, &mut output);
        if matches!(packet, ClientPacket::Connect(_)) {
            let read = Decoder::new(u32::MAX).decode(&mut output.freeze());
            prop_assert_eq!(read, Ok(Some(packet)));
        } else {
            prop_assert_eq!(decode(version, &output), Ok(packet));
        }
    }

    #[test]
    fn packets_of_the_server_survive_a_round_trip((version, packet) in server_packet()) {
        let mut output = BytesMut::from("before");
        encode(&packet, version, &mut output);
        prop_assert_eq!(&output[..6], b"before");
        output.advance(6);
        prop_assert_eq!(output.len(), packet.encoded_len(version));
        prop_assert_eq!(decode_server(version, &output), Ok(packet.clone()));
        if let ServerPacket::Publish(publish) = packet {
            let mut whole = BytesMut::new();
            publish.encode(version, &mut whole);
            let mut pieces = BytesMut::new();
            publish.encode_head(version, &mut pieces);
            pieces.extend_from_slice(&publish.message.payload);
            prop_assert_eq!(whole, pieces);
            let mut detached = Message::clone(&publish.message);
            detached.detach();
            prop_assert_eq!(&detached, &*publish.message);
        }
    }
}

/// Does the same as the fuzz target, for a bounded time and with a fixed seed: repeated mutations of valid packets.
#[test]
fn a_bounded_run_of_the_fuzzer_finds_no_error() {
    let seeds: &[&[u8]] = &[
        b"\x10\x0D\0\x04MQTT\x04\x02\0\x3C\0\x01c",
        b"\x10\x24\0\x04MQTT\x05\xC6\0\x3C\x05\x11\0\0\0\x0A\0\x01c\x05\x18\0\0\0\x09\0\x01w\0\x01x\0\x01u\0\x01p",
        b"\x12\x0F\0\x06MQIsdp\x03\xC2\0\x3C\0\x01c",
        b"\x10\x8F\0\0\x06MQIsdp\x03\x3B\0\x3C\0\x01c",
        b"\x10\x8D\0\0\x04MQTT\x04\x02\0\x3C\0\x01c",
        b"\x8A\x06\0\x01\0\x01t\xFD",
        b"\xA0\x85\0\0\x01\0\x01t",
        b"\x38\x04\0\x01tx",
        b"\x32\x09\0\x03a/b\0\x07hi",
        b"\x34\x18\0\x01t\0\x07\x10\x23\0\x01\x26\0\x01k\0\x01v\x08\0\x03r/tx!",
        b"\x82\x0A\0\x01\x02\x0B\x05\0\x02a#\0",
        b"\x82\x0C\0\x01\0\x03a/+\0\0\x01#\x01",
        b"\xA2\x06\0\x01\0\0\x01t",
        b"\x62\x04\0\x01\x92\0",
        b"\xE0\x07\0\x05\x11\0\0\0\x07",
        b"\xF0\x06\x18\x04\x15\0\x01m",
    ];
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut accepted = 0;
    let mut frame = Vec::new();
    for round in 0..60_000 {
        if round % 6 == 0 {
            frame = seeds[random(seeds.len())].to_vec();
        }
        let at = random(frame.len());
        match random(5) {
            0 => frame[at] = u8::try_from(random(256)).unwrap(),
            1 => frame[at] = frame[at].wrapping_add(1),
            2 => frame.insert(at, u8::try_from(random(256)).unwrap()),
            3 if frame.len() > 2 => drop(frame.remove(at)),
            _ => frame[1] = u8::try_from(frame.len() - 2).unwrap_or(0),
        }
        let version = VERSIONS[random(3)];
        for version in [None, Some(version)] {
            accepted += read_all(version, &frame, usize::MAX).0.len();
        }
    }
    assert!(accepted > 1_000, "the fuzzer must create enough valid packets: {accepted}");
}
