//! Clients whose place in a stream the broker keeps: the members of groups, and those with a durable position. And the client that gets all receipts.

use oncemq::codec::{
    Ack, ClientPacket, EncodedUserProperties, OutgoingPublish, PacketId, Qos, ReasonCode, Subscribe, Subscription,
    SubscriptionOptions, Unsubscribe,
};
use oncemq::topic::{Filter, TopicFilter};

use crate::groups::GroupRun;
use crate::kept::Kept;
use crate::mix::Mix;
use crate::profile::{Lifetime, Profile};
use crate::refusing::{ERRORS, LETTERS};
use crate::rng::Rng;
use crate::streams::STREAMS;
use crate::world::{Phase, World};

/// The only subscription of such a client.
#[derive(Debug, Clone)]
pub(crate) struct Consumer {
    pub(crate) role: Role,
    /// With the offset of the first SUBSCRIBE.
    first: String,
    /// Without an offset.
    again: String,
    pub(crate) qos: Qos,
    request: Option<Request>,
    /// When SUBACK was received, if no UNSUBSCRIBE was sent since.
    pub(crate) since: Option<u64>,
}

#[derive(Debug, Clone)]
pub(crate) enum Role {
    /// A member of the group with this number.
    Member(usize),
    Kept(Kept),
    Receipts,
    /// It gets the dead letters of groups.
    Letters,
}

/// An unanswered SUBSCRIBE or UNSUBSCRIBE.
#[derive(Debug, Clone, Copy)]
struct Request {
    id: u16,
    is_end: bool,
}

impl Consumer {
    fn new(role: Role, (first, again): (String, String), qos: Qos) -> Self {
        Self { role, first, again, qos, request: None, since: None }
    }

    /// The connection has ended.
    pub(crate) fn disconnected(&mut self) {
        self.request = None;
    }

    /// The number of its group.
    pub(crate) const fn group(&self) -> Option<usize> {
        if let Role::Member(group) = self.role { Some(group) } else { None }
    }
}

/// The consumers of a run, and the groups of those that are members.
pub(crate) fn consumers(mix: &Mix, rng: &mut Rng) -> (Vec<(Profile, Consumer)>, Vec<GroupRun>) {
    let (mut consumers, mut groups) = (Vec::new(), Vec::new());
    if mix.groups {
        for name in &["one", "two"][..rng.index(2) + 1] {
            let (stream, filter) = source(rng);
            let qos = rng.pick(&[Qos::AtLeastOnce, Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::AtMostOnce]);
            let is_marked = rng.percent(70);
            let path = path(filter);
            let filters = (
                format!("$share/{name}/$stream/{stream}@earliest{path}"),
                format!("$share/{name}/$stream/{stream}{path}"),
            );
            for _ in 0..rng.between(2, 4) {
                let lifetime = rng.pick(&[Lifetime::Transient, Lifetime::WholeRun, Lifetime::WholeRun]);
                let profile = profile(mix, lifetime, is_marked, rng);
                consumers.push((profile, Consumer::new(Role::Member(groups.len()), filters.clone(), qos)));
            }
            let is_marked = is_marked || consumers.iter().all(|(profile, _)| profile.is_v5());
            groups.push(GroupRun::new(name, (stream, filter), qos, is_marked));
        }
        if mix.refuses_messages {
            let profile = profile(mix, Lifetime::WholeRun, true, rng);
            let filters = (LETTERS.to_owned(), LETTERS.to_owned());
            consumers.push((profile, Consumer::new(Role::Letters, filters, Qos::AtLeastOnce)));
        }
    }
    if mix.kept {
        for _ in 0..rng.between(1, 3) {
            let (stream, filter) = source(rng);
            let qos = rng.pick(&[Qos::AtLeastOnce, Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::AtMostOnce]);
            let is_marked = rng.percent(60);
            let profile = profile(mix, Lifetime::WholeRun, is_marked, rng);
            let path = path(filter);
            let filters = (format!("$stream/{stream}@earliest{path}"), format!("$stream/{stream}{path}"));
            consumers.push((profile, Consumer::new(Role::Kept(Kept::new(stream, filter)), filters, qos)));
        }
    }
    if mix.receipts {
        let profile = profile(mix, Lifetime::WholeRun, true, rng);
        let filters = ("x/#".to_owned(), "x/#".to_owned());
        consumers.push((profile, Consumer::new(Role::Receipts, filters, Qos::AtLeastOnce)));
    }
    (consumers, groups)
}

/// A stream and a filter behind its name.
fn source(rng: &mut Rng) -> (&'static str, Option<&'static str>) {
    let (stream, _) = rng.pick(&STREAMS);
    let filters: &[Option<&str>] = match stream {
        "every" => &[None, None, Some("t/1"), Some("t/+")],
        "one" => &[None, Some("+/1")],
        _ => &[None],
    };
    (stream, rng.pick(filters))
}

fn path(filter: Option<&str>) -> String {
    filter.map(|filter| format!("/{filter}")).unwrap_or_default()
}

fn profile(mix: &Mix, lifetime: Lifetime, is_v5: bool, rng: &mut Rng) -> Profile {
    let profile = Profile::any(mix, rng);
    let version = if is_v5 { oncemq::codec::ProtocolVersion::V5 } else { profile.version };
    Profile {
        version,
        lifetime,
        churn: false,
        publishes: false,
        refuses: 0,
        wills: false,
        maximum_packet_size: None,
        filters: Vec::new(),
        mount: None,
        ..profile
    }
}

/// Whether a message with this topic is behind a filter.
pub(crate) fn is_behind(filter: Option<&'static str>, topic: &oncemq::topic::TopicName) -> bool {
    filter.is_none_or(|filter| TopicFilter::new(filter.into()).unwrap().matches(topic))
}

