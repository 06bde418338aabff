use bytes::BytesMut;
use proptest::prelude::*;

use super::strategies::{connect, frame_like};
use super::*;
use crate::codec::{CLIENT_ID_WITHIN, FoundClientId, find_client_id};

fn encoded(connect: &Connect) -> Vec<u8> {
    let mut output = BytesMut::new();
    encode_client(&ClientPacket::Connect(Box::new(connect.clone())), connect.version, &mut output);
    output.to_vec()
}

/// The length of the fixed header.
fn header(frame: &[u8]) -> usize {
    1 + frame[1..].iter().take_while(|byte| **byte >= 0x80).count() + 1
}

proptest! {
    #[test]
    fn the_client_identifier_is_found_as_soon_as_it_has_arrived(
        connect in prop::sample::select(&VERSIONS[..]).prop_flat_map(connect),
    ) {
        let frame = encoded(&connect);
        // The Client Identifier is the last field.
        let bare = encoded(&Connect { will: None, user_name: None, password: None, ..connect.clone() });
        let needed = header(&frame) + bare.len() - header(&bare);
        for length in 0..=frame.len() {
            let expected =
                if length < needed { FoundClientId::NeedMore } else { FoundClientId::Found(&connect.client_id) };
            prop_assert_eq!(find_client_id(&frame[..length]), expected, "{} of {}", length, frame.len());
        }
    }

    #[test]
    fn what_a_decoder_accepts_has_the_client_identifier_that_is_found((_, frame) in frame_like()) {
        let decoded = Decoder::new(u32::MAX).decode(&mut Bytes::copy_from_slice(&frame));
        if let Ok(Some(ClientPacket::Connect(connect))) = decoded {
            prop_assert_eq!(find_client_id(&frame), FoundClientId::Found(&connect.client_id));
        }
    }
}

#[test]
fn what_can_be_no_connect_is_known_at_once_and_the_rest_within_a_bound() {
    for never in [
        &b"\x20"[..],
        b"GET / HTTP/1.1\r\n",
        b"\x10\xFF\xFF\xFF\xFF",
        b"\x10\x01\0",
        b"\x10\x0c\0\x04MQTX",
        b"\x10\x0c\0\x05",
        // It ends before its properties, and within its Client Identifier.
        b"\x10\x0a\0\x04MQTT\x05\x02\0\0",
        b"\x10\x0e\0\x04MQTT\x04\x02\0\0\0\x05ab",
        b"\x10\x0e\0\x04MQTT\x04\x02\0\0\0\x02\xFF\xFF",
        // 64 KiB of properties and one byte.
        b"\x10\xFF\xFF\x7F\0\x04MQTT\x05\x02\0\0\x81\x80\x04",
    ] {
        assert_eq!(find_client_id(never), FoundClientId::Unfindable, "{never:02x?}");
    }
    let mut longest = b"\x10\xFF\xFF\xFF\x7F\0\x04MQTT\x05\x02\0\0\x80\x80\x04".to_vec();
    longest.resize(longest.len() + (64 << 10), 0);
    longest.extend([0xFF; 2]);
    longest.resize(longest.len() + 0xFFFF, b'x');
    assert!(longest.len() <= CLIENT_ID_WITHIN, "{}", longest.len());
    assert!(matches!(find_client_id(&longest), FoundClientId::Found(id) if id.len() == 0xFFFF));
    assert_eq!(find_client_id(&longest[..longest.len() - 1]), FoundClientId::NeedMore);
    assert_eq!(find_client_id(b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0"), FoundClientId::Found(""));
}
