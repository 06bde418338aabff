//! `oncemq sub`.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use oncemq::codec::{
    Ack, ClientPacket, EncodedUserProperties, OutgoingPublish, PacketId, Qos, ReasonCode, ServerPacket, Suback,
    Subscribe, Subscription, SubscriptionOptions, Unsuback, Unsubscribe,
};
use oncemq::topic::{Filter, TopicFilter};
use tokio::select;
use tokio::time::{Instant, sleep_until};

use super::error::{MqttError, in_words};
use super::format::Format;
use super::link::{Link, Reading, Turn};
use super::options::{ConnectionOptions, Settings, qos, seconds};
use super::printer::{Printed, Printer};
use super::signals::Signals;
use crate::output::eprint;

#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:
  oncemq sub -t 'hello/#' -v
  oncemq sub -h broker -u alice -P secret -t 'plant/+/speed' -F '%U %t %p'
  oncemq sub -t jobs -q 1 -i worker -c -C 1          one message of a session that is kept
  oncemq sub -t 'plant/#' -F %j -D subscribe user-property message-id true

With -c and -i the broker keeps the session. A message is acknowledged when it was written to standard output, so that at QoS 1
and 2 none is lost. Fields of -F: %t topic, %p payload, %x %X payload in hexadecimal, %l its length, %q QoS, %r retained, %m packet
identifier, %j %J all as JSON, %I %U time, and of version 5 %C content type, %D correlation data, %E expiry, %F format, %P user
properties, %R response topic, %S subscription identifier; @X a field of strftime in UTC: Y m d H M S F T s N z Z; %% @@ \\\\ and \\n
as in mosquitto_sub. Exit codes: 0 done, also by a signal, 1 all subscriptions were refused, 2 the command line can't be right, 7 no
connection, 27 the time of -W has passed, 128 to 162 the Reason Code with which the broker refused the connection or ended it."
)]
pub(crate) struct SubscribeCommand {
    /// Topic Filter to subscribe to; can be repeated
    #[arg(short, long, value_name = "FILTER", required_unless_present_any = ["url", "unsubscribe"])]
    topic: Vec<String>,
    /// Topic Filter to unsubscribe from, of a session that was kept; can be repeated
    #[arg(short = 'U', long, value_name = "FILTER")]
    unsubscribe: Vec<String>,
    /// Do not print messages whose topic matches this filter; can be repeated
    #[arg(short = 'T', long, value_name = "FILTER")]
    filter_out: Vec<String>,
    /// Highest Quality of Service: 0, 1 or 2
    #[arg(short, long, value_name = "QOS", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// End after this many messages
    #[arg(short = 'C', long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this many seconds, with exit code 27
    #[arg(short = 'W', long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// End when the broker has acknowledged the subscriptions
    #[arg(short = 'E', long, conflicts_with_all = ["count", "timeout"])]
    exit_after_subscribe: bool,
    /// Do not print messages that were retained before the subscription
    #[arg(short = 'R', long)]
    no_retained: bool,
    /// Print the topic before each message
    #[arg(short, long, conflicts_with = "format")]
    verbose: bool,
    /// Print messages in this format, such as '%t %p'
    #[arg(short = 'F', long, value_name = "FORMAT", value_parser = Format::parse)]
    format: Option<Format>,
    /// Do not print a line break after each message
    #[arg(short = 'N', long)]
    no_newline: bool,
    #[command(flatten)]
    connection: ConnectionOptions,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// What is printed, and when it ends.
#[derive(Debug)]
struct Plan {
    format: Format,
    line_break: &'static [u8],
    filter_out: Vec<TopicFilter>,
    no_retained: bool,
    /// Messages that are left to print; `None`: no limit.
    left: Option<u64>,
    exit_after_subscribe: bool,
}

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// All is done, or a signal arrived.
    Done,
    Elapsed,
    /// Nobody reads the output any more.
    Unread,
}

/// A connection that receives.
struct Subscriber {
    link: Link,
    plan: Plan,
    filters: Vec<Filter>,
    /// SUBACK and UNSUBACK that are missing.
    unanswered: usize,
    /// QoS 2 messages for which PUBREL is missing; at most one for each Packet Identifier.
    released_later: HashSet<PacketId>,
    text: Vec<u8>,
    /// What is sent when `text` is printed.
    acks: Vec<ClientPacket>,
    ending: Option<Ending>,
}

