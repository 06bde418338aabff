//! Retransmissions after a reconnect.

use crate::broker::Signal;
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check_equal};
use crate::wire::{Ack, Connect, Publish};

/// How a connection ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Abandoned,
    Disconnected,
    /// The client reconnects before the server notices the disconnect.
    TakenOver,
}

const ENDS: [End; 3] = [End::Abandoned, End::Disconnected, End::TakenOver];

fn reconnect(cx: &mut Context, client: Client, end: End, connect: &Connect) -> Result<Client, Failure> {
    let client = match end {
        End::Abandoned => {
            client.abandon();
            cx.connect(connect.clone())?
        }
        End::Disconnected => {
            client.disconnect()?;
            cx.connect(connect.clone())?
        }
        End::TakenOver => {
            let next = cx.connect(connect.clone())?;
            drop(client);
            next
        }
    };
    check_equal("Session Present", client.connack().session_present, true)?;
    Ok(client)
}

/// The next messages are retransmissions of these, in any order: the order is defined only within a topic and a QoS.
fn expect_again(client: &mut Client, sent: &[&Publish]) -> Outcome {
    let mut open = sent.to_vec();
    while !open.is_empty() {
        let again = client.expect_publish()?;
        check_equal("the DUP flag", again.dup, true).map_err(|failure| failure.of("MQTT-3.3.1-1"))?;
        let Some(place) = open.iter().position(|sent| sent.packet_id == again.packet_id) else {
            return Err(Failure::new(format!("one of {open:?} again"), format!("{again:?}")));
        };
        let sent = open.remove(place);
        check_equal("the message, but for the DUP flag,", &Publish { dup: false, ..again }, sent)?;
    }
    Ok(())
}

fn id_of(message: &Publish) -> Result<u16, Failure> {
    message.packet_id.ok_or_else(|| Failure::new("a Packet Identifier", format!("{message:?}")))
}

pub(in crate::cases) fn publish(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let connect = cx.connecting("subscriber").persistent(600);
    let mut publisher = cx.client("publisher")?;
    let mut subscriber = cx.connect(connect.clone())?;
    subscriber.subscribe(&topic, 2)?;
    for qos in 1..=2 {
        for end in ENDS {
            publisher.publish(Publish::new(&topic, format!("{end:?}")).qos(qos))?;
            let message = subscriber.expect_publish()?;
            check_equal("the DUP flag", message.dup, false)?;
            for _ in 0..2 {
                subscriber = reconnect(cx, subscriber, end, &connect)?;
                expect_again(&mut subscriber, &[&message])?;
            }
            subscriber.acknowledge(&message)?;
            subscriber.ping()?;
            subscriber = reconnect(cx, subscriber, end, &connect)?;
            subscriber.expect_silence_after(&mut publisher)?;
        }
    }
    Ok(())
}

pub(in crate::cases) fn pubrel(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let connect = cx.connecting("subscriber").persistent(600);
    let mut publisher = cx.client("publisher")?;
    let mut subscriber = cx.connect(connect.clone())?;
    subscriber.subscribe(&topic, 2)?;
    for end in ENDS {
        publisher.publish(Publish::new(&topic, "released").qos(2))?;
        let id = id_of(&subscriber.expect_publish()?)?;
        subscriber.send(Ack::pubrec(id))?;
        subscriber.expect_pubrel(id)?;
        for _ in 0..2 {
            subscriber = reconnect(cx, subscriber, end, &connect)?;
            subscriber.expect_pubrel(id)?;
            // `expect_pubrel` sets a PUBLISH aside; this detects it.
            subscriber.expect_silence_by_ping()?;
        }
        subscriber.send(Ack::pubcomp(id))?;
        subscriber.ping()?;
        subscriber = reconnect(cx, subscriber, end, &connect)?;
        subscriber.expect_silence_after(&mut publisher)?;
    }
    Ok(())
}

