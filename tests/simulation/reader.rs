//! Clients that subscribe to a stream. Their Sessions end with their connections: a client that can read User Properties keeps the sequence of the
//! last message itself, and continues behind it; another one begins with the oldest message each time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use oncemq::codec::{
    ClientPacket, EncodedUserProperties, MessageProperties, MessageProperty, OutgoingPublish, PacketId, Qos,
    ReasonCode, Subscribe, Subscription, SubscriptionOptions,
};
use oncemq::topic::{Filter, TopicFilter};

use crate::checker::Checker;
use crate::mix::Mix;
use crate::profile::{Lifetime, Profile};
use crate::rng::Rng;
use crate::streams::{Known, STREAMS, StreamLedger, stream_named};
use crate::world::{Phase, World};

/// The subscription of a client to a stream, and what it received.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    pub(crate) stream: &'static str,
    pub(crate) filter: Option<&'static str>,
    qos: Qos,
    /// The unanswered SUBSCRIBE, and where it begins.
    request: Option<(u16, u64)>,
    /// SUBACK was received on this connection.
    pub(crate) is_subscribed: bool,
    /// The sequence behind that of the last message.
    pub(crate) next: u64,
    /// Without properties: where it may be in the stream.
    places: BTreeSet<u64>,
    /// The last message of this subscription.
    previous: Option<u64>,
    /// The messages that it received, by sequence.
    received: BTreeMap<u64, usize>,
    /// This subscription began with the oldest message.
    is_from_oldest: bool,
    /// What messages said about others that the stream does not have any more.
    trimmed: Vec<RangeInclusive<u64>>,
}

impl Reader {
    fn any(rng: &mut Rng) -> Self {
        let (stream, _) = rng.pick(&STREAMS);
        let filters: &[Option<&str>] = match stream {
            "every" => &[None, None, Some("t/1"), Some("t/+")],
            "one" => &[None, Some("+/1")],
            _ => &[None],
        };
        Self {
            stream,
            filter: rng.pick(filters),
            qos: rng.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]),
            request: None,
            is_subscribed: false,
            next: 1,
            places: BTreeSet::new(),
            previous: None,
            received: BTreeMap::new(),
            is_from_oldest: false,
            trimmed: Vec::new(),
        }
    }

    fn wants(&self, topic: &oncemq::topic::TopicName) -> bool {
        self.filter.is_none_or(|filter| TopicFilter::new(filter.into()).unwrap().matches(topic))
    }

    fn name_of_filter(&self, begin: u64, names_oldest: bool) -> String {
        let offset = if names_oldest { "earliest".to_owned() } else { format!("seq:{begin}") };
        let filter = self.filter.map(|filter| format!("/{filter}")).unwrap_or_default();
        format!("$stream/{}@{offset}{filter}", self.stream)
    }

    /// The connection has ended, and the subscription with it.
    pub(crate) fn disconnected(&mut self) {
        (self.request, self.is_subscribed, self.previous) = (None, false, None);
    }
}

/// The clients that read streams in this run.
pub(crate) fn readers(mix: &Mix, rng: &mut Rng) -> Vec<(Profile, Reader)> {
    if !mix.streams {
        return Vec::new();
    }
    let one = |rng: &mut Rng| {
        let profile = Profile::any(mix, rng);
        let (filters, mount) = (Vec::new(), None);
        let (churn, publishes, wills) = (false, false, false);
        let lifetime = Lifetime::Transient;
        let profile =
            Profile { filters, mount, churn, publishes, wills, lifetime, maximum_packet_size: None, ..profile };
        (profile, Reader::any(rng))
    };
    (0..rng.between(2, 4)).map(|_| one(rng)).collect()
}

impl World {
    /// Subscribes to the stream, after CONNACK or again.
    pub(crate) fn subscribe_reader(&mut self, number: usize) {
        let Some(connection) = self.clients[number].connection.filter(|_| self.clients[number].connected) else {
            return;
        };
        let has_properties = self.clients[number].profile.is_v5();
        let Some(reader) = self.clients[number].reader.as_ref() else { return };
        if reader.request.is_some() {
            return;
        }
        let mut begin = reader.next;
        if !has_properties {
            begin = 1;
        } else if self.phase == Phase::Busy && self.rng.percent(10) {
            begin = self.rng.between(1, begin); // its own state is an older one
        }
        let names_oldest = begin == 1 && self.rng.percent(50);
        let client = &mut self.clients[number];
        let id = client.free_id();
        let reader = client.reader.as_mut().unwrap();
        reader.request = Some((id, begin));
        reader.is_from_oldest = names_oldest;
        let filter = Filter::try_from(reader.name_of_filter(begin, names_oldest).as_str()).unwrap();
        let subscriptions = vec![Subscription { filter, options: SubscriptionOptions::new(reader.qos) }];
        let subscribe = Subscribe {
            packet_id: PacketId::new(id).unwrap(),
            subscription_id: None,
            user_properties: EncodedUserProperties::new(),
            subscriptions,
        };
        self.send_up(connection, &ClientPacket::Subscribe(Box::new(subscribe)));
    }