impl World {
    /// Subscribes after CONNACK, unless the Session has the subscription.
    pub(crate) fn resume_consumer(&mut self, number: usize, is_present: bool) {
        let Some(consumer) = self.clients[number].consumer.as_mut() else { return };
        if !is_present {
            consumer.since = None;
        }
        if consumer.since.is_none() {
            self.subscribe_consumer(number);
        }
    }

    /// Subscribes, also again, or unsubscribes.
    pub(crate) fn decide_consumer(&mut self, number: usize) {
        let Some(consumer) = &self.clients[number].consumer else { return };
        let (is_idle, is_subscribed) = (consumer.request.is_none(), consumer.since.is_some());
        let (is_member, has_place) =
            (consumer.group().is_some(), !matches!(consumer.role, Role::Receipts | Role::Letters));
        if !is_idle {
            return;
        }
        let is_busy = self.phase == Phase::Busy && has_place;
        if !is_subscribed || is_busy && self.rng.percent(3) {
            self.subscribe_consumer(number);
        } else if is_busy && is_member && self.rng.percent(4) {
            self.unsubscribe_consumer(number);
        }
    }

    fn subscribe_consumer(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let Some(connection) = client.connection.filter(|_| client.connected) else { return };
        let id = client.free_id();
        let Some(consumer) = client.consumer.as_mut() else { return };
        consumer.request = Some(Request { id, is_end: false });
        let begins = match &mut consumer.role {
            Role::Kept(kept) => {
                let begins = consumer.since.is_none();
                kept.begins += u32::from(begins);
                begins
            }
            Role::Member(_) | Role::Receipts | Role::Letters => true,
        };
        let filter = if begins { &consumer.first } else { &consumer.again };
        let filter = Filter::try_from(filter.as_str()).unwrap();
        let subscriptions = vec![Subscription { filter, options: SubscriptionOptions::new(consumer.qos) }];
        let subscribe = Subscribe {
            packet_id: PacketId::new(id).unwrap(),
            subscription_id: None,
            user_properties: EncodedUserProperties::new(),
            subscriptions,
        };
        self.send_up(connection, &ClientPacket::Subscribe(Box::new(subscribe)));
    }

    fn unsubscribe_consumer(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let Some(connection) = client.connection.filter(|_| client.connected) else { return };
        let id = client.free_id();
        let Some(consumer) = client.consumer.as_mut() else { return };
        (consumer.request, consumer.since) = (Some(Request { id, is_end: true }), None);
        let filters = vec![Filter::try_from(consumer.again.as_str()).unwrap()];
        let packet_id = PacketId::new(id).unwrap();
        let unsubscribe = Unsubscribe { packet_id, user_properties: EncodedUserProperties::new(), filters };
        self.send_up(connection, &ClientPacket::Unsubscribe(Box::new(unsubscribe)));
    }

    /// Returns whether SUBACK or UNSUBACK was for a consumer.
    pub(crate) fn on_consumer_answer(&mut self, number: usize, id: u16, codes: Option<&[ReasonCode]>) -> bool {
        let now = self.now;
        let Some(consumer) = self.clients[number].consumer.as_mut() else { return false };
        let Some(request) = consumer.request.take_if(|request| request.id == id) else { return false };
        let granted = match consumer.role {
            Role::Member(_) | Role::Kept(_) => consumer.qos.min(Qos::AtLeastOnce),
            Role::Receipts | Role::Letters => consumer.qos,
        };
        let is_answered = match codes {
            None => request.is_end,
            Some(codes) => !request.is_end && codes.iter().map(|code| code.number()).eq([granted.level()]),
        };
        if !is_answered {
            self.fail(Some(number), format!("{codes:?} for {request:?}"));
        } else if !request.is_end {
            consumer.since.get_or_insert(now);
            if let Some(group) = consumer.group() {
                self.checker.groups.runs[group].is_made = true;
            }
        }
        true
    }

    /// Returns whether the message was for a consumer. It acknowledges at once.
    pub(crate) fn on_consumer_message(&mut self, number: usize, connection: usize, publish: &OutgoingPublish) -> bool {
        let Some(consumer) = &self.clients[number].consumer else { return false };
        let is_member = consumer.group().is_some();
        let result = match consumer.role {
            Role::Member(_) => Ok(()), // judged where the broker sends it
            Role::Kept(_) => self.on_kept_message(number, publish),
            Role::Receipts => self.on_receipt(publish),
            Role::Letters => self.on_group_letter(publish),
        };
        if let Err(text) = result {
            self.fail(Some(number), text);
        }
        let Some(id) = publish.packet_id else { return true };
        let has_codes = self.clients[number].profile.is_v5();
        let refusals = if self.mix.refuses_messages { 30 } else { 5 };
        let refuses = is_member && has_codes && self.phase == Phase::Busy && self.rng.percent(refusals);
        let code = if refuses { ERRORS[usize::from(id.number()) % ERRORS.len()] } else { ReasonCode::Success };
        self.send_up(connection, &ClientPacket::Puback(Ack::new(id, code)));
        true
    }

    /// All consumers are subscribed at the end.
    pub(crate) fn check_consumers(&self) -> Result<(), (Option<usize>, String)> {
        let missing = self.clients.iter().find(|client| {
            client.consumer.as_ref().is_some_and(|consumer| consumer.since.is_none() || consumer.request.is_some())
        });
        missing.map_or(Ok(()), |client| Err((Some(client.number), format!("{:?} is not subscribed", client.consumer))))
    }
}
