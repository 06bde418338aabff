//! Runs the broker and its clients from one kill to the next.

use std::thread;
use std::time::{Duration, Instant};

use crate::broker::{Connections, Service};
use crate::client::{Client, Role, Shared, Stage};
use crate::consumers::{ATTEMPTS, Consumed, Consumer, Kept, Keyed, Kind, LETTERS, Member, STATES};
use crate::content::Content;
use crate::ledger::{BROKER, Fault, Ledger};
use crate::now;
use crate::operator::redrive_all;
use crate::probe::Probe;
use crate::publisher::{Publisher, Topics};
use crate::reader::{Reader, STREAM};
use crate::rng::Rng;
use crate::subscriber::{Behaviour, Subscriber};

/// A broker that is killed, and its clients.
pub(crate) struct World {
    pub(crate) clients: Vec<Client>,
    pub(crate) shared: Shared,
    broker: Box<dyn Service>,
    started_at: Instant,
    kills: u64,
    values: Vec<String>,
    arrived: u64,
    scenario: Scenario,
    operate_at: Instant,
    /// Dead letters that the operator has found.
    letters: usize,
}

/// What a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Queues, retained messages, shares and Wills.
    Queues,
    /// A stream, batches, and messages that subscribers refuse.
    Streams,
    /// The same as queues, at a broker that runs on several nodes: a fail-over takes longer than a restart.
    Cluster,
    /// A group of subscribers of a stream, durable positions, receipts, and a stream with keys.
    Consumers,
}

impl Scenario {
    /// The configuration that it needs.
    pub(crate) fn config(self) -> String {
        match self {
            Self::Queues | Self::Cluster => String::new(),
            Self::Streams => format!(
                "[[streams]]\nname = \"{STREAM}\"\ntopic = \"t/#\"\n[[redelivery]]\ntopic = \"t/#\"\nattempts = 2\n\
                 backoff_first = \"200ms\"\nbackoff_most = \"200ms\"\n"
            ),
            Self::Consumers => format!(
                "[server]\nsegment_size = \"64KiB\"\n[[streams]]\nname = \"{STREAM}\"\ntopic = \"t/#\"\n\
                 group_dispatch = \"hash-topic\"\n[[streams]]\nname = \"{STATES}\"\ntopic = \"s/#\"\nkey = \"topic\"\n\
                 [[redelivery]]\ntopic = \"t/#\"\nattempts = {ATTEMPTS}\nbackoff_first = \"200ms\"\nbackoff_most = \"200ms\"\n\
                 dead_letter_topic = \"{LETTERS}\"\n"
            ),
        }
    }
}

impl World {
    pub(crate) fn new(seed: u64, broker: Box<dyn Service>, scenario: Scenario) -> Self {
        let (ledger, rng, started_at) = (Ledger::default(), Rng(seed), now());
        let (content, consumed, addresses) = (Content::default(), Consumed::default(), broker.addresses().into());
        let (stage, may_refuse, may_disconnect) = (Stage::Connecting, broker.may_refuse(), broker.may_disconnect());
        let shared =
            Shared { ledger, content, consumed, rng, addresses, now: started_at, stage, may_refuse, may_disconnect };
        let values: Vec<String> = match scenario {
            Scenario::Queues | Scenario::Cluster => (0..VALUES).map(|number| format!("r/{number}")).collect(),
            Scenario::Streams | Scenario::Consumers => Vec::new(),
        };
        let clients = match scenario {
            Scenario::Queues | Scenario::Cluster => clients(&values),
            Scenario::Streams => readers(),
            Scenario::Consumers => consumers(),
        };
        let (kills, arrived, letters) = (0, 0, 0);
        Self { clients, shared, broker, started_at, kills, values, arrived, scenario, operate_at: started_at, letters }
    }