pub(in crate::cases) fn only_the_unacknowledged(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let connect = cx.connecting("subscriber").persistent(600);
    let mut publisher = cx.client("publisher")?;
    let mut subscriber = cx.connect(connect.clone())?;
    subscriber.subscribe(&topic, 2)?;
    let mut sent = Vec::new();
    for number in 0..8u8 {
        publisher.publish(Publish::new(&topic, &[number]).qos(1 + number % 2))?;
        sent.push(subscriber.expect_publish()?);
    }
    let [one, two, three, four, five, six, seven, eight] = &sent[..] else { return Ok(()) };
    // In the order of the messages, as section 4.6 asks of clients: a broker may end the connection otherwise.
    for done in [one, two, three] {
        subscriber.acknowledge(done)?;
    }
    subscriber.send(Ack::pubrec(id_of(four)?))?;
    subscriber.expect_pubrel(id_of(four)?)?;
    subscriber.ping()?;
    subscriber = reconnect(cx, subscriber, End::Abandoned, &connect)?;
    expect_again(&mut subscriber, &[five, six, seven, eight])?;
    subscriber.expect_pubrel(id_of(four)?)?;
    // A message sent for the first time is not a retransmission.
    publisher.publish(Publish::new(&topic, "new").qos(1))?;
    let new = subscriber.expect_message(&topic, "new")?;
    check_equal("the DUP flag of a new message", new.dup, false)?;
    subscriber.send(Ack::pubcomp(id_of(four)?))?;
    for open in [five, six, seven, eight] {
        subscriber.acknowledge(open)?;
    }
    subscriber.expect_silence_after(&mut publisher)
}

pub(in crate::cases) fn refused_by_the_client(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let connect = cx.connecting("subscriber").persistent(600);
    let mut publisher = cx.client("publisher")?;
    let mut subscriber = cx.connect(connect.clone())?;
    subscriber.subscribe(&topic, 2)?;
    for reason in [0x80, 0x83, 0x87, 0x90, 0x97, 0x99] {
        for qos in 1..=2 {
            publisher.publish(Publish::new(&topic, "refused").qos(qos))?;
            let id = id_of(&subscriber.expect_publish()?)?;
            let ack = if qos == 1 { Ack::puback(id) } else { Ack::pubrec(id) };
            subscriber.send(ack.reason(reason))?;
            // Nothing is left to release.
            subscriber.expect_silence_by_ping()?;
        }
        subscriber = reconnect(cx, subscriber, End::Abandoned, &connect)?;
        subscriber.expect_silence_by_ping()?;
        subscriber.expect_silence_after(&mut publisher)?;
    }
    Ok(())
}

pub(in crate::cases) fn nothing_in_a_new_session(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    for end in ENDS {
        let mut subscriber = cx.connect(cx.connecting("subscriber").persistent(600))?;
        subscriber.subscribe(&topic, 2)?;
        let mut ids = Vec::new();
        for qos in [2, 1, 2] {
            publisher.publish(Publish::new(&topic, "forgotten").qos(qos))?;
            ids.push(id_of(&subscriber.expect_publish()?)?);
        }
        // The first, since a client sends its acknowledgements in the order of the messages.
        let first = ids.first().copied().unwrap_or_default();
        subscriber.send(Ack::pubrec(first))?;
        subscriber.expect_pubrel(first)?;
        match end {
            End::Abandoned => subscriber.abandon(),
            End::Disconnected => subscriber.disconnect()?,
            End::TakenOver => {
                // The next connection has no messages either.
                cx.client("subscriber")?.expect_silence_by_ping()?;
            }
        }
        let mut subscriber = cx.client("subscriber")?;
        check_equal("Session Present", subscriber.connack().session_present, false)?;
        subscriber.expect_silence_by_ping()?;
        subscriber.expect_silence_after(&mut publisher)?;
    }
    Ok(())
}

pub(in crate::cases) fn after_a_restart(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let connect = cx.connecting("subscriber").persistent(600);
    let mut subscriber = cx.connect(connect.clone())?;
    subscriber.subscribe(&topic, 2)?;
    let mut publisher = cx.client("publisher")?;
    let mut sent = Vec::new();
    for (payload, qos) in [("released", 2), ("one", 1), ("two", 2)] {
        publisher.publish(Publish::new(&topic, payload).qos(qos))?;
        sent.push(subscriber.expect_publish()?);
    }
    let [released, one, two] = &sent[..] else { return Ok(()) };
    subscriber.send(Ack::pubrec(id_of(released)?))?;
    subscriber.expect_pubrel(id_of(released)?)?;
    cx.broker()?.restart(Signal::Term)?;
    let mut subscriber = cx.connect(connect)?;
    check_equal("Session Present", subscriber.connack().session_present, true)?;
    expect_again(&mut subscriber, &[one, two])?;
    subscriber.expect_pubrel(id_of(released)?)?;
    subscriber.send(Ack::pubcomp(id_of(released)?))?;
    for message in [one, two] {
        subscriber.acknowledge(message)?;
    }
    subscriber.expect_silence_after(&mut cx.client("publisher")?)
}
