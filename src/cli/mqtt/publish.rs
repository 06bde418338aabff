//! `oncemq pub`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use oncemq::codec::{
    Ack, ClientPacket, Connack, Message, MessageProperties, PacketId, Publish, Qos, ReasonCode, ServerPacket,
};
use oncemq::topic::TopicName;
use tokio::select;

use super::error::{MqttError, in_words};
use super::input::{Payloads, Source};
use super::link::{Link, Reading, Turn};
use super::options::{ConnectionOptions, Settings, qos, topic_name};
use super::signals::Signals;
use crate::output::eprint;

#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:
  oncemq pub -t hello -m 'it works'
  oncemq pub -h broker -u alice -P secret -t plant/7/set -q 1 -r -m on
  oncemq pub -h broker --cafile ca.pem -t events -q 2 -l < events.txt
  oncemq pub -t order -q 1 -m '{}' -D publish content-type application/json -D publish user-property dedup-id 42

At QoS 1 and 2 it waits until the broker has acknowledged all messages. Exit codes: 0 done, 1 a message was refused or not
acknowledged, 2 the command line can't be right, 7 no connection, 128 to 162 the Reason Code with which the broker refused the
connection or ended it."
)]
#[group(id = "payload", required = true, multiple = false, args = ["message", "file", "stdin_line", "stdin_file", "null_message"])]
pub(crate) struct PublishCommand {
    /// Topic to publish to
    #[arg(short, long, value_name = "TOPIC", required_unless_present = "url")]
    topic: Option<String>,
    /// Publish this text
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    message: Option<String>,
    /// Publish the contents of a file as one message
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Publish each line of standard input that is not empty as a message
    #[arg(short = 'l', long)]
    stdin_line: bool,
    /// Publish all of standard input as one message
    #[arg(short = 's', long)]
    stdin_file: bool,
    /// Publish an empty message; with -r it removes the retained message
    #[arg(short, long)]
    null_message: bool,
    /// Quality of Service: 0, 1 or 2
    #[arg(short, long, value_name = "QOS", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Retain the message
    #[arg(short, long)]
    retain: bool,
    #[command(flatten)]
    connection: ConnectionOptions,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// What is the same for all messages.
#[derive(Debug)]
struct Template {
    topic: TopicName,
    qos: Qos,
    retain: bool,
    message_expiry_interval: Option<u32>,
    properties: MessageProperties,
}

/// What a message waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaiting {
    Puback,
    Pubrec,
    Pubcomp,
    /// PUBCOMP for a flow that an earlier connection may have left.
    Forgotten,
}

/// The messages on their way.
struct Publisher {
    link: Link,
    template: Template,
    /// Packet Identifiers that no flow has.
    free: Vec<PacketId>,
    flows: HashMap<PacketId, Awaiting>,
    refused: u64,
}

impl PublishCommand {
    fn source(&self) -> Source {
        if let Some(path) = &self.file {
            Source::File(path.clone())
        } else if self.stdin_line {
            Source::Lines
        } else if self.stdin_file {
            Source::Input
        } else {
            // Without -n, because the group is required.
            Source::Payload(self.message.clone().unwrap_or_default().into_bytes())
        }
    }
}

/// Publishes, and returns when the broker has acknowledged all messages.
pub(super) async fn run(command: PublishCommand) -> Result<(), MqttError> {
    let source = command.source();
    let (qos, retain, topic) = (qos(command.qos), command.retain, command.topic.clone());
    let settings = command.connection.settings("pub")?;
    if settings.properties.has_subscribe() {
        return Err(MqttError::Usage("-D subscribe … is for oncemq sub".to_owned()));
    }
    let topic = topic.or_else(|| settings.topic.clone()).unwrap_or_default();
    let of_message = settings.properties.publish.clone();
    let template = Template {
        topic: topic_name(&topic)?,
        qos,
        retain,
        message_expiry_interval: of_message.expiry_interval,
        properties: MessageProperties::from_properties(of_message.properties),
    };
    let payloads = Payloads::open(source)?;
    Publisher::connect(&settings, template, payloads.is_single()).await?.publish_all(payloads).await
}

impl Publisher {
    async fn connect(settings: &Settings, template: Template, is_single: bool) -> Result<Self, MqttError> {
        let (link, connack) = Link::connect(settings).await?;
        let Connack { session_present, properties, .. } = connack;
        if template.qos > properties.maximum_qos {
            let maximum = properties.maximum_qos.level();
            return Err(MqttError::NotDone(format!("the broker takes messages up to QoS {maximum} only")));
        }
        if template.retain && !properties.retain_available {
            return Err(MqttError::NotDone("the broker has no retained messages".to_owned()));
        }
        let receive_maximum = properties.receive_maximum.map_or(u16::MAX, |maximum| maximum.get());
        let window = if is_single { 1 } else { receive_maximum.min(FLOWS_MAX) };
        let free = (1..=window).rev().filter_map(PacketId::new).collect();
        let mut publisher = Self { link, template, free, flows: HashMap::new(), refused: 0 };
        if session_present && publisher.template.qos == Qos::ExactlyOnce {
            publisher.forget_flows()?;
        }
        Ok(publisher)
    }