/// Subscribes, and prints messages until the end. A message is acknowledged when it is printed.
pub(super) async fn run(command: SubscribeCommand) -> Result<(), MqttError> {
    let settings = command.connection.settings("sub")?;
    if settings.properties.has_publish() {
        return Err(MqttError::Usage("-D publish … is for oncemq pub".to_owned()));
    }
    let topics = command.topic.iter().chain(&settings.topic);
    let filters: Vec<Filter> = topics.map(|text| filter(text)).collect::<Result<_, _>>()?;
    let unsubscribed: Vec<Filter> = command.unsubscribe.iter().map(|text| filter(text)).collect::<Result<_, _>>()?;
    let filter_out = command.filter_out.iter().map(|text| topic_filter(text)).collect::<Result<_, _>>()?;
    let format = match (command.format, command.verbose) {
        (Some(format), _) => format,
        (None, true) => Format::Verbose,
        (None, false) => Format::Payload,
    };
    let plan = Plan {
        format,
        line_break: if command.no_newline { b"" } else { b"\n" },
        filter_out,
        no_retained: command.no_retained,
        left: command.count,
        // Without a subscription there is nothing to wait for.
        exit_after_subscribe: command.exit_after_subscribe || filters.is_empty(),
    };
    let mut subscriber = Subscriber::connect(&settings, plan).await?;
    subscriber.subscribe(filters, unsubscribed, qos(command.qos), &settings)?;
    subscriber.receive(command.timeout).await
}

fn filter(text: &str) -> Result<Filter, MqttError> {
    Filter::try_from(text).map_err(|error| MqttError::Usage(format!("topic filter {text:?}: {error}")))
}

fn topic_filter(text: &str) -> Result<TopicFilter, MqttError> {
    TopicFilter::try_from(text).map_err(|error| MqttError::Usage(format!("topic filter {text:?}: {error}")))
}

impl Subscriber {
    async fn connect(settings: &Settings, plan: Plan) -> Result<Self, MqttError> {
        let (link, _) = Link::connect(settings).await?;
        Ok(Self {
            link,
            plan,
            filters: Vec::new(),
            unanswered: 0,
            released_later: HashSet::new(),
            text: Vec::new(),
            acks: Vec::new(),
            ending: None,
        })
    }

    fn subscribe(
        &mut self,
        filters: Vec<Filter>,
        unsubscribed: Vec<Filter>,
        qos: Qos,
        settings: &Settings,
    ) -> Result<(), MqttError> {
        if !unsubscribed.is_empty() {
            let user_properties = EncodedUserProperties::new();
            let unsubscribe = Unsubscribe { packet_id: UNSUBSCRIBE_ID, user_properties, filters: unsubscribed };
            self.link.send(&ClientPacket::Unsubscribe(Box::new(unsubscribe)))?;
            self.unanswered += 1;
        }
        if !filters.is_empty() {
            let options = SubscriptionOptions::new(qos);
            let of_filter = |filter: &Filter| Subscription { filter: filter.clone(), options };
            let subscribe = Subscribe {
                packet_id: SUBSCRIBE_ID,
                subscription_id: settings.properties.subscription_id,
                user_properties: settings.properties.subscribe_user_properties.iter().cloned().collect(),
                subscriptions: filters.iter().map(of_filter).collect(),
            };
            self.link.send(&ClientPacket::Subscribe(Box::new(subscribe)))?;
            self.unanswered += 1;
        }
        self.filters = filters;
        Ok(())
    }

    async fn receive(mut self, timeout: Option<Duration>) -> Result<(), MqttError> {
        let result = self.drive(timeout).await;
        match result {
            Err(error) if !error.leaves_connection() => Err(error),
            result => {
                self.link.finish().await?;
                result
            }
        }
    }

