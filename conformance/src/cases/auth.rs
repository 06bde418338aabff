//! AUTH and enhanced authentication.
//!
//! The authentication methods of a broker are unknown. The cases try many: for a supported method, the broker responds
//! with AUTH or CONNACK; it refuses others.

use crate::case::Case;
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal};
use crate::wire::kind::Kind;
use crate::wire::packet::Packet;
use crate::wire::{Auth, Connack, Connect, Disconnect, Encode, property};

pub(super) const CASES: &[Case] = &[
    Case::v5("an_unknown_authentication_method_is_refused", &["MQTT-4.12.0-1"], unknown_method),
    Case::v5(
        "an_authentication_method_is_refused_or_answered_with_its_name",
        &["MQTT-4.12.0-2", "MQTT-4.12.0-5", "MQTT-3.15.2-1"],
        answered_with_its_name,
    ),
    Case::v5(
        "an_authentication_that_goes_wrong_ends_the_connection",
        &["MQTT-4.12.0-3", "MQTT-4.12.0-4"],
        wrong_answer,
    ),
    Case::v5(
        "an_answer_to_an_authentication_method_keeps_to_the_maximum_packet_size",
        &["MQTT-3.15.2-2", "MQTT-3.15.2-3"],
        maximum_packet_size,
    ),
    Case::v5("a_client_may_give_up_its_authentication_with_disconnect", &["5.0/4.12/2"], given_up),
    Case::v5("without_an_authentication_method_the_broker_speaks_of_none", &["MQTT-4.12.0-6", "5.0/4.12/3"], no_method),
    Case::v5(
        "an_auth_without_authentication_method_in_connect_is_a_protocol_error",
        &["MQTT-4.12.0-7", "5.0/3.15/1", "MQTT-4.12.1-1", "MQTT-4.12.1-2"],
        auth_without_method,
    ),
    Case::v5("an_auth_before_connect_closes_the_connection", &["MQTT-4.12.0-7", "5.0/3.15/1"], auth_before_connect),
    Case::v5("an_auth_with_reserved_flags_closes_the_connection", &["MQTT-3.15.1-1"], reserved_flags),
    Case::v5("an_auth_with_a_reason_code_of_no_auth_closes_the_connection", &["MQTT-3.15.2-1"], wrong_reason_code),
    Case::v5(
        "an_auth_without_its_method_or_with_a_property_twice_closes_the_connection",
        &["5.0/3.15.2.2.2/1", "5.0/3.15.2.2.3/1", "5.0/3.15.2.2.4/2"],
        wrong_properties,
    ),
    Case::v5("the_reason_string_of_an_auth_changes_nothing", &["5.0/3.15.2.2.4/1"], reason_string),
    Case::v5(
        "a_re_authentication_that_fails_ends_the_connection",
        &["MQTT-4.12.1-1", "MQTT-4.12.1-2"],
        re_authentication,
    ),
];

const CONTINUE: u8 = 0x18;
const RE_AUTHENTICATE: u8 = 0x19;
const METHODS: [&str; 8] =
    ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512", "GS2-KRB5", "PLAIN", "EXTERNAL", "OAUTHBEARER", "conformance"];
const REASONS: [u8; 2] = [0x81, 0x82];

fn asking_for(cx: &Context, method: &str) -> Connect {
    cx.connecting("a").with(property::AUTHENTICATION_METHOD, method)
}

/// The response to a CONNECT with an authentication method.
enum Answer {
    Refused,
    /// The broker supports the method and continues.
    Continued(Client),
    /// The broker supports the method and accepts the client.
    Accepted(Client),
}

fn ask(cx: &mut Context, connect: &Connect) -> Result<Answer, Failure> {
    let mut client = cx.open()?;
    client.send_connect(connect)?;
    match client.receive_or_close()? {
        None => Ok(Answer::Refused),
        Some(Packet::Connack(Connack { reason: 0, properties, .. })) => {
            let method = properties.text(property::AUTHENTICATION_METHOD);
            let asked = connect.properties.text(property::AUTHENTICATION_METHOD);
            check_equal("the Authentication Method", method, asked)?;
            Ok(Answer::Accepted(client))
        }
        Some(Packet::Connack(connack)) => {
            check(connack.reason >= 0x80, "a Reason Code from 0x80 on", format!("{connack:?}"))?;
            let then = client.receive_or_close()?;
            check(then.is_none(), "the end of the connection", format!("{then:?}"))?;
            Ok(Answer::Refused)
        }
        // The method is compared with that of CONNECT on arrival.
        Some(Packet::Auth(auth)) => {
            check_equal("the Reason Code", auth.reason_code(), CONTINUE)?;
            Ok(Answer::Continued(client))
        }
        Some(packet) => Err(Failure::new("CONNACK, AUTH, or the end of the connection", packet.describe())),
    }
}

