//! One sink: from its Session to its requests, and from their answers to acknowledgements.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::select;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use super::link::{Link, NoSession, ended, in_words};
use super::report::Reporter;
use super::request::{Answered, Requests};
use super::retire::{KEPT_SECONDS, give, unwanted};
use super::tools::{End, Tools};
use crate::codec::{
    Ack, ClientPacket, Message, MessageProperties, OutgoingPublish, PacketId, Publish, Qos, ReasonCode, ServerPacket,
    Suback,
};
use crate::server::clock::wall_time;
use crate::server::own_client::Kind;
use crate::server::packet_link::Reading;
use crate::sink::{Action, Delivery, Event, Machine, RequestId, Stored};

/// A sink.
#[derive(Debug)]
pub(super) struct Task {
    requests: Arc<Requests>,
    tools: Tools,
    reporter: Reporter,
    machine: Machine,
}

/// A sink with its Session.
struct Connected<'a> {
    task: &'a mut Task,
    link: Link,
    under_way: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// When the sink subscribes again, because a subscription was refused.
    subscribe_at: Option<Instant>,
    /// Dead letters that the broker has not acknowledged.
    burials: HashMap<PacketId, RequestId>,
    /// Those that wait until there are fewer.
    graves: VecDeque<Burial>,
    actions: Vec<Action>,
}

/// A dead letter.
struct Burial {
    id: RequestId,
    message: Arc<Delivery>,
    reason: Arc<str>,
}

impl Task {
    pub(super) fn new(requests: Requests, tools: Tools, reporter: Reporter, seed: u64) -> Self {
        let machine = Machine::new(requests.plan().machine_settings(), seed).counting_from(reporter.counts());
        Self { requests: Arc::new(requests), tools, reporter, machine }
    }