    /// Returns whether SUBACK was for a stream.
    pub(crate) fn on_reader_suback(&mut self, number: usize, id: u16, codes: &[ReasonCode]) -> bool {
        let Some(reader) = self.clients[number].reader.as_mut() else { return false };
        let Some((_, begin)) = reader.request.take_if(|(request, _)| *request == id) else { return false };
        (reader.is_subscribed, reader.next, reader.previous) = (true, begin, None);
        reader.places = [begin].into();
        let granted = reader.qos.min(Qos::AtLeastOnce).level();
        if codes.iter().map(|code| code.number()).ne([granted]) {
            self.fail(Some(number), format!("SUBACK {codes:?} for a stream"));
        }
        true
    }

    /// A client received a message of a stream.
    pub(crate) fn on_stream_message(&mut self, number: usize, publish: &OutgoingPublish) {
        let has_properties = self.clients[number].profile.is_v5();
        let checker = &self.checker;
        let reader = self.clients[number].reader.as_mut().unwrap();
        let result = checker.ledger.find(&publish.message.payload).ok_or("a message that was not published".to_owned());
        let result = result.and_then(|message| {
            let published = &checker.ledger.messages[message];
            if published.topic != publish.message.topic || published.payload() != publish.message.payload {
                return Err(format!("message {message} was altered"));
            }
            if publish.qos != published.qos.min(reader.qos).min(Qos::AtLeastOnce) || publish.retain || publish.dup {
                return Err(format!("message {message} has the wrong QoS or a flag: {publish:?}"));
            }
            if !reader.wants(&published.topic) {
                return Err(format!("message {message}, which its filter does not match"));
            }
            match has_properties {
                true => reader.note(message, &publish.message.properties, &checker.streams),
                false => reader.follow(message, checker),
            }
        });
        if let Err(text) = result {
            self.fail(Some(number), format!("stream: {text}"));
        }
    }

    /// At the end, each reader has all messages of its stream, but for those that it knows to be trimmed.
    pub(crate) fn check_readers(&self) -> Result<(), (Option<usize>, String)> {
        for client in &self.clients {
            let Some(reader) = &client.reader else { continue };
            let known = self.checker.streams.known.get(&stream_named(reader.stream).unwrap());
            for (sequence, Known { message, .. }) in known.into_iter().flatten() {
                let published = &self.checker.ledger.messages[*message];
                let is_trimmed = reader.trimmed.iter().any(|range| range.contains(sequence));
                // A client without properties is not told what is trimmed, and begins with the oldest message.
                let is_received = reader.received.contains_key(sequence) || !client.profile.is_v5();
                // It is told with the next message.
                let is_untold = *sequence >= reader.next && *sequence < self.checker.streams.oldest_of(reader.stream);
                let is_removed = self.checker.streams.is_removed(reader.stream, *sequence);
                let is_known = is_trimmed || is_untold || is_removed;
                if published.expiry.is_none() && reader.wants(&published.topic) && !is_known && !is_received {
                    let (name, next) = (reader.stream, reader.next);
                    let text = format!("{name}: message {message} with the sequence {sequence} is missing at {next}");
                    return Err((Some(client.number), text));
                }
            }
            let wanted = |known: &&Known| {
                let published = &self.checker.ledger.messages[known.message];
                published.expiry.is_none() && reader.wants(&published.topic)
            };
            let last = known.and_then(|known| known.iter().rfind(|(_, known)| wanted(known)));
            let oldest = self.checker.streams.oldest_of(reader.stream);
            if let Some((last, _)) = last.filter(|(last, _)| **last >= reader.next && **last >= oldest) {
                let text = format!("{}: {last} did not arrive, it waits for {}", reader.stream, reader.next);
                return Err((Some(client.number), text));
            }
            if !reader.is_subscribed {
                return Err((Some(client.number), "has no subscription to its stream".to_owned()));
            }
        }
        Ok(())
    }
}