    /// Kills the broker this many times. In between, it sometimes waits for a settled state, in which all messages must
    /// arrive.
    pub(crate) fn run(&mut self, kills: u64) -> Result<String, Fault> {
        self.broker.start();
        while self.kills < kills {
            self.stage(Stage::Connecting);
            self.wait_until("everyone is there", |world| world.clients.iter().all(Client::is_ready))?;
            self.stage(Stage::Load);
            let between_rests = if self.scenario == Scenario::Cluster { 1 } else { KILLS_BETWEEN_RESTS };
            for _ in 0..between_rests.min(kills - self.kills) {
                self.broker.prepare(&mut self.shared.rng);
                self.run_load(1_200)?;
                self.kill()?;
                if self.scenario == Scenario::Cluster {
                    // Also while nobody serves, or more than one node believes that it does.
                    self.run_load(3_000)?;
                }
            }
            self.settle()?;
        }
        let millis = self.shared.now.duration_since(self.started_at).as_millis();
        let summary = format!("{} kills, {} messages, {} ms", self.kills, self.arrived, millis);
        let (redriven, letters) = (self.letters, self.shared.consumed.letters);
        let letters = format!("{redriven} dead letters redriven, {letters} of a group");
        Ok(format!("{summary}, {letters}, {} states compacted", self.compacted()))
    }

    /// How many messages of the stream with keys were removed.
    fn compacted(&self) -> usize {
        let keyed = self.clients.iter().filter_map(|client| match &client.role {
            Role::Consumer(Consumer { kind: Kind::Keyed(keyed), .. }) => Some(keyed.removed(&self.shared.consumed)),
            Role::Consumer(_)
            | Role::Publisher(_)
            | Role::Subscriber(_)
            | Role::Willed { .. }
            | Role::Probe(_)
            | Role::Reader(_) => None,
        });
        keyed.max().unwrap_or_default()
    }

    /// Publishes messages for a while, or only until the broker has started.
    fn run_load(&mut self, millis_max: u64) -> Result<(), Fault> {
        let rng = &mut self.shared.rng;
        let millis = if rng.percent(20) { rng.below(80) } else { rng.between(150, millis_max) };
        let end = now() + Duration::from_millis(millis);
        while now() < end {
            self.step()?;
        }
        Ok(())
    }

    fn kill(&mut self) -> Result<(), Fault> {
        self.kills += 1;
        self.shared.ledger.note(BROKER, "is killed", 0, None);
        let connections = self.broker.kill(&mut self.shared.rng);
        self.shared.now = now();
        for client in &mut self.clients {
            match connections {
                Connections::Lost => client.on_broker_killed(&mut self.shared)?,
                Connections::Kept => client.on_broker_harmed(&mut self.shared),
            }
        }
        self.shared.ledger.note(BROKER, "is started again", 0, None);
        self.broker.start();
        Ok(())
    }

    /// Waits until all messages have arrived, and a little longer for duplicates.
    fn settle(&mut self) -> Result<(), Fault> {
        self.stage(Stage::Settling);
        for client in &mut self.clients {
            client.settle(&mut self.shared);
        }
        self.wait_until("everything has arrived", |world| {
            world.clients.iter().all(Client::is_settled) && world.missing().is_none()
        })?;
        let end = now() + SILENCE;
        while now() < end {
            self.step()?;
        }
        self.judge()?;
        self.arrived += self.shared.ledger.messages().count() as u64;
        self.shared.ledger.forget(&self.values);
        self.shared.content.settle();
        self.shared.consumed.forget();
        Ok(())
    }

    fn stage(&mut self, stage: Stage) {
        self.shared.stage = stage;
        for client in &mut self.clients {
            if let Role::Probe(probe) = &mut client.role {
                probe.begin();
            }
        }
    }

    fn wait_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<(), Fault> {
        let mut asked_at = now();
        let deadline = asked_at + if self.scenario == Scenario::Cluster { 2 * PATIENCE } else { PATIENCE };
        loop {
            self.step()?;
            if asked_at.elapsed() < Duration::from_millis(50) {
                continue;
            }
            asked_at = now();
            if is_so(self) {
                return Ok(());
            }
            if asked_at > deadline {
                let fault = self.missing().unwrap_or_else(|| self.unsettled());
                return Err(Fault { text: format!("timeout while waiting until {what}: {}", fault.text), ..fault });
            }
        }
    }

