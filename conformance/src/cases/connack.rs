//! CONNACK: its flags, codes and properties.

use crate::case::Case;
use crate::context::Context;
use crate::failure::{Outcome, check, check_equal};
use crate::wire::{Connect, property};

pub(super) const CASES: &[Case] = &[
    Case::v5(
        "a_client_without_client_identifier_is_assigned_a_new_one",
        &["MQTT-3.2.2-16", "MQTT-3.1.3-6", "MQTT-3.1.3-7"],
        assigned_client_identifier,
    ),
    Case::v3(
        "a_client_without_client_identifier_and_without_clean_session_is_refused",
        &["MQTT-3.1.3-8", "MQTT-3.1.3-9", "MQTT-3.2.2-5"],
        no_client_identifier_and_no_clean_session,
    ),
];

fn assigned_client_identifier(cx: &mut Context) -> Outcome {
    let one = cx.connect(Connect::new(cx.version()))?;
    let other = cx.connect(Connect::new(cx.version()))?;
    let assigned = |client: &crate::client::Client| {
        client.connack().properties.text(property::ASSIGNED_CLIENT_IDENTIFIER).cloned().unwrap_or_default()
    };
    let (one, other) = (assigned(&one), assigned(&other));
    check(!one.as_bytes().is_empty(), "an Assigned Client Identifier", "none")?;
    check(one != other, "different Assigned Client Identifiers", format!("{one:?} twice"))
}

fn no_client_identifier_and_no_clean_session(cx: &mut Context) -> Outcome {
    let mut client = cx.open()?;
    client.send_connect(&Connect::new(cx.version()).resume())?;
    let connack = client.expect_connack()?;
    check_equal("the return code", connack.reason, 2)?;
    client.expect_close()
}
