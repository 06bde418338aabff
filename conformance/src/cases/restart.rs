//! What survives the broker's end.

use crate::broker::Signal;
use crate::case::{Case, Feature};
use crate::context::Context;
use crate::failure::{Outcome, check_equal};
use crate::wire::Publish;

pub(super) const CASES: &[Case] = &[Case::both(
    "an_acknowledged_message_and_its_session_survive_the_end_of_the_broker",
    &["MQTT-4.3.2-2", "MQTT-3.1.2-5"],
    &["MQTT-4.3.2-4"],
    message_survives,
)
.needs(&[Feature::Restart])
.seconds(60)];

fn message_survives(cx: &mut Context) -> Outcome {
    for signal in [Signal::Term, Signal::Kill] {
        let topic = cx.topic("a");
        let subscriber = cx.connecting("subscriber").persistent(600);
        let mut client = cx.connect(subscriber.clone())?;
        client.subscribe(&topic, 1)?;
        client.disconnect()?;
        cx.client("publisher")?.publish(Publish::new(&topic, "kept").qos(1))?;
        cx.broker()?.restart(signal)?;
        let mut client = cx.connect(subscriber)?;
        check_equal("Session Present", client.connack().session_present, true)?;
        client.expect_message(&topic, "kept")?;
        client.disconnect()?;
    }
    Ok(())
}
