//! The crash matrix: kills the broker with SIGKILL under load, restarts it, and compares what its clients were told with what they got.
//!
//! The clients follow the standard, keep their part of the Session, and outlive every kill. What is judged is only what they were sent. A kill
//! comes at a random time, or as soon as a client has received a packet that must not have left before its record was written: whatever
//! was acknowledged too early is then still in the memory of the process.

mod end;
mod load;
mod publisher;
mod seen;
mod subscriber;

use std::thread;
use std::time::Duration;

use oncemq::codec::{PacketType, ProtocolVersion, Qos};
use tokio::time::Instant;

use super::broker::{Broker, Program};
use super::link::LinkError;
use super::scratch::Scratch;
use super::stop::Stop;
use super::trouble::Trouble;
use end::End;
use load::{Load, random_below};
use publisher::Publisher;
use subscriber::{Behaviour, Subscriber};

/// What the matrix has found.
#[derive(Debug, Default)]
pub(super) struct Crashes {
    pub(super) kills: u64,
    /// Messages that were acknowledged.
    pub(super) acknowledged: u64,
    /// First deliveries to all subscribers.
    pub(super) delivered: u64,
    /// From the start of the process until it listens, the longest.
    pub(super) restart_max: Duration,
    /// What must not have happened. The matrix ends with the first.
    pub(super) fault: Option<Fault>,
}

/// A violation of the guarantees.
#[derive(Debug)]
pub(super) struct Fault {
    /// The number of kills before.
    pub(super) kills: u64,
    /// That of the broker that was killed last.
    pub(super) durability: &'static str,
    pub(super) client: String,
    pub(super) text: String,
}

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) rounds: u64,
    /// No round begins after this time.
    pub(super) until: Instant,
}

struct Matrix<'a> {
    program: &'a Program<'a>,
    scratch: &'a Scratch,
    stop: &'a Stop,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    found: Crashes,
    /// That of the broker that was killed last.
    durability: &'static str,
}

/// What a client says: its name and its end.
type Ended = (String, Result<(), End>);

/// Kills and restarts the broker, and judges it.
pub(super) fn run(program: &Program<'_>, scratch: &Scratch, plan: Plan) -> Result<Crashes, Trouble> {
    let (v3, v5) = (ProtocolVersion::V3_1_1, ProtocolVersion::V5);
    let (once, at_least) = (Qos::ExactlyOnce, Qos::AtLeastOnce);
    let publishers = [(v5, once), (v3, once), (v5, at_least), (v3, at_least)];
    let publishers = publishers.into_iter().enumerate();
    let behaviours = [(v5, Behaviour::Steady), (v3, Behaviour::Flapping), (v5, Behaviour::Away)];
    let mut matrix = Matrix {
        program,
        scratch,
        stop: program.stop,
        publishers: publishers.map(|(index, (version, qos))| Publisher::new(index, version, qos)).collect(),
        subscribers: behaviours.map(|(version, behaviour)| Subscriber::new(version, behaviour, PUBLISHERS)).into(),
        found: Crashes::default(),
        durability: broker_durability(0),
    };
    matrix.run(plan)?;
    scratch.clear(DATA)?;
    Ok(matrix.found)
}