impl Reader {
    /// A message with properties: its place is known.
    fn note(&mut self, message: usize, properties: &MessageProperties, streams: &StreamLedger) -> Result<(), String> {
        let user = |wanted: &str| user_properties(properties).find(|(name, _)| name == wanted).map(|(_, value)| value);
        if user("stream").as_deref() != Some(self.stream) {
            return Err(format!("message {message} is of {:?}", user("stream")));
        }
        let number = |name: &str| user(name).and_then(|text| text.parse().ok());
        let sequence: u64 = number("stream-sequence").ok_or(format!("message {message} has no sequence"))?;
        let previous = self.previous.map_or("none".to_owned(), |previous| previous.to_string());
        if user("stream-previous").as_deref() != Some(&previous) {
            return Err(format!("{sequence} comes after {:?}, and not {previous}", user("stream-previous")));
        }
        if sequence < self.next {
            return Err(format!("{sequence} comes when {} is the next", self.next));
        }
        let timestamp: u64 = number("stream-timestamp").ok_or(format!("message {message} has no timestamp"))?;
        let is = Known { message, timestamp };
        let known = streams.known.get(&stream_named(self.stream).unwrap()).and_then(|known| known.get(&sequence));
        if known != Some(&is) {
            return Err(format!("{sequence} is {is:?}, but the stream has {known:?}"));
        }
        if let Some(range) = user("stream-trimmed") {
            let (from, to) = range.split_once('-').ok_or("no range")?;
            let (from, to): (u64, u64) = (from.parse().unwrap_or(0), to.parse().unwrap_or(u64::MAX));
            let is_expected = self.previous.map_or(from == self.next, |previous| from > previous);
            if !is_expected || to >= streams.oldest_of(self.stream) {
                return Err(format!("{range} is said to be trimmed, at {}", self.next));
            }
            self.trimmed.push(from..=to);
        }
        if self.is_from_oldest && self.previous.is_none() {
            self.trimmed.push(0..=streams.oldest_of(self.stream) - 1);
        }
        if user("stream-unreadable").is_some() {
            return Err(format!("messages before {sequence} are said to be damaged"));
        }
        (self.next, self.previous) = (sequence + 1, Some(sequence));
        self.received.insert(sequence, message);
        Ok(())
    }

    /// A message without properties is the next one of the stream that the client wants, but for expired and trimmed ones. The stream may have it
    /// several times, so there may be several places at which the client is.
    fn follow(&mut self, message: usize, checker: &Checker) -> Result<(), String> {
        let known = checker.streams.known.get(&stream_named(self.stream).unwrap());
        let oldest = checker.streams.oldest_of(self.stream);
        let mut places = BTreeSet::new();
        for place in &self.places {
            for (sequence, known) in known.into_iter().flat_map(|known| known.range(place..)) {
                let published = &checker.ledger.messages[known.message];
                if known.message == message {
                    places.insert(sequence + 1);
                }
                let is_removed = checker.streams.is_removed(self.stream, *sequence);
                if self.wants(&published.topic) && published.expiry.is_none() && *sequence >= oldest && !is_removed {
                    break;
                }
            }
        }
        let Some(next) = places.last() else {
            return Err(format!("message {message} is not the next one at {:?}", self.places));
        };
        self.next = *next;
        self.places = places;
        Ok(())
    }
}

/// The User Properties, in order.
pub(crate) fn user_properties(properties: &MessageProperties) -> impl Iterator<Item = (String, String)> {
    properties.iter().filter_map(|property| {
        let MessageProperty::UserProperty(name, value) = property else { return None };
        Some((name.to_string(), value.to_string()))
    })
}

impl StreamLedger {
    /// Whether a message was removed because there is a later one with its key.
    pub(crate) fn is_removed(&self, name: &str, sequence: u64) -> bool {
        self.removed.contains(&(stream_named(name).unwrap(), sequence))
    }

    /// Whether a stream may not have a message any more.
    pub(crate) fn is_gone(&self, name: &str, sequence: u64) -> bool {
        sequence < self.oldest_of(name) || self.is_removed(name, sequence)
    }

    /// The oldest message that the stream may have.
    pub(crate) fn oldest_of(&self, name: &str) -> u64 {
        self.oldest.get(&stream_named(name).unwrap()).copied().unwrap_or(1)
    }
}