    async fn drive(&mut self, timeout: Option<Duration>) -> Result<(), MqttError> {
        let mut signals = Signals::new().map_err(|source| MqttError::File { what: "signals".to_owned(), source })?;
        let printer = Printer::new().map_err(output_error)?;
        let mut printing: Option<Printed> = None;
        let mut deadline = timeout.map(|timeout| Instant::now() + timeout);
        while !self.is_finished() || printing.is_some() {
            if printing.is_none() && self.is_due() {
                printing = (!self.text.is_empty()).then(|| printer.print(std::mem::take(&mut self.text)));
                if printing.is_none() {
                    self.acknowledge()?;
                }
                continue;
            }
            let reading = if printing.is_none() { Reading::On } else { Reading::Paused };
            let was_ending = self.ending.is_some();
            select! {
                turn = self.link.turn(reading) => match turn? {
                    Turn::Packet(packet) => self.on_packet(packet)?,
                    Turn::Flushed => {}
                },
                printed = wait_for(&mut printing), if printing.is_some() => {
                    printing = None;
                    match printed {
                        Ok(()) => self.acknowledge()?,
                        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                            self.text.clear();
                            self.acks.clear();
                            self.ending = Some(Ending::Unread);
                            self.released_later.clear();
                        }
                        Err(error) => return Err(output_error(error)),
                    }
                }
                () = sleep(deadline), if deadline.is_some() => match self.ending {
                    None => self.ending = Some(Ending::Elapsed),
                    Some(_) => return Err(MqttError::Unfinished),
                },
                // A second signal ends at once.
                () = signals.next() => match self.ending {
                    None => self.ending = Some(Ending::Done),
                    Some(_) => return Err(MqttError::Unfinished),
                },
            }
            if !was_ending && self.ending.is_some() {
                deadline = Some(Instant::now() + FINISH_TIMEOUT);
            }
        }
        if self.ending == Some(Ending::Elapsed) { Err(MqttError::Elapsed) } else { Ok(()) }
    }

    /// Whether nothing is left to print, to acknowledge, or to complete.
    fn is_finished(&self) -> bool {
        self.ending.is_some()
            && self.text.is_empty()
            && self.acks.is_empty()
            && self.released_later.is_empty()
            && self.link.is_flushed()
    }

    /// Whether what was received is printed and acknowledged, before more is read.
    fn is_due(&self) -> bool {
        let has_anything = !self.text.is_empty() || !self.acks.is_empty();
        has_anything && (self.ending.is_some() || !self.link.has_packet() || self.text.len() >= TEXT_BYTES_MAX)
    }

    fn acknowledge(&mut self) -> Result<(), MqttError> {
        for ack in std::mem::take(&mut self.acks) {
            self.link.send(&ack)?;
        }
        Ok(())
    }

    fn on_packet(&mut self, packet: ServerPacket) -> Result<(), MqttError> {
        match packet {
            ServerPacket::Publish(publish) => self.on_publish(&publish),
            ServerPacket::Pubrel(ack) => {
                self.released_later.remove(&ack.packet_id);
                // Also for a message that an earlier connection has received: the broker must forget it.
                self.acks.push(ClientPacket::Pubcomp(Ack::new(ack.packet_id, ReasonCode::Success)));
            }
            ServerPacket::Suback(suback) => {
                self.on_suback(&suback)?;
                self.answered();
            }
            ServerPacket::Unsuback(unsuback) => {
                on_unsuback(&unsuback);
                self.answered();
            }
            ServerPacket::Connack(_)
            | ServerPacket::Puback(_)
            | ServerPacket::Pubrec(_)
            | ServerPacket::Pubcomp(_)
            | ServerPacket::Pingresp
            | ServerPacket::Disconnect(_)
            | ServerPacket::Auth(_) => {}
        }
        Ok(())
    }

    fn answered(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
        if self.unanswered == 0 && self.plan.exit_after_subscribe {
            self.ending.get_or_insert(Ending::Done);
        }
    }

    /// Prints a message, and acknowledges it when it is printed. Messages after the end stay with the broker, unacknowledged.
    fn on_publish(&mut self, publish: &OutgoingPublish) {
        let is_repeated = publish.packet_id.is_some_and(|id| self.released_later.contains(&id));
        if self.ending.is_some() && !is_repeated {
            return;
        }
        match (publish.qos, publish.packet_id) {
            (Qos::AtLeastOnce, Some(id)) => {
                self.acks.push(ClientPacket::Puback(Ack::new(id, ReasonCode::Success)));
            }
            (Qos::ExactlyOnce, Some(id)) => {
                self.released_later.insert(id);
                self.acks.push(ClientPacket::Pubrec(Ack::new(id, ReasonCode::Success)));
            }
            (Qos::AtMostOnce, _) | (_, None) => {}
        }
        let topic = &publish.message.topic;
        let is_left_out =
            self.plan.no_retained && publish.retain || self.plan.filter_out.iter().any(|filter| filter.matches(topic));
        if is_repeated || is_left_out {
            return;
        }
        self.plan.format.write(publish, &mut self.text);
        self.text.extend_from_slice(self.plan.line_break);
        if let Some(left) = &mut self.plan.left {
            *left -= 1;
            if *left == 0 {
                self.ending = Some(Ending::Done);
            }
        }
    }

    /// A refused filter is a warning, unless all are refused.
    fn on_suback(&mut self, suback: &Suback) -> Result<(), MqttError> {
        let refused = || suback.reason_codes.iter().zip(&self.filters).filter(|(code, _)| code.is_error());
        for (reason_code, filter) in refused() {
            let why = in_words(*reason_code, suback.reason_string.as_deref());
            eprint(&format!("error: the broker refused the subscription to {:?}: {why}", filter.to_string()));
        }
        if refused().count() == self.filters.len() {
            return Err(MqttError::NotDone("the broker refused all subscriptions".to_owned()));
        }
        Ok(())
    }
}

fn on_unsuback(unsuback: &Unsuback) {
    for reason_code in unsuback.reason_codes.iter().filter(|code| code.is_error()) {
        let why = in_words(*reason_code, unsuback.reason_string.as_deref());
        eprint(&format!("error: the broker refused to unsubscribe: {why}"));
    }
}

/// The result of the write; an error if the thread is gone.
async fn wait_for(printing: &mut Option<Printed>) -> io::Result<()> {
    match printing {
        Some(printed) => printed.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())),
        None => Ok(()),
    }
}

async fn sleep(deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        sleep_until(deadline).await;
    }
}

fn output_error(source: io::Error) -> MqttError {
    MqttError::File { what: "standard output".to_owned(), source }
}

const SUBSCRIBE_ID: PacketId = PacketId(std::num::NonZeroU16::MIN);
const UNSUBSCRIBE_ID: PacketId = PacketId(std::num::NonZeroU16::MAX);
/// From this size on, the text is printed before more is read.
const TEXT_BYTES_MAX: usize = 64 * 1_024;
/// After the last message, for the output and for the broker to complete what was received at QoS 2.
const FINISH_TIMEOUT: Duration = Duration::from_secs(10);