    /// Runs until `stopped`. A lost Session is connected to again, after a pause that grows.
    pub(super) async fn run(mut self, mut stopped: oneshot::Receiver<End>) {
        let mut pause = PAUSE_MIN;
        loop {
            let begun = Instant::now();
            let connecting = self.connect();
            let lost = select! {
                end = &mut stopped => return self.leave(end.unwrap_or(End::Stay)).await,
                connected = connecting => match connected {
                    Ok(link) => match self.serve(link, &mut stopped).await {
                        Ok(()) => return,
                        Err(error) => error,
                    },
                    Err(error) => error,
                },
            };
            self.machine.forget();
            self.reporter.update(&self.machine);
            self.reporter.disconnected(&lost.to_string());
            if begun.elapsed() > PAUSE_MAX {
                pause = PAUSE_MIN;
            }
            select! {
                end = &mut stopped => return self.leave(end.unwrap_or(End::Stay)).await,
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn connect(&self) -> Result<Link, NoSession> {
        let plan = self.requests.plan();
        let (name, user) = (&*plan.settings.name, plan.settings.user_name());
        let connecting = || Link::connect(&self.tools.clients, (name, user), plan.settings.inflight_max);
        let mut link = match connecting().await {
            // The user of the sink has changed.
            Err(NoSession::OfAnother) if give(&self.tools, name, user).await => connecting().await?,
            result => result?,
        };
        let others = unwanted(&self.tools, name, &plan.filters).await;
        link.subscribe(plan, others);
        Ok(link)
    }

    /// The sink ends while it has no connection.
    async fn leave(&self, end: End) {
        if end == End::Retire
            && let Ok(link) = self.connect().await
        {
            link.finish(Some(KEPT_SECONDS)).await;
        }
    }

    /// Sends the messages of the Session. Ends without an error when the sink does.
    async fn serve(&mut self, link: Link, stopped: &mut oneshot::Receiver<End>) -> Result<(), NoSession> {
        self.reporter.connected();
        let mut connected = Connected {
            task: self,
            link,
            under_way: FuturesUnordered::new(),
            subscribe_at: None,
            burials: HashMap::new(),
            graves: VecDeque::new(),
            actions: Vec::new(),
        };
        let end = connected.run(stopped).await?;
        connected.close().await;
        let expiry = (end == End::Retire).then_some(KEPT_SECONDS);
        connected.link.finish(expiry).await;
        Ok(())
    }
}

impl Connected<'_> {
    async fn run(&mut self, stopped: &mut oneshot::Receiver<End>) -> Result<End, NoSession> {
        loop {
            while let Some(packet) = self.link.packets.next_packet()? {
                self.on_packet(packet)?;
            }
            self.task.reporter.update(&self.task.machine);
            let deadline = self.deadline();
            select! {
                end = &mut *stopped => return Ok(end.unwrap_or(End::Stay)),
                step = self.link.packets.step(Reading::On) => step?,
                Some(answered) = self.under_way.next() => self.on_answered(answered),
                () = until(deadline) => self.on_deadline(),
            }
        }
    }

    /// Begins nothing more, and waits a short time for the answers of what is under way.
    async fn close(&mut self) {
        self.task.machine.close();
        let until = Instant::now() + CLOSE_TIME;
        while !self.under_way.is_empty() {
            select! {
                Some(answered) = self.under_way.next() => self.on_answered(answered),
                () = sleep_until(until) => break,
            }
        }
        self.task.reporter.update(&self.task.machine);
    }

    /// When there is something to do without another event.
    fn deadline(&self) -> Option<Instant> {
        let wait = self.task.machine.deadline().map(|due| due.since(self.task.tools.clock.read().now));
        // The clocks have different resolutions.
        let machine = wait.map(|wait| Instant::now() + wait.min(WAIT_MAX) + Duration::from_millis(1));
        [machine, self.subscribe_at, self.task.reporter.due()].into_iter().flatten().min()
    }

    fn on_deadline(&mut self) {
        if self.subscribe_at.is_some_and(|at| at <= Instant::now()) {
            self.subscribe_at = None;
            self.link.subscribe(self.task.requests.plan(), Vec::new());
        }
        self.handle(Event::DeadlinePassed);
    }

    fn on_packet(&mut self, packet: ServerPacket) -> Result<(), NoSession> {
        match packet {
            ServerPacket::Publish(publish) => {
                self.handle(Event::Arrived(Delivery { publish: received(publish), taken: wall_time() }));
            }
            ServerPacket::Pubrel(ack) => self.answer(ClientPacket::Pubcomp, ack.packet_id),
            ServerPacket::Puback(ack) => self.on_buried(&ack),
            ServerPacket::Suback(suback) => self.on_suback(&suback),
            ServerPacket::Disconnect(end) => return Err(ended(&end)),
            ServerPacket::Pubrec(_)
            | ServerPacket::Pubcomp(_)
            | ServerPacket::Connack(_)
            | ServerPacket::Unsuback(_)
            | ServerPacket::Pingresp
            | ServerPacket::Auth(_) => {}
        }
        Ok(())
    }

    fn on_suback(&mut self, suback: &Suback) {
        let filters = &self.task.requests.plan().settings.filters;
        let refused = filters.iter().zip(&suback.reason_codes).find(|(_, code)| code.is_error());
        let reason = refused.map(|(filter, code)| {
            let words = in_words(*code, suback.reason_string.as_deref());
            format!("the subscription to {filter} was refused: {words}")
        });
        self.task.reporter.subscribed(reason.as_deref());
        // The access rules may change.
        self.subscribe_at = reason.map(|_| Instant::now() + SUBSCRIBE_PAUSE);
    }

    fn on_answered(&mut self, answered: Answered) {
        self.task.reporter.answered(&answered);
        self.handle(Event::Answered(answered.id, answered.outcome));
    }

    fn on_buried(&mut self, ack: &Ack) {
        let Some(id) = self.burials.remove(&ack.packet_id) else { return };
        let details = ack.details.as_ref().and_then(|details| details.reason_string.as_deref());
        let reason = || Arc::from(format!("its dead letter was refused: {}", in_words(ack.reason_code, details)));
        let is_final = FINAL.contains(&ack.reason_code);
        let stored = match ack.reason_code.is_error() {
            // Nobody has it: it is lost like one that was refused.
            false if ack.reason_code == ReasonCode::NoMatchingSubscribers => {
                Stored::Never(Arc::from("nobody is subscribed to the dead letter topic"))
            }
            false => Stored::Yes,
            true if is_final => Stored::Never(reason()),
            true => Stored::No(reason()),
        };
        self.handle(Event::Buried(id, stored));
    }

    fn handle(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = self.task.tools.clock.read().now;
            self.task.machine.handle(now, event, &mut self.actions);
            self.perform();
            self.bury_next(&mut events);
        }
    }

    fn perform(&mut self) {
        for action in std::mem::take(&mut self.actions) {
            match action {
                Action::Send { id, attempt, messages } => {
                    self.under_way.push(Arc::clone(&self.task.requests).send(id, attempt, messages).boxed());
                }
                Action::Acknowledge(id, Qos::ExactlyOnce) => self.answer(ClientPacket::Pubrec, id),
                Action::Acknowledge(id, Qos::AtMostOnce | Qos::AtLeastOnce) => self.answer(ClientPacket::Puback, id),
                Action::Bury { id, message, reason } => self.graves.push_back(Burial { id, message, reason }),
                Action::Dropped { message, reason } => {
                    self.task.reporter.gave_up(message, reason, "is lost");
                }
            }
        }
    }

    fn answer(&mut self, packet: fn(Ack) -> ClientPacket, id: PacketId) {
        self.link.packets.send(&packet(Ack::new(id, ReasonCode::Success)));
    }

    /// Publishes dead letters as far as the broker takes more. Adds what became of those that it will not take.
    fn bury_next(&mut self, events: &mut VecDeque<Event>) {
        while self.burials.len() < usize::from(self.link.receive_maximum)
            && let Some(burial) = self.graves.pop_front()
        {
            // The lowest that is free.
            let free = (1..).filter_map(PacketId::new).find(|id| !self.burials.contains_key(id));
            match (self.dead_letter(&burial), free) {
                (Ok(publish), Some(id)) => {
                    self.burials.insert(id, burial.id);
                    self.task.reporter.gave_up(burial.message, burial.reason, "becomes a dead letter");
                    self.link.packets.send(&ClientPacket::Publish(Publish { packet_id: Some(id), ..publish }));
                }
                (Ok(_), None) => return self.graves.push_front(burial),
                (Err(reason), _) => events.push_back(Event::Buried(burial.id, Stored::Never(reason.into()))),
            }
        }
    }

    /// The dead letter of a message; an error if the broker would not take it.
    fn dead_letter(&self, burial: &Burial) -> Result<Publish, &'static str> {
        if self.link.maximum_qos == Qos::AtMostOnce {
            return Err("with mqtt.maximum_qos = 0, its dead letter would not be stored");
        }
        let plan = self.task.requests.plan();
        let before = &burial.message.publish.message;
        let client_id = Kind::Sink.client_id(&plan.settings.name);
        let added = [
            ("reason", "sink_failed"),
            ("topic", before.topic.as_str()),
            ("client-id", client_id.as_str()),
            ("sink-error", &burial.reason),
        ];
        let own = MessageProperties::from_properties(burial.message.properties());
        let properties = own.behind_user_properties(added.into_iter());
        let topic = plan.dead_letter_topic.clone().ok_or("there is no dead letter topic")?;
        let mut publish = Publish::new(topic, before.payload.clone()).with_properties(properties);
        publish.qos = Qos::AtLeastOnce;
        let fits = publish.message.content_len() + HEAD_BYTES_MAX <= self.link.maximum_packet_size;
        fits.then_some(publish).ok_or("its dead letter would be larger than limits.maximum_packet_size")
    }
}

