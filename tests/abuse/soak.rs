//! Everything at once, for a long time: memory, descriptors and the store must not grow.
//!
//! `ONCEMQ_SOAK_SECONDS=3600 cargo test --test abuse soak -- --nocapture` lasts an hour.

use std::thread;
use std::time::Duration;

use wire::{Connect, PINGREQ, PUBLISH, PUBREL, Publish, Version, acknowledge, packet};

use crate::broker::{Broker, Setup};
use crate::client::Client;
use crate::deadline;
use crate::mutants::{Random, conversation};
use crate::pair::{Lifetime, Pair};
use crate::peer;
use crate::process::{Usage, size_of};

const V5: Version = Version::V5;
const V311: Version = Version::V311;

#[expect(clippy::disallowed_methods, reason = "the duration is chosen on the command line that runs the tests")]
fn seconds() -> u64 {
    std::env::var("ONCEMQ_SOAK_SECONDS").map_or(SECONDS, |seconds| seconds.parse().unwrap())
}

/// One value of the broker over time.
struct Series {
    what: &'static str,
    values: Vec<f64>,
    /// Growth that is permitted beyond a tenth of the mean.
    slack: f64,
}

impl Series {
    /// The growth over all values, by the line that fits them best.
    fn growth(&self) -> f64 {
        let count = self.values.len() as f64;
        let (mean_time, mean) = ((count - 1.0) / 2.0, self.values.iter().sum::<f64>() / count);
        let times = || (0..self.values.len()).map(|time| time as f64 - mean_time);
        let covariance: f64 = times().zip(&self.values).map(|(time, value)| time * (value - mean)).sum();
        let variance: f64 = times().map(|time| time * time).sum();
        covariance / variance * (count - 1.0)
    }

    fn judge(&self) {
        let mean = self.values.iter().sum::<f64>() / self.values.len() as f64;
        let growth = self.growth();
        println!("soak: {} mean {mean:.0}, growth {growth:.0} in the last three quarters", self.what);
        let most = mean / 10.0 + self.slack;
        assert!(growth <= most || peer::is_chosen(), "{} grew by {growth:.0}, at most {most:.0}", self.what);
    }
}

#[test]
fn soak() {
    // Sessions and retained messages reach their bounds within the first quarter of a short soak.
    let setup = Setup::default()
        .set("limits.sessions_max", "500")
        .set("limits.session_expiry_max", "\"5s\"")
        .set("limits.retained_messages_max", "200");
    let broker = setup.start();
    let pair = Pair::start(broker.address(), Lifetime::Transient);
    let samples = thread::scope(|scope| {
        let end = deadline::now() + Duration::from_secs(seconds());
        let workers: [fn(&Broker, &mut Random); 5] = [mutants, visitors, publishers, deaf_clients, dying_clients];
        for (number, worker) in workers.into_iter().enumerate() {
            let broker = &broker;
            scope.spawn(move || {
                let mut random = Random(number as u64 + 1);
                while deadline::now() < end && Usage::of(broker.id()).is_some() {
                    worker(broker, &mut random);
                }
            });
        }
        let mut samples = Vec::new();
        while deadline::now() < end {
            thread::sleep(Duration::from_millis(seconds() * 1_000 / SAMPLES));
            let usage = Usage::of(broker.id()).expect("the broker runs");
            samples.push((usage, size_of(&broker.path().join("data"))));
        }
        samples
    });
    let experience = pair.end();
    println!(
        "soak: pair {} sent, {} lost, p99 {:?}, {:?}",
        experience.sent,
        experience.lost,
        experience.latency(99),
        experience.failure
    );
    let settled = &samples[samples.len() / 4..];
    let series = |what, slack, value: fn(&(Usage, u64)) -> u64| {
        Series { what, slack, values: settled.iter().map(|sample| value(sample) as f64).collect() }.judge();
    };
    // The heap of the allocator takes some minutes to find its size.
    series("memory in bytes", 32e6, |(usage, _)| usage.memory);
    // Connections that have ended are closed in bursts.
    series("descriptors", 300.0, |(usage, _)| usage.descriptors);
    // Space is reclaimed a segment at a time, and there is one in reserve.
    series("store in bytes", 140e6, |(_, store)| *store);
    assert!(peer::is_chosen() || (experience.failure.is_none() && experience.lost == 0), "{experience:?}");
}

fn mutants(broker: &Broker, random: &mut Random) {
    let version = [V311, V5][random.below(2)];
    if let Some(mut client) = Client::open(broker.address()) {
        client.offer(&conversation(random, version));
        thread::sleep(Duration::from_millis(5));
    }
}

/// Durable sessions that come, receive a part of their queue, and go.
fn visitors(broker: &Broker, random: &mut Random) {
    let version = [V311, V5][random.below(2)];
    let connect = Connect::durable(version, &format!("visitor-{}", random.below(200)));
    let Some(mut client) = Client::connected(broker.address(), &connect) else { return };
    client.offer(&version.subscribe(1, &format!("soak/{}/#", random.below(10)), 2));
    thread::sleep(Duration::from_millis(10));
    client.read(5_000);
    client.offer(&version.unsubscribe(2, &format!("soak/{}/#", random.below(10))));
}

fn publishers(broker: &Broker, random: &mut Random) {
    let connect = Connect::new(V311, &format!("publisher-{}", random.below(10)));
    let Some(mut client) = Client::connected(broker.address(), &connect) else { return };
    for identifier in 1..=100 {
        let qos = u8::try_from(random.below(3)).unwrap();
        let retain = u8::from(random.below(4) == 0);
        let topic = format!("soak/{}/{}", random.below(10), random.below(100));
        let length = random.below(2_000);
        client.offer(&V311.publish(PUBLISH | qos << 1 | retain, &topic, identifier, &vec![b'.'; length]));
        if qos == 2 {
            client.offer(&acknowledge(PUBREL, identifier));
        }
        client.read(1_000);
        thread::sleep(Duration::from_millis(1));
    }
}

/// Clients that ask for everything and read nothing.
fn deaf_clients(broker: &Broker, random: &mut Random) {
    let connect = |number| Connect::new(V5, &format!("deaf-{number}"));
    let mut clients: Vec<Client> =
        (0..5).filter_map(|number| Client::connected(broker.address(), &connect(number))).collect();
    let pings = packet(PINGREQ, &[]).repeat(1_000);
    for _ in 0..200 {
        for client in &mut clients {
            client.offer(&V5.subscribe(1, "soak/#", 1));
            client.offer(&pings);
        }
        thread::sleep(Duration::from_millis(5 + random.below(2) as u64));
    }
}

fn dying_clients(broker: &Broker, random: &mut Random) {
    let dying = |number| {
        let mut connect = Connect::new(V5, &format!("dying-{number}"));
        let topic = format!("soak/{}/will", number % 10);
        connect.will = Some(Publish { qos: 1, retain: true, ..Publish::new(&topic, vec![b'.'; 500]) });
        Client::connecting(broker.address(), &connect)
    };
    let mut clients: Vec<Client> = (0..20).filter_map(dying).collect();
    thread::sleep(Duration::from_millis(20 + random.below(20) as u64));
    clients.iter_mut().for_each(Client::cut);
}

const SECONDS: u64 = 20;
const SAMPLES: u64 = 80;
