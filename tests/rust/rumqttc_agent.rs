//! Drives rumqttc, without TLS and WebSocket, for `tests/clients/compat.rs`. `tests/python/agents/agent.py` describes what is said over its pipes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a program of the tests, which obeys its environment and ends at the first error"
)]

use std::env;
use std::io::stdin;
use std::process;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

/// The commands of the test.
type Commands = mpsc::Receiver<String>;

fn main() {
    let (command, commands) = mpsc::channel(1);
    thread::spawn(move || stdin().lines().map_while(Result::ok).try_for_each(|line| command.blocking_send(line)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match variable("MQTT_VERSION").as_deref() {
        Some("5") => runtime.block_on(v5::serve(commands)),
        _ => runtime.block_on(v4::serve(commands)),
    }
    // The thread that reads standard input must not keep the process alive.
    process::exit(0);
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

fn needed(name: &str) -> String {
    variable(name).unwrap_or_else(|| panic!("{name} is not set"))
}

/// The same for both modules of the library, whose types have the same names.
macro_rules! agent {
    () => {
        /// Obeys all commands, each after the last one is done.
        pub(super) async fn serve(mut commands: Commands) {
            let (client, mut events) = AsyncClient::new(options(), 10);
            let (mut awaited, mut ready) = (None, false);
            loop {
                tokio::select! {
                    line = commands.recv(), if ready && awaited.is_none() => {
                        let Some(line) = line else { return };
                        awaited = Some(obey(&client, &line).await);
                    }
                    event = events.poll() => match event {
                        Ok(Event::Incoming(Packet::ConnAck(_))) => {
                            println!("connected");
                            ready = true;
                        }
                        Ok(Event::Incoming(Packet::Publish(publish))) => {
                            let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
                            let topic = topic(&publish);
                            println!("message {topic} {} {} {payload}", publish.qos as u8, u8::from(publish.retain));
                        }
                        Ok(Event::Incoming(packet)) => {
                            if awaited.is_some_and(|awaited| answers(&packet, awaited)) {
                                println!("{}", awaited.take().unwrap());
                            }
                        }
                        Ok(Event::Outgoing(Outgoing::Disconnect)) => {
                            println!("disconnected");
                            return;
                        }
                        Ok(Event::Outgoing(Outgoing::Publish(0))) if awaited == Some("published") => {
                            println!("{}", awaited.take().unwrap());
                        }
                        Ok(Event::Outgoing(_)) => {}
                        // It connects again at the next poll.
                        Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
                    },
                }
            }
        }

        /// Begins what a command says, and returns what is to be said when it is done.
        async fn obey(client: &AsyncClient, line: &str) -> &'static str {
            let words: Vec<&str> = line.splitn(5, ' ').collect();
            match words[..] {
                ["subscribe", filter, level] => {
                    client.subscribe(filter, qos(level)).await.unwrap();
                    "subscribed"
                }
                ["publish", topic, level, retain, payload] => {
                    client.publish(topic, qos(level), retain == "1", payload.to_owned()).await.unwrap();
                    "published"
                }
                ["disconnect"] => {
                    client.disconnect().await.unwrap();
                    "disconnected"
                }
                _ => panic!("unknown command: {line}"),
            }
        }

        fn answers(packet: &Packet, awaited: &str) -> bool {
            match packet {
                Packet::SubAck(_) => awaited == "subscribed",
                Packet::PubAck(_) | Packet::PubComp(_) => awaited == "published",
                _ => false,
            }
        }

        fn qos(level: &str) -> QoS {
            match level {
                "0" => QoS::AtMostOnce,
                "1" => QoS::AtLeastOnce,
                _ => QoS::ExactlyOnce,
            }
        }
    };
}

mod v4 {
    use rumqttc::{AsyncClient, Event, LastWill, MqttOptions, Outgoing, Packet, Publish, QoS};

    use super::*;

    agent!();

    fn options() -> MqttOptions {
        let mut options = MqttOptions::new(needed("CLIENT_ID"), "127.0.0.1", needed("BROKER_PORT").parse().unwrap());
        options.set_max_packet_size(1 << 20, 1 << 20);
        options.set_clean_session(variable("STORED_SESSION").is_none());
        if let Some(topic) = variable("WILL_TOPIC") {
            options.set_last_will(LastWill::new(topic, "gone", QoS::AtLeastOnce, false));
        }
        options
    }

    fn topic(publish: &Publish) -> &str {
        &publish.topic
    }
}

mod v5 {
    use rumqttc::Outgoing;
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{LastWill, Packet, Publish};
    use rumqttc::v5::{AsyncClient, Event, MqttOptions};

    use super::*;

    agent!();

    fn options() -> MqttOptions {
        let mut options = MqttOptions::new(needed("CLIENT_ID"), "127.0.0.1", needed("BROKER_PORT").parse().unwrap());
        // Without it, the library takes no packet above 10 KiB, and does not tell the broker.
        options.set_max_packet_size(Some(1 << 20));
        if variable("STORED_SESSION").is_some() {
            options.set_clean_start(false).set_session_expiry_interval(Some(3_600));
        }
        if let Some(topic) = variable("WILL_TOPIC") {
            options.set_last_will(LastWill::new(topic, "gone", QoS::AtLeastOnce, false, None));
        }
        options
    }

    fn topic(publish: &Publish) -> &str {
        std::str::from_utf8(&publish.topic).unwrap()
    }
}