/// The packet as the pure part takes it. It is copied, because it is a part of a larger buffer.
fn received(publish: OutgoingPublish) -> Publish {
    let OutgoingPublish { mut message, dup, qos, retain, packet_id, message_expiry_interval, .. } = publish;
    let detached = Arc::make_mut(&mut message);
    Message::detach(detached);
    detached.topic = detached.topic.detached();
    let (topic_alias, is_topic_copied) = (None, true);
    Publish { dup, qos, retain, message, packet_id, topic_alias, message_expiry_interval, is_topic_copied }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

/// The reasons for which a dead letter is refused that do not pass.
const FINAL: [ReasonCode; 3] =
    [ReasonCode::NotAuthorized, ReasonCode::TopicNameInvalid, ReasonCode::PayloadFormatInvalid];
/// Before the next attempt to connect.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Before a refused subscription is asked for again.
const SUBSCRIBE_PAUSE: Duration = Duration::from_secs(10);
/// How long answers are waited for when a sink ends; what is not acknowledged by then is sent again by the next.
const CLOSE_TIME: Duration = Duration::from_millis(1_500);
/// The clock of the broker counts while the machine is suspended, and that of the timers does not.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Fixed header, length of the topic, Packet Identifier, length of the properties.
const HEAD_BYTES_MAX: usize = 5 + 2 + 2 + 4;