    /// Ends QoS 2 flows that an earlier connection of this Session has left. With the same Packet Identifier, the broker would take a new
    /// message for a repetition, and not deliver it.
    fn forget_flows(&mut self) -> Result<(), MqttError> {
        for packet_id in self.free.drain(..) {
            self.flows.insert(packet_id, Awaiting::Forgotten);
            self.link.send(&ClientPacket::Pubrel(Ack::new(packet_id, ReasonCode::Success)))?;
        }
        Ok(())
    }

    async fn publish_all(mut self, payloads: Payloads) -> Result<(), MqttError> {
        let result = self.drive(payloads).await;
        match result {
            Err(error) if !error.leaves_connection() => Err(error),
            result => {
                self.link.finish().await?;
                result
            }
        }
    }

    async fn drive(&mut self, mut payloads: Payloads) -> Result<(), MqttError> {
        let mut signals = Signals::new().map_err(|source| MqttError::File { what: "signals".to_owned(), source })?;
        let mut is_at_end = false;
        while !(is_at_end && self.flows.is_empty() && self.link.is_flushed()) {
            let has_room = self.link.has_room() && (self.template.qos == Qos::AtMostOnce || !self.free.is_empty());
            select! {
                turn = self.link.turn(Reading::On) => match turn? {
                    Turn::Packet(packet) => self.on_packet(packet)?,
                    Turn::Flushed => {}
                },
                payload = payloads.next(), if has_room && !is_at_end => match payload? {
                    Some(payload) => self.publish(payload)?,
                    None => is_at_end = true,
                },
                () = signals.next() => {
                    let unanswered = self.flows.len();
                    return Err(MqttError::NotDone(format!("interrupted; {unanswered} messages were not acknowledged")));
                }
            }
        }
        match self.refused {
            0 => Ok(()),
            refused => Err(MqttError::NotDone(format!("the broker refused {refused} of the messages"))),
        }
    }

    fn publish(&mut self, payload: Bytes) -> Result<(), MqttError> {
        let Template { topic, qos, retain, message_expiry_interval, properties } = &self.template;
        let message = Message { properties: properties.clone(), ..Message::new(topic.clone(), payload) };
        let packet_id = if *qos == Qos::AtMostOnce { None } else { self.free.pop() };
        let publish = Publish {
            dup: false,
            qos: *qos,
            retain: *retain,
            message: Arc::new(message),
            packet_id,
            topic_alias: None,
            message_expiry_interval: *message_expiry_interval,
            is_topic_copied: false,
        };
        if let Some(packet_id) = packet_id {
            let awaiting = if *qos == Qos::AtLeastOnce { Awaiting::Puback } else { Awaiting::Pubrec };
            self.flows.insert(packet_id, awaiting);
        }
        self.link.send(&ClientPacket::Publish(publish))
    }

    /// Messages for the Session are not acknowledged, so that they stay queued for who subscribed.
    fn on_packet(&mut self, packet: ServerPacket) -> Result<(), MqttError> {
        match packet {
            ServerPacket::Puback(ack) => self.end(&ack, Awaiting::Puback),
            ServerPacket::Pubrec(ack) if ack.reason_code.is_error() => self.end(&ack, Awaiting::Pubrec),
            ServerPacket::Pubrec(ack) => {
                if let Some(awaiting) = self.flows.get_mut(&ack.packet_id).filter(|flow| **flow == Awaiting::Pubrec) {
                    *awaiting = Awaiting::Pubcomp;
                    self.link.send(&ClientPacket::Pubrel(Ack::new(ack.packet_id, ReasonCode::Success)))?;
                }
            }
            ServerPacket::Pubcomp(ack) if self.flows.get(&ack.packet_id) == Some(&Awaiting::Forgotten) => {
                self.flows.remove(&ack.packet_id);
                self.free.push(ack.packet_id);
            }
            ServerPacket::Pubcomp(ack) => self.end(&ack, Awaiting::Pubcomp),
            ServerPacket::Connack(_)
            | ServerPacket::Publish(_)
            | ServerPacket::Pubrel(_)
            | ServerPacket::Suback(_)
            | ServerPacket::Unsuback(_)
            | ServerPacket::Pingresp
            | ServerPacket::Disconnect(_)
            | ServerPacket::Auth(_) => {}
        }
        Ok(())
    }

    /// The flow ends, if it waited for this.
    fn end(&mut self, ack: &Ack, awaited: Awaiting) {
        if self.flows.get(&ack.packet_id) != Some(&awaited) {
            return;
        }
        self.flows.remove(&ack.packet_id);
        self.free.push(ack.packet_id);
        if ack.reason_code.is_error() {
            self.refused += 1;
            let reason_string = ack.details.as_ref().and_then(|details| details.reason_string.as_deref());
            eprint(&format!("error: the broker refused the message: {}", in_words(ack.reason_code, reason_string)));
        }
    }
}

/// Messages at QoS 1 and 2 that are on their way at a time.
const FLOWS_MAX: u16 = 100;