fn unknown_method(cx: &mut Context) -> Outcome {
    for method in ["conformance-of-no-use", "", "é", "SCRAM-SHA-1 "] {
        for data in [None, Some("data")] {
            let mut connect = asking_for(cx, method);
            if let Some(data) = data {
                connect = connect.with(property::AUTHENTICATION_DATA, data);
            }
            let mut client = cx.open()?;
            client.send_connect(&connect)?;
            client.expect_disconnect_or_close(&[0x8C, 0x87])?;
        }
    }
    // The refusal has no effect on a later connection.
    let client = cx.connect(cx.connecting("a").resume())?;
    check_equal("Session Present", client.connack().session_present, false)
}

fn answered_with_its_name(cx: &mut Context) -> Outcome {
    for method in METHODS {
        ask(cx, &asking_for(cx, method))?;
        ask(cx, &asking_for(cx, method).with(property::AUTHENTICATION_DATA, "n,,n=user,r=nonce"))?;
    }
    Ok(())
}

fn wrong_answer(cx: &mut Context) -> Outcome {
    for method in METHODS {
        let auth = |reason| Auth::new(reason).with(property::AUTHENTICATION_METHOD, method);
        let wrong = [
            auth(RE_AUTHENTICATE),
            auth(0),
            Auth::new(CONTINUE).with(property::AUTHENTICATION_METHOD, "another"),
            auth(CONTINUE).with(property::AUTHENTICATION_DATA, "data without a challenge"),
        ];
        for auth in wrong {
            if let Answer::Continued(mut client) = ask(cx, &asking_for(cx, method))? {
                client.send(auth)?;
                client.expect_disconnect_or_close(&[])?;
            }
        }
    }
    Ok(())
}

fn maximum_packet_size(cx: &mut Context) -> Outcome {
    // Sizes for the shortest refusal, and for one that returns the method.
    for limit in [5, 20, 40] {
        for method in METHODS {
            // The size of each packet is checked on arrival.
            ask(cx, &asking_for(cx, method).with(property::MAXIMUM_PACKET_SIZE, limit))?;
        }
    }
    Ok(())
}

fn given_up(cx: &mut Context) -> Outcome {
    for method in METHODS {
        match ask(cx, &asking_for(cx, method))? {
            Answer::Refused => {}
            Answer::Continued(client) | Answer::Accepted(client) => client.disconnect_with(Disconnect::new())?,
        }
        let mut client = cx.open()?;
        client.send_connect(&asking_for(cx, method))?;
        client.disconnect()?;
    }
    cx.client("a")?.ping()
}

fn no_method(cx: &mut Context) -> Outcome {
    let plain = cx.connecting("a");
    let with_password = plain.clone().user_name("user").password("password");
    for connect in [plain.clone(), with_password, plain.persistent(1)] {
        let mut client = cx.open()?;
        client.send_connect(&connect)?;
        // The decision comes at once, without AUTH.
        let connack = client.expect_connack()?;
        for id in [property::AUTHENTICATION_METHOD, property::AUTHENTICATION_DATA] {
            check(!connack.properties.has(id), "no authentication method or data", format!("{connack:?}"))?;
        }
        if connack.reason == 0 {
            client.expect_silence_by_ping()?;
            client.disconnect()?;
        }
    }
    Ok(())
}

/// Sends AUTH on a connection without an authentication method.
fn refused(cx: &mut Context, auth: impl Encode) -> Outcome {
    let mut client = cx.client("a")?;
    client.send(auth)?;
    client.expect_disconnect_or_close(&REASONS)
}

