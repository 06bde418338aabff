use crate::client::Client;
use crate::failure::{Outcome, check};
use crate::wire::packet::Packet;
use crate::wire::{Subscribe, Text};

/// The broker must refuse this Topic Filter: it closes the connection, or refuses in SUBACK.
pub(in crate::cases) fn expect_filter_refused(mut client: Client, filter: impl Into<Text>) -> Outcome {
    client.send(Subscribe::new(filter, 0).packet_id(1))?;
    match client.receive_or_close()? {
        None => Ok(()),
        Some(Packet::Suback(suback)) => {
            let refused = suback.reasons.len() == 1 && suback.reasons.iter().all(|code| *code >= 0x80);
            check(refused, "the Topic Filter is refused", format!("{suback:?}"))
        }
        Some(Packet::Disconnect(disconnect)) => {
            let fits = [0x81, 0x82, 0x8F].contains(&disconnect.reason_code());
            check(fits, "the Reason Code 0x81, 0x82 or 0x8F", format!("{disconnect:?}"))?;
            let then = client.receive_or_close()?;
            check(then.is_none(), "the connection is closed", format!("{then:?}"))
        }
        Some(packet) => check(false, "the Topic Filter is refused", packet.describe()),
    }
}
