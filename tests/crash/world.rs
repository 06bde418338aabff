//! Runs the broker and its clients from one kill to the next.

use std::thread;
use std::time::{Duration, Instant};

use crate::broker::{Broker, Loss};
use crate::client::{Client, Role, Shared, Stage};
use crate::ledger::{BROKER, Fault, Ledger};
use crate::now;
use crate::probe::Probe;
use crate::publisher::{Publisher, Topics};
use crate::rng::Rng;
use crate::subscriber::{Behaviour, Subscriber};

/// A broker that is killed, and its clients.
pub(crate) struct World {
    pub(crate) clients: Vec<Client>,
    pub(crate) shared: Shared,
    broker: Broker,
    started_at: Instant,
    kills: u64,
    values: Vec<String>,
    arrived: u64,
}

impl World {
    pub(crate) fn new(seed: u64, durability: &'static str, loss: Loss) -> Self {
        let broker = Broker::new(durability, loss);
        let (ledger, rng, started_at) = (Ledger::default(), Rng(seed), now());
        let shared = Shared { ledger, rng, address: broker.address, now: started_at, stage: Stage::Connecting };
        let values: Vec<String> = (0..VALUES).map(|number| format!("r/{number}")).collect();
        let clients = clients(&values);
        Self { clients, shared, broker, started_at, kills: 0, values, arrived: 0 }
    }

    /// Kills the broker this many times. In between, it sometimes waits for a settled state, in which all messages must
    /// arrive.
    pub(crate) fn run(&mut self, kills: u64) -> Result<String, Fault> {
        self.broker.start();
        while self.kills < kills {
            self.stage(Stage::Connecting);
            self.wait_until("everyone is there", |world| world.clients.iter().all(Client::is_ready))?;
            self.stage(Stage::Load);
            for _ in 0..KILLS_BETWEEN_RESTS.min(kills - self.kills) {
                self.run_load()?;
                self.kill()?;
            }
            self.settle()?;
        }
        let millis = self.shared.now.duration_since(self.started_at).as_millis();
        Ok(format!("{} kills, {} messages, {} ms", self.kills, self.arrived, millis))
    }

    /// Publishes messages for a while, or only until the broker has started.
    fn run_load(&mut self) -> Result<(), Fault> {
        let rng = &mut self.shared.rng;
        let millis = if rng.percent(20) { rng.below(80) } else { rng.between(150, 1_200) };
        let end = now() + Duration::from_millis(millis);
        while now() < end {
            self.step()?;
        }
        Ok(())
    }

    fn kill(&mut self) -> Result<(), Fault> {
        self.kills += 1;
        self.shared.ledger.note(BROKER, "is killed", 0, None);
        self.broker.kill(&mut self.shared.rng);
        self.shared.now = now();
        for client in &mut self.clients {
            client.on_broker_killed(&mut self.shared)?;
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
        let deadline = asked_at + PATIENCE;
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

    /// A report for debugging the fault.
    pub(crate) fn report(&mut self, seed: u64, fault: &Fault) -> String {
        let names: Vec<String> = self.clients.iter().map(|client| client.name.clone()).collect();
        let history = self.shared.ledger.history(fault, &names);
        let message = fault.message.and_then(|number| self.shared.ledger.message(number));
        let who = names.get(fault.client).map_or("broker", String::as_str);
        let about = fault.message.map(|number| format!(", message {number}")).unwrap_or_default();
        let log = self.broker.log();
        let directory = self.broker.keep().display();
        let text = &fault.text;
        format!(
            "{who}{about}: {text}\nseed {seed}, kill {}\n{message:?}\n{history}\n{log}\nkept: {directory}",
            self.kills
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

/// Number of topics with a retained value.
const VALUES: usize = 4;
const KILLS_BETWEEN_RESTS: u64 = 5;
/// Time limit for anything.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait for duplicates in a settled state.
const SILENCE: Duration = Duration::from_millis(300);