impl Matrix<'_> {
    fn run(&mut self, plan: Plan) -> Result<(), Trouble> {
        let mut broker = self.start()?;
        let (mut is_good, mut is_judged) = (self.settle(&mut broker)?, true);
        while is_good && self.found.kills < plan.rounds && (self.found.kills == 0 || Instant::now() < plan.until) {
            is_good = self.load(&mut broker)?;
            if !is_good {
                break;
            }
            broker.kill()?;
            self.durability = broker_durability(self.found.kills);
            self.found.kills += 1;
            self.scratch.check()?;
            broker = match self.start() {
                Ok(broker) => broker,
                Err(Trouble::NoBroker { cause, .. }) => {
                    self.judge(
                        vec![("the broker".to_owned(), Err(End::Fault(format!("does not start again: {cause}"))))],
                        |_| String::new(),
                    )?;
                    return Ok(());
                }
                Err(other) => return Err(other),
            };
            // Now and then the next kill comes while the clients repeat what the last one has interrupted.
            is_judged = self.found.kills % 3 != 2;
            if is_judged {
                is_good = self.settle(&mut broker)?;
            }
        }
        if is_good && !is_judged {
            self.settle(&mut broker)?;
        }
        broker.kill()
    }

    fn start(&mut self) -> Result<Broker, Trouble> {
        let broker = self.program.start(DATA, broker_durability(self.found.kills))?;
        self.found.restart_max = self.found.restart_max.max(broker.starting);
        Ok(broker)
    }

    /// Loads the broker until it is killed. Returns whether all is as it must be.
    fn load(&mut self, broker: &mut Broker) -> Result<bool, Trouble> {
        let load = Load { address: broker.address, trap: &broker.trap };
        let (trap, stop) = (&broker.trap, self.stop);
        let (publishers, subscribers) = (&mut self.publishers, &mut self.subscribers);
        let (waited, ended) = thread::scope(|scope| {
            let mut threads = Vec::new();
            for publisher in publishers {
                threads.push(
                    scope.spawn(move || -> Ended { (publisher.name(), load.until_killed(publisher.load(load))) }),
                );
            }
            for subscriber in subscribers {
                threads.push(
                    scope.spawn(move || -> Ended { (subscriber.name(), load.until_killed(subscriber.load(load))) }),
                );
            }
            let waited = kill_at_some_time(trap, stop);
            trap.kill();
            let ended: Vec<Ended> = threads.into_iter().filter_map(|thread| thread.join().ok()).collect();
            (waited, ended)
        });
        waited?;
        self.judge(ended, |error| error.to_string())
    }

    /// Lets all exchanges end, and compares what was acknowledged with what was delivered.
    fn settle(&mut self, broker: &mut Broker) -> Result<bool, Trouble> {
        let (address, stop) = (broker.address, self.stop);
        let publishers = &mut self.publishers;
        let ended = thread::scope(|scope| {
            let threads: Vec<_> = publishers
                .iter_mut()
                .map(|publisher| scope.spawn(move || -> Ended { (publisher.name(), publisher.settle(address, stop)) }))
                .collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect::<Vec<_>>()
        });
        if !self.judge_settled(broker, ended)? {
            return Ok(false);
        }
        let sent: Vec<_> = self.publishers.iter().map(Publisher::sent).collect();
        let (subscribers, sent) = (&mut self.subscribers, &sent);
        let ended = thread::scope(|scope| {
            let threads: Vec<_> = subscribers
                .iter_mut()
                .map(|subscriber| {
                    scope.spawn(move || -> Ended { (subscriber.name(), subscriber.settle(address, sent, stop)) })
                })
                .collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect::<Vec<_>>()
        });
        let is_good = self.judge_settled(broker, ended)?;
        self.publishers.iter_mut().for_each(Publisher::forget);
        self.found.delivered = self.subscribers.iter().map(|subscriber| subscriber.delivered).sum();
        self.found.acknowledged = self.publishers.iter().map(|publisher| publisher.acknowledged).sum();
        Ok(is_good)
    }

    fn judge_settled(&mut self, broker: &mut Broker, ended: Vec<Ended>) -> Result<bool, Trouble> {
        let (has_ended, last) = (broker.has_ended(), self.program.last_words());
        self.judge(ended, |error| match has_ended {
            true => format!("the broker has ended by itself: {}", last.clone().unwrap_or_default()),
            false => error.to_string(),
        })
    }

    /// Keeps the first fault. What happened on a full disk, or after a signal, is none.
    fn judge(&mut self, ended: Vec<Ended>, meaning: impl Fn(&LinkError) -> String) -> Result<bool, Trouble> {
        self.stop.check()?;
        for (client, result) in ended {
            let text = match result {
                Ok(()) => continue,
                Err(End::Fault(text)) => text,
                Err(End::Link(error)) => meaning(&error),
            };
            self.scratch.check()?;
            let (kills, durability) = (self.found.kills, self.durability);
            self.found.fault.get_or_insert(Fault { kills, durability, client, text });
        }
        Ok(self.found.fault.is_none())
    }
}

/// The level of the broker after so many kills. Both must read what the other has written; with power-loss, records wait in memory during
/// each sync.
const fn broker_durability(kills: u64) -> &'static str {
    if kills % 4 == 3 { "crash" } else { "power-loss" }
}

/// Kills the broker after some time of load, or arms the trap then.
fn kill_at_some_time(trap: &super::broker::Trap, stop: &Stop) -> Result<(), Trouble> {
    let loaded = LOAD_MIN + Duration::from_millis(random_below(LOAD_RANGE_MS));
    stop.wait(Instant::now() + loaded, || trap.is_sprung())?;
    let packets = [
        None,
        Some(PacketType::Puback),
        Some(PacketType::Pubrec),
        // These two are found less often than the others: what is lost with them matters to a few messages only.
        Some(PacketType::Pubcomp),
        Some(PacketType::Pubcomp),
        Some(PacketType::Pubrel),
        Some(PacketType::Pubrel),
        Some(PacketType::Publish),
    ];
    let choice = usize::try_from(random_below(packets.len() as u64)).unwrap_or_default();
    if let Some(packet) = packets.get(choice).copied().flatten() {
        trap.arm(packet);
        stop.wait(Instant::now() + TRAP_MAX, || trap.is_sprung())?;
    }
    Ok(())
}

const PUBLISHERS: usize = 4;
const DATA: &str = "crash";
/// The shortest time between the start of the load and the kill.
const LOAD_MIN: Duration = Duration::from_millis(120);
const LOAD_RANGE_MS: u64 = 350;
/// How long an armed trap waits for its packet.
const TRAP_MAX: Duration = Duration::from_millis(400);
