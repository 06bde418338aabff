use bytes::BytesMut;
use proptest::prelude::*;

use super::second_opinion::{canonical, compare, second_opinion};
use super::strategies::{client_packet, frame_like};
use super::*;

proptest! {
    #[test]
    fn packets_that_both_accept_decode_to_the_same((version, frame) in frame_like()) {
        let mut input = Bytes::from(frame);
        let whole = input.clone();
        if let Ok(Some(packet)) = connected(version).decode(&mut input) {
            compare(version, &whole[..whole.len() - input.len()], &packet);
        } else if let Ok(Some(packet)) = Decoder::new(u32::MAX).decode(&mut input) {
            compare(version, &whole[..whole.len() - input.len()], &packet);
        }
    }

    #[test]
    fn each_codec_decodes_what_the_other_encodes((version, packet) in client_packet()) {
        let mut output = BytesMut::new();
        encode_client(&packet, version, &mut output);
        compare(version, &output, &packet);
        let Some((_, Some(written))) = second_opinion(version, &output, &packet) else { return Ok(()) };
        let read = if matches!(packet, ClientPacket::Connect(_)) {
            Decoder::new(u32::MAX).decode(&mut written.clone()).unwrap().unwrap()
        } else {
            decode(version, &written).unwrap()
        };
        prop_assert_eq!(canonical(read), canonical(packet));
    }
}

#[test]
fn the_second_codec_decodes_enough_packets() {
    for (version, frame) in [(V3, b"\x82\x06\0\x01\0\x01t\0".as_slice()), (V5, b"\x82\x07\0\x01\0\0\x01t\x2D")] {
        let packet = decode(version, frame).unwrap();
        let (theirs, written) = second_opinion(version, frame, &packet).unwrap();
        assert_eq!(theirs, packet);
        assert_eq!(&written.unwrap()[..], frame);
    }
}

/// `mqttbytes` encodes this CONNECT without the User Name and with the Password flag, which is malformed in 3.1.1.
#[test]
fn an_empty_user_name_with_a_password_is_compared_in_one_direction() {
    let mut connect = Connect::new(V3, "a", true);
    (connect.user_name, connect.password) = (Some("".into()), Some("x".into()));
    let packet = ClientPacket::Connect(Box::new(connect));
    let mut output = BytesMut::new();
    encode_client(&packet, V3, &mut output);
    compare(V3, &output, &packet);
    assert!(second_opinion(V3, &output, &packet).unwrap().1.is_none());
}
