//! Runs an attack on a broker, and judges what happened to the broker and to the pair.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::{Broker, Setup};
use crate::deadline::{self, PATIENCE};
use crate::pair::{Experience, Lifetime, Pair};
use crate::peer;
use crate::process::{Usage, highest_memory};

/// What an attack sees.
pub(crate) struct Arena<'a> {
    pub(crate) broker: &'a Broker,
    pub(crate) address: SocketAddr,
    end: Instant,
}

/// What the broker may use during an attack beyond what it used before, and what is left of it afterwards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Resident memory in MiB.
    pub(crate) memory: u64,
    /// File descriptors.
    pub(crate) descriptors: u64,
}

impl Arena<'_> {
    /// Whether the attack goes on.
    pub(crate) fn goes_on(&self) -> bool {
        deadline::now() < self.end && Usage::of(self.broker.id()).is_some()
    }

    /// The time that is left for the attack.
    pub(crate) fn left(&self) -> Duration {
        self.end.saturating_duration_since(deadline::now())
    }
}

/// How long an attack lasts.
#[expect(clippy::disallowed_methods, reason = "the duration is chosen on the command line that runs the tests")]
pub(crate) fn duration() -> Duration {
    std::env::var("ONCEMQ_ABUSE_SECONDS").map_or(DURATION, |seconds| Duration::from_secs(seconds.parse().unwrap()))
}

/// The budget of the broker in bytes; `None`: its default. Beside the bounds of the attack, its resident memory may then never exceed 1.15 times
/// the budget, and the pair's subscriber has a durable Session: that of another one may lose messages while memory is short.
#[expect(clippy::disallowed_methods, reason = "the budget is chosen on the command line that runs the tests")]
fn memory_max() -> Option<u64> {
    std::env::var("ONCEMQ_ABUSE_MEMORY_MIB").ok().map(|mebibytes| mebibytes.parse::<u64>().unwrap() * MIB)
}

/// Starts a broker, attacks it while the pair runs, and judges. `attack` returns what must be kept open until its end is judged.
#[track_caller]
pub(crate) fn attack<T>(name: &str, setup: &Setup, bounds: Bounds, attack: impl FnOnce(&Arena<'_>) -> T) {
    let (setup, lifetime) = match memory_max() {
        Some(max) => (&setup.clone().set("limits.memory_max", &max.to_string()), Lifetime::Durable),
        None => (setup, Lifetime::Transient),
    };
    let broker = setup.start();
    let pair = Pair::start(broker.address(), lifetime);
    thread::sleep(Duration::from_millis(100));
    let before = Usage::of(broker.id()).unwrap();
    let is_over = AtomicBool::new(false);
    let peak = thread::scope(|scope| {
        let sampling = scope.spawn(|| {
            let mut peak = before;
            while !is_over.load(Ordering::Relaxed) {
                peak = peak.max(Usage::of(broker.id()).unwrap_or_default());
                thread::sleep(Duration::from_millis(5));
            }
            peak
        });
        let arena = Arena { broker: &broker, address: broker.address(), end: deadline::now() + duration() };
        drop(attack(&arena));
        is_over.store(true, Ordering::Relaxed);
        sampling.join().unwrap()
    });
    let experience = pair.end();
    let peak = Usage { memory: peak.memory.max(highest_memory(broker.id())), ..peak };
    let has_ended = Usage::of(broker.id()).is_none();
    report(name, &experience, before, peak, has_ended);
    if !peer::is_chosen() {
        judge(&broker, bounds, &experience, before, peak);
    }
}

fn report(name: &str, experience: &Experience, before: Usage, peak: Usage, has_ended: bool) {
    let memory = (peak.memory - before.memory) as f64 / MIB as f64;
    let descriptors = peak.descriptors - before.descriptors;
    let [median, p99, worst] = [50, 99, 100].map(|percentage| experience.latency(percentage).as_secs_f64() * 1e3);
    let total = peak.memory / MIB;
    let Experience { sent, lost, failure, .. } = experience;
    let end = if has_ended { ", the broker ENDED" } else { "" };
    println!(
        "abuse {name}: memory +{memory:.0} MiB, {total} MiB in all, descriptors +{descriptors}, pair: {sent} sent, {lost} lost, \
         p50 {median:.1} ms, p99 {p99:.1} ms, max {worst:.1} ms{end}{}",
        failure.as_ref().map(|failure| format!(", {failure}")).unwrap_or_default()
    );
}

#[track_caller]
fn judge(broker: &Broker, bounds: Bounds, experience: &Experience, before: Usage, peak: Usage) {
    assert_eq!(experience.failure, None, "the pair");
    assert_eq!(experience.lost, 0, "messages of the pair are lost");
    if let Some(max) = memory_max() {
        let highest = max + max * 15 / 100;
        assert!(peak.memory <= highest, "{} of at most {highest} bytes of memory", peak.memory);
    }
    let memory = (peak.memory - before.memory) / MIB;
    assert!(memory <= bounds.memory, "{memory} MiB of memory, {} are allowed", bounds.memory);
    let descriptors = peak.descriptors - before.descriptors;
    assert!(descriptors <= bounds.descriptors, "{descriptors} descriptors, {} are allowed", bounds.descriptors);
    let end = deadline::now() + PATIENCE;
    loop {
        let now = Usage::of(broker.id()).expect("the broker runs");
        if now.descriptors <= before.descriptors + DESCRIPTORS_LEFT {
            break;
        }
        assert!(deadline::now() < end, "{} descriptors are left open", now.descriptors - before.descriptors);
        thread::sleep(Duration::from_millis(20));
    }
    let log = broker.log();
    assert!(!log.contains("panicked"), "the broker panicked");
}

pub(crate) const MIB: u64 = 1 << 20;
/// The descriptors of connections that clients open and close at once: as many as come while the disk holds up the broker for a second.
pub(crate) const FLEETING_MAX: u64 = 6_000;
/// The duration of an attack in the tests.
pub(crate) const DURATION: Duration = Duration::from_millis(1_500);
/// Segments of the log that were opened meanwhile, and connections whose end is still being handled.
const DESCRIPTORS_LEFT: u64 = 10;