    fn step(&mut self) -> Result<(), Fault> {
        self.shared.now = now();
        self.shared.ledger.millis = self.shared.now.duration_since(self.started_at).as_millis();
        self.operate();
        self.broker.pass(self.shared.now);
        let before = self.shared.ledger.now;
        for client in &mut self.clients {
            client.step(&mut self.shared)?;
        }
        if self.shared.ledger.now == before {
            thread::sleep(Duration::from_millis(1));
            if let Some(status) = self.broker.end() {
                let text = format!("ended by itself: {status}");
                return Err(Fault { client: BROKER, message: None, text });
            }
        }
        Ok(())
    }

    /// The operator redrives dead letters.
    fn operate(&mut self) {
        if self.scenario == Scenario::Streams && self.operate_at <= self.shared.now {
            self.operate_at = self.shared.within(500);
            self.letters += redrive_all(&self.broker.socket()).unwrap_or(0);
        }
    }

    /// A report for debugging the fault.
    pub(crate) fn report(&mut self, seed: u64, fault: &Fault) -> String {
        let names: Vec<String> = self.clients.iter().map(|client| client.name.clone()).collect();
        let history = self.shared.ledger.history(fault, &names);
        let message = fault.message.and_then(|number| self.shared.ledger.message(number));
        let who = names.get(fault.client).map_or("broker", String::as_str);
        let about = fault.message.map(|number| format!(", message {number}")).unwrap_or_default();
        let log = self.broker.log();
        let directory = self.broker.keep();
        let text = &fault.text;
        format!(
            "{who}{about}: {text}\nseed {seed}, kill {}\n{message:?}\n{history}\n{log}\nkept: {}",
            self.kills,
            directory.display()
        )
    }
}

/// All clients. Even numbers use 5.0, odd ones 3.1.1.
fn clients(values: &[String]) -> Vec<Client> {
    let mut clients = Vec::new();
    let mut add = |name: &str, durable: bool, role: Role| {
        clients.push(Client::new(clients.len(), name, durable, role));
    };
    for number in 0..8 {
        // Two publishers share their topics, so the order is checked by publisher and topic.
        let topics = (0..3).map(|topic| format!("t/{}/{topic}", number / 2)).collect();
        add("publisher", number < 6, Role::Publisher(Publisher::new(Topics::Events(topics))));
    }
    for (value, qos) in values.iter().zip([1, 2, 1, 2]) {
        add("value", true, Role::Publisher(Publisher::new(Topics::Value(value.clone(), qos))));
    }
    let subscribers = [
        ("t/#", 2, Behaviour::Steady),
        ("t/#", 1, Behaviour::Steady),
        ("t/+/0", 2, Behaviour::Flapping),
        ("t/1/#", 2, Behaviour::Flapping),
        ("t/2/+", 1, Behaviour::Flapping),
        ("t/#", 2, Behaviour::Offline),
        ("t/+/1", 2, Behaviour::Offline),
        ("t/3/#", 2, Behaviour::Changing),
        ("t/0/#", 2, Behaviour::Changing),
        ("r/#", 2, Behaviour::Steady),
        ("w/#", 2, Behaviour::Steady),
        ("w/#", 2, Behaviour::Offline),
    ];
    for (filter, qos, behaviour) in subscribers {
        add(&format!("{behaviour:?}"), true, Role::Subscriber(Subscriber::new(filter, qos, behaviour)));
    }
    for behaviour in [Behaviour::Steady, Behaviour::Flapping, Behaviour::Steady] {
        add("member", true, Role::Subscriber(Subscriber::member("group", "t/#", behaviour)));
    }
    for (number, qos) in [1, 2, 2, 1].into_iter().enumerate() {
        let topic = format!("w/{number}");
        add("willed", number < 2, Role::Willed { topic, qos, will: None });
    }
    add("probe", false, Role::Probe(Probe::new(values)));
    add("probe", false, Role::Probe(Probe::new(values)));
    clients
}

