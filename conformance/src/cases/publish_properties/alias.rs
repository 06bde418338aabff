//! Topic Aliases in both directions.

use crate::context::Context;
use crate::failure::{Outcome, check_equal, check_qos};
use crate::wire::{Publish, property};

fn maximum(cx: &Context) -> u32 {
    cx.announced().properties.number(property::TOPIC_ALIAS_MAXIMUM).unwrap_or_default()
}

fn aliased(topic: &str, payload: &str, alias: u32) -> Publish {
    Publish::new(topic, payload).with(property::TOPIC_ALIAS, alias)
}

pub(in crate::cases) fn set_used_and_changed(cx: &mut Context) -> Outcome {
    let (first, second) = (cx.topic("first"), cx.topic("second"));
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&first, 2)?;
    subscriber.subscribe(&second, 2)?;
    for qos in 0..=2 {
        let mut publisher = cx.client("publisher")?;
        for topic in [&first, &second, &first] {
            publisher.publish(aliased(topic, "sets it", 1).qos(qos))?;
            subscriber.expect_message(topic, "sets it")?;
            for _ in 0..2 {
                publisher.publish(aliased("", "uses it", 1).qos(qos))?;
                subscriber.expect_message(topic, "uses it")?;
            }
        }
        // A message without the property doesn't change the mapping.
        publisher.publish(Publish::new(&second, "full").qos(qos))?;
        subscriber.expect_message(&second, "full")?;
        publisher.publish(aliased("", "uses it", 1).qos(qos))?;
        subscriber.expect_message(&first, "uses it")?;
    }
    Ok(())
}

pub(in crate::cases) fn all_values(cx: &mut Context) -> Outcome {
    // Above this number, only the highest.
    const ALL_BELOW: u32 = 100;
    let maximum = maximum(cx);
    let aliases: Vec<u32> = (1..=maximum.min(ALL_BELOW)).chain([maximum]).collect();
    let mut client = cx.client("a")?;
    for alias in &aliases {
        let topic = cx.topic(&alias.to_string());
        client.subscribe(&topic, 0)?;
        client.publish(aliased(&topic, "sets it", *alias))?;
        client.expect_message(&topic, "sets it")?;
    }
    for alias in &aliases {
        client.publish(aliased("", "uses it", *alias))?;
        client.expect_message(&cx.topic(&alias.to_string()), "uses it")?;
    }
    Ok(())
}

pub(in crate::cases) fn retained_by_alias(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    publisher.publish(aliased(&topic, "sets it", 1).qos(1))?;
    publisher.publish(aliased("", "kept", 1).qos(1).retain())?;
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 1)?;
    let message = subscriber.expect_message(&topic, "kept")?;
    check_equal("the RETAIN flag", message.retain, true)?;
    publisher.publish(Publish::new(&topic, "").qos(1).retain())
}

pub(in crate::cases) fn ends_with_its_connection(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 0)?;
    let connect = cx.connecting("publisher").persistent(600);
    let mut publisher = cx.connect(connect.clone())?;
    publisher.publish(aliased(&topic, "sets it", 1))?;
    subscriber.expect_message(&topic, "sets it")?;
    publisher.disconnect()?;
    // The Session continues, but the mapping doesn't.
    let mut publisher = cx.connect(connect)?;
    check_equal("Session Present", publisher.connack().session_present, true)?;
    publisher.send(aliased("", "uses it", 1))?;
    publisher.expect_disconnect_or_close(&[0x82])?;
    subscriber.expect_silence_after(&mut cx.client("other")?)
}

pub(in crate::cases) fn zero(cx: &mut Context) -> Outcome {
    for topic in [cx.topic("a"), String::new()] {
        let mut client = cx.client("a")?;
        client.send(aliased(&topic, "", 0))?;
        client.expect_disconnect_or_close(&[0x94])?;
    }
    Ok(())
}

pub(in crate::cases) fn above_the_maximum(cx: &mut Context) -> Outcome {
    let maximum = maximum(cx);
    for alias in [maximum + 1, 0xFFFF].into_iter().filter(|alias| *alias > maximum && *alias <= 0xFFFF) {
        for qos in 0..=1 {
            let mut client = cx.client("a")?;
            let publish = aliased(&cx.topic("a"), "", alias).qos(qos);
            client.send(if qos == 0 { publish } else { publish.packet_id(1) })?;
            client.expect_disconnect_or_close(&[0x94])?;
        }
    }
    Ok(())
}

pub(in crate::cases) fn not_set(cx: &mut Context) -> Outcome {
    let maximum = maximum(cx);
    for (set, used) in [(None, 1), (Some(1), 2), (Some(maximum), 1), (Some(1), maximum)] {
        if used > maximum || set == Some(used) {
            continue;
        }
        let mut client = cx.client("a")?;
        if let Some(set) = set {
            client.publish(aliased(&cx.topic("a"), "", set))?;
        }
        client.send(aliased("", "", used))?;
        client.expect_disconnect_or_close(&[0x82])?;
    }
    Ok(())
}

pub(in crate::cases) fn of_the_server(cx: &mut Context) -> Outcome {
    let topics: Vec<String> = (0..5).map(|number| cx.topic(&format!("topic/{number}"))).collect();
    let mut publisher = cx.client("publisher")?;
    for allowed in [None, Some(0), Some(1), Some(3), Some(0xFFFF)] {
        let connect = cx.connecting("subscriber").persistent(600);
        let connect = match allowed {
            Some(allowed) => connect.with(property::TOPIC_ALIAS_MAXIMUM, allowed),
            None => connect,
        };
        for _ in 0..2 {
            // Topic Aliases of the server are resolved with the mappings of this connection.
            let mut subscriber = cx.connect(connect.clone())?;
            for topic in &topics {
                subscriber.subscribe(topic, 1)?;
            }
            for qos in [0, 1, 1] {
                for topic in &topics {
                    publisher.publish(Publish::new(topic, topic).qos(qos))?;
                    let message = subscriber.expect_message(topic, topic)?;
                    check_qos(cx.version(), message.qos, qos)?;
                }
            }
            subscriber.disconnect()?;
            // In the other order, queued for the next connection.
            let mut waiting: Vec<&String> = topics.iter().collect();
            waiting.reverse();
            for topic in &waiting {
                publisher.publish(Publish::new(*topic, *topic).qos(1))?;
            }
            let mut subscriber = cx.connect(connect.clone())?;
            for _ in &waiting {
                let message = subscriber.expect_publish()?;
                check_equal("the payload, which is the topic,", &message.payload, &message.topic)?;
                subscriber.acknowledge(&message)?;
            }
            subscriber.disconnect()?;
        }
    }
    Ok(())
}

pub(in crate::cases) fn independent_directions(cx: &mut Context) -> Outcome {
    let (sent, received) = (cx.topic("sent"), cx.topic("received"));
    let mut other = cx.client("other")?;
    other.subscribe(&sent, 0)?;
    let mut client = cx.connect(cx.connecting("a").with(property::TOPIC_ALIAS_MAXIMUM, 1))?;
    client.subscribe(&received, 0)?;
    // The client's Topic Alias 1 is independent of the server's.
    client.publish(aliased(&sent, "sets it", 1))?;
    other.expect_message(&sent, "sets it")?;
    for _ in 0..3 {
        other.publish(Publish::new(&received, "to the client"))?;
        client.expect_message(&received, "to the client")?;
        client.publish(aliased("", "uses it", 1))?;
        other.expect_message(&sent, "uses it")?;
    }
    Ok(())
}
