//! Client Identifiers.

use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal};
use crate::wire::{Connect, Publish, property};

pub(super) fn letters_and_digits(cx: &mut Context) -> Outcome {
    const LENGTH_MAX: usize = 23;
    const CHARACTERS: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let unique = cx.client_id("");
    let mut client_ids = vec![cx.version().pick("3", "5").to_owned(), cx.version().pick("3Z", "5Z").to_owned()];
    // Every character, and every length from that of the unique part.
    for (place, character) in CHARACTERS.chars().enumerate() {
        let length = unique.len() + 1 + place % (LENGTH_MAX - unique.len());
        client_ids.push(unique.chars().chain(std::iter::repeat_n(character, length - unique.len())).collect());
    }
    client_ids.push(format!("{unique}{CHARACTERS}").chars().take(LENGTH_MAX).collect());
    for client_id in client_ids {
        let mut client = cx.connect(Connect::new(cx.version()).client_id(client_id))?;
        client.ping()?;
        client.disconnect()?;
    }
    Ok(())
}

pub(super) fn longer(cx: &mut Context) -> Outcome {
    for length in [24, 25, 64, 256, 1_000, 65_535] {
        let unique = cx.client_id("");
        let first = format!("{unique}{}", "x".repeat(length - unique.len()));
        // It differs in the last character only.
        let second = format!("{}y", first.get(..length - 1).unwrap_or_default());
        taken_or_refused(cx, &first, &second)?;
    }
    Ok(())
}

pub(super) fn other_characters(cx: &mut Context) -> Outcome {
    for characters in ["-", "_", ".", "/", " ", "+", "#", "$", "\"", "'", "\\", "%", "é", "日本", "😀", "\u{FEFF}"]
    {
        let unique = cx.client_id("");
        taken_or_refused(cx, &format!("{unique}{characters}a"), &format!("{unique}a"))?;
        taken_or_refused(cx, &format!("{unique}{characters}"), &unique)?;
    }
    Ok(())
}

/// If both are accepted, they are two clients, and neither takes over the other's connection.
fn taken_or_refused(cx: &mut Context, first: &str, second: &str) -> Outcome {
    let mut clients = Vec::new();
    for client_id in [first, second] {
        let mut client = cx.open()?;
        client.send_connect(&Connect::new(cx.version()).client_id(client_id))?;
        let connack = client.expect_connack_or_close()?;
        match connack.map(|connack| connack.reason) {
            Some(0) => clients.push(client),
            Some(2) if !cx.version().is_v5() => {}
            Some(0x85 | 0x95 | 0x97) if cx.version().is_v5() => {}
            Some(reason) => {
                let expected = "Success, or that the Client Identifier is not valid";
                return Err(Failure::new(expected, format!("the code 0x{reason:02X}")));
            }
            None if cx.version().is_v5() => {}
            None => {
                let expected = "Success, or the return code 2";
                return Err(Failure::new(expected, "the connection was closed without CONNACK").of("MQTT-3.1.3-9"));
            }
        }
    }
    for mut client in clients {
        client.ping()?;
        client.disconnect()?;
    }
    Ok(())
}

pub(super) fn name_the_session(cx: &mut Context) -> Outcome {
    let labels = ["one", "two", "ONE", "onea"];
    for label in labels {
        let mut client = cx.connect(cx.connecting(label).persistent(60))?;
        check_equal("Session Present", client.connack().session_present, false)?;
        client.subscribe(&cx.topic(label), 1)?;
        client.disconnect()?;
    }
    let mut publisher = cx.client("publisher")?;
    for label in labels {
        publisher.publish(Publish::new(cx.topic(label), label).qos(1))?;
    }
    for label in labels {
        let mut client = cx.connect(cx.connecting(label).persistent(60))?;
        check_equal("Session Present", client.connack().session_present, true)?;
        client.expect_message(&cx.topic(label), label)?;
        client.expect_silence_after(&mut publisher)?;
    }
    Ok(())
}

pub(super) fn none_given(cx: &mut Context) -> Outcome {
    let mut clients = Vec::new();
    for topic in ["a", "b"] {
        let mut client = cx.open()?;
        client.send_connect(&Connect::new(cx.version()))?;
        let Some(0) = client.expect_connack_or_close()?.map(|connack| connack.reason) else {
            return Err(Failure::skipped("the broker requires a Client Identifier, which the standard permits"));
        };
        client.subscribe(&cx.topic(topic), 0)?;
        clients.push((client, topic));
    }
    let mut publisher = cx.client("publisher")?;
    for (client, topic) in &mut clients {
        publisher.publish(Publish::new(cx.topic(topic), *topic))?;
        client.expect_message(&cx.topic(topic), *topic)?;
        client.expect_silence_after(&mut publisher)?;
    }
    Ok(())
}

pub(super) fn none_given_without_clean_session(cx: &mut Context) -> Outcome {
    let mut client = cx.open()?;
    client.send_connect(&Connect::new(cx.version()).resume())?;
    let connack = client.expect_connack()?;
    check_equal("the return code", connack.reason, 2)?;
    client.expect_close()
}

pub(super) fn assigned(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.open()?;
    client.send_connect(&Connect::new(cx.version()).persistent(60))?;
    let Some(connack) = client.expect_connack_or_close()?.filter(|connack| connack.reason == 0) else {
        return Err(Failure::skipped("the broker requires a Client Identifier, which the standard permits"));
    };
    check_equal("Session Present", connack.session_present, false)?;
    let assigned = connack.properties.text(property::ASSIGNED_CLIENT_IDENTIFIER).cloned().unwrap_or_default();
    check(!assigned.as_bytes().is_empty(), "an Assigned Client Identifier", "none")?;
    client.subscribe(&topic, 1)?;
    client.disconnect()?;
    cx.client("publisher")?.publish(Publish::new(&topic, "kept").qos(1))?;
    let mut client = cx.connect(Connect::new(cx.version()).client_id(assigned.as_bytes()).resume())?;
    check_equal("Session Present", client.connack().session_present, true)?;
    client.expect_message(&topic, "kept")?;
    client.disconnect()
}