/// The clients of a stream, and those that refuse messages, which 5.0 has: their numbers are even.
fn readers() -> Vec<Client> {
    let mut clients = Vec::new();
    let mut add = |name: &str, durable: bool, role: Role| {
        clients.push(Client::new(clients.len(), name, durable, role));
    };
    for number in 0..6 {
        let topics = (0..3).map(|topic| format!("t/{}/{topic}", number / 2)).collect();
        add("publisher", true, Role::Publisher(Publisher::with_batches(Topics::Events(topics))));
    }
    let readers = [(None, 0, false), (None, 1, true), (Some("t/1/#"), 1, false)];
    let refusing =
        [("t/#", 2, Behaviour::Steady), ("t/1/#", 1, Behaviour::Flapping), ("t/2/+", 2, Behaviour::Flapping)];
    let others = [("t/#", 2, Behaviour::Steady), ("t/#", 2, Behaviour::Offline), ("t/0/#", 1, Behaviour::Flapping)];
    for (reader, (refusing, other)) in readers.into_iter().zip(refusing.into_iter().zip(others)) {
        let (filter, qos, behaviour) = refusing;
        add("refusing", true, Role::Subscriber(Subscriber::refusing(filter, qos, behaviour)));
        let (filter, qos, behaviour) = other;
        add("subscriber", true, Role::Subscriber(Subscriber::new(filter, qos, behaviour)));
        let (filter, qos, leaves) = reader;
        add("reader", false, Role::Reader(Reader::new(filter, qos, leaves)));
        add("publisher", true, Role::Publisher(Publisher::new(Topics::Events(vec!["t/1/0".to_owned()]))));
    }
    clients
}

/// Those whose place in a stream the broker keeps, and those that ask for receipts and get them. The clients with an even number use 5.0.
fn consumers() -> Vec<Client> {
    let mut clients = Vec::new();
    let mut add = |name: &str, durable: bool, role: Role| {
        clients.push(Client::new(clients.len(), name, durable, role));
    };
    let consumer = |kind, qos, leaves| Role::Consumer(Consumer::new(kind, qos, leaves));
    for number in 0..6 {
        let topics = (0..3).map(|topic| format!("t/{}/{topic}", number / 2)).collect();
        add("publisher", true, Role::Publisher(Publisher::with_receipts(Topics::Events(topics))));
    }
    let states =
        |first: u32, qos| Topics::States((first..first + 3).map(|number| format!("s/{number}")).collect(), qos);
    add("keyed", false, consumer(Kind::Keyed(Keyed::default()), 1, false));
    add("state", true, Role::Publisher(Publisher::new(states(0, 1))));
    add("keyed", false, consumer(Kind::Keyed(Keyed::default()), 0, true));
    add("state", true, Role::Publisher(Publisher::new(states(3, 2))));
    for (durable, leaves) in [(true, false), (true, true), (false, true), (false, false)] {
        add("member", durable, consumer(Kind::Member(Member::default()), 1, leaves));
    }
    for leaves in [false, false, true, true] {
        add("kept", true, consumer(Kind::Kept(Kept::default()), 1, leaves));
    }
    let subscriber = |filter, qos, behaviour| Role::Subscriber(Subscriber::new(filter, qos, behaviour));
    add("reader", false, Role::Reader(Reader::new(None, 1, false)));
    add("subscriber", true, subscriber("t/#", 2, Behaviour::Steady));
    add("reader", false, Role::Reader(Reader::new(None, 1, true)));
    add("subscriber", true, subscriber("t/1/#", 1, Behaviour::Flapping));
    add("receipts", true, consumer(Kind::Receipts, 1, true));
    add("subscriber", true, subscriber("t/+/0", 2, Behaviour::Offline));
    add("letters", true, consumer(Kind::Letters, 1, true));
    clients
}

/// Number of topics with a retained value.
const VALUES: usize = 4;
const KILLS_BETWEEN_RESTS: u64 = 5;
/// Time limit for anything.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait for duplicates in a settled state.
const SILENCE: Duration = Duration::from_millis(300);