fn auth_without_method(cx: &mut Context) -> Outcome {
    for reason in [0, CONTINUE, RE_AUTHENTICATE] {
        for method in METHODS {
            refused(cx, Auth::new(reason).with(property::AUTHENTICATION_METHOD, method))?;
        }
        let auth = Auth::new(reason).with(property::AUTHENTICATION_METHOD, "PLAIN");
        refused(cx, auth.with(property::AUTHENTICATION_DATA, "data"))?;
    }
    refused(cx, Auth::default())
}

fn auth_before_connect(cx: &mut Context) -> Outcome {
    for auth in [Auth::default(), Auth::new(CONTINUE).with(property::AUTHENTICATION_METHOD, "PLAIN")] {
        let mut client = cx.open()?;
        client.send(auth)?;
        let then = client.receive_or_close()?;
        check(then.is_none(), "the end of the connection", format!("{then:?}"))?;
    }
    Ok(())
}

fn reserved_flags(cx: &mut Context) -> Outcome {
    for flags in 1..16 {
        let auth = Auth::new(RE_AUTHENTICATE).with(property::AUTHENTICATION_METHOD, "PLAIN").flags(flags);
        refused(cx, auth)?;
    }
    Ok(())
}

fn wrong_reason_code(cx: &mut Context) -> Outcome {
    for reason in [0x01, 0x04, 0x17, 0x1A, 0x80, 0x8C, 0xFF] {
        refused(cx, Auth::new(reason).with(property::AUTHENTICATION_METHOD, "PLAIN"))?;
    }
    Ok(())
}

fn wrong_properties(cx: &mut Context) -> Outcome {
    let auth = || Auth::new(CONTINUE).with(property::AUTHENTICATION_METHOD, "PLAIN");
    let with_twice = |id| auth().with(id, "one").with(id, "two");
    let wrong = [
        Auth::new(CONTINUE),
        Auth::new(CONTINUE).with(property::AUTHENTICATION_DATA, "data"),
        auth().with(property::AUTHENTICATION_METHOD, "PLAIN"),
        with_twice(property::AUTHENTICATION_DATA),
        with_twice(property::REASON_STRING),
    ];
    for auth in wrong {
        refused(cx, auth.clone())?;
        // The same with the right method, if the broker supports it.
        if let Answer::Continued(mut client) = ask(cx, &asking_for(cx, "PLAIN"))? {
            client.send(auth)?;
            client.expect_disconnect_or_close(&[])?;
        }
    }
    Ok(())
}

fn reason_string(cx: &mut Context) -> Outcome {
    let mut answers = Vec::new();
    for text in ["", "Success", "0x00", "failed"] {
        let auth = Auth::new(CONTINUE).with(property::AUTHENTICATION_METHOD, "PLAIN");
        let mut client = cx.client("a")?;
        client.send(auth.with(property::REASON_STRING, text))?;
        // The connection is closed in the same way, whatever the text is.
        let reason = match client.receive_or_close()? {
            None => None,
            Some(Packet::Disconnect(disconnect)) => Some(disconnect.reason_code()),
            Some(packet) => return Err(Failure::new("the end of the connection", packet.describe())),
        };
        answers.push(reason);
    }
    answers.dedup();
    check_equal("the number of different answers", answers.len(), 1)
}

fn re_authentication(cx: &mut Context) -> Outcome {
    for method in METHODS {
        // A method that was not agreed on, on a connection with and without a method.
        let auth = Auth::new(RE_AUTHENTICATE).with(property::AUTHENTICATION_METHOD, "another");
        let mut client = cx.client("a")?;
        client.send(auth.clone())?;
        client.expect_disconnect_or_close(&REASONS)?;
        let connect = asking_for(cx, method).with(property::AUTHENTICATION_DATA, "\0user\0password");
        if let Answer::Accepted(mut client) = ask(cx, &connect)? {
            client.send(auth)?;
            client.expect_disconnect_or_close(&[])?;
        }
    }
    // The broker must close the connection, not only refuse the AUTH; `expect_kind` would detect a response.
    let mut client = cx.client("a")?;
    let auth = Auth::new(RE_AUTHENTICATE).with(property::AUTHENTICATION_METHOD, "PLAIN").encode(cx.version());
    client.send([auth, vec![Kind::Pingreq.first_byte(), 0]].concat())?;
    client.expect_disconnect_or_close(&REASONS)
}
