//! Histories from a seed: nodes that are cut off, stopped, killed, moved and ended while requests and answers are late, lost or in doubt.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::sleep;

use super::process::Cluster;
use super::service::Service;
use super::weather::Random;
use super::{simulated, wait};
use crate::cluster::Command as Wish;
use crate::store::sim::Loss;

const NODES: [&str; 3] = ["a", "b", "c"];

struct History {
    random: Random,
    service: Arc<Service>,
    cluster: Cluster,
    cut_off: BTreeSet<&'static str>,
    stopped: BTreeSet<&'static str>,
}

impl History {
    /// Something happens to a node, or ends.
    async fn step(&mut self) {
        let node = NODES[usize::try_from(self.random.below(3)).unwrap()];
        if !self.cluster.runs(node) {
            self.note(&format!("{node} starts"));
            return self.cluster.add(node);
        }
        if self.stopped.remove(node) {
            self.note(&format!("{node} goes on"));
            return self.cluster.stop(node, false);
        }
        match self.random.below(10) {
            0..=2 => {
                let is_cut_off = self.cut_off.insert(node) || !self.cut_off.remove(node);
                self.note(&format!("{node} is cut off: {is_cut_off}"));
                self.service.cut_off(node, is_cut_off);
            }
            3 | 4 => {
                self.note(&format!("{node} stands still"));
                self.stopped.insert(node);
                self.cluster.stop(node, true);
            }
            5 | 6 => {
                let (seed, loss) =
                    (self.random.next(), if self.random.below(2) == 0 { Loss::Process } else { Loss::Power });
                self.note(&format!("{node} ends: {loss:?}"));
                self.cluster.crash(node, loss, seed).await;
            }
            7 => {
                self.note(&format!("{node} hands over"));
                self.cluster.wish(node, Wish::Move { to: None });
            }
            8 if !self.cut_off.contains(node) => {
                self.note(&format!("{node} is ended"));
                self.cluster.end(node).await;
            }
            _ => {
                self.note("other weather");
                self.service.line.change();
            }
        }
    }

    fn note(&self, text: &str) {
        self.service.note(&format!("==> {text}"));
    }

    /// Ends all faults.
    fn heal(&mut self) {
        self.note("all is well");
        self.service.line.calm();
        for node in std::mem::take(&mut self.cut_off) {
            self.service.cut_off(node, false);
        }
        for node in std::mem::take(&mut self.stopped) {
            self.cluster.stop(node, false);
        }
        for node in NODES.iter().filter(|node| !self.cluster.runs(node)).collect::<Vec<_>>() {
            self.cluster.add(node);
        }
    }
}

/// Nothing that was acknowledged is lost, and when all faults have ended, there is an owner, and the others follow.
async fn history(seed: u64) {
    let service = Arc::new(Service::with_weather(seed));
    service.note(&format!("seed {seed}"));
    spawn_local(Arc::clone(&service).receive());
    let mut cluster = Cluster::new(&service);
    cluster.pace = Duration::from_millis(40);
    NODES.iter().for_each(|node| cluster.add(node));
    let (cut_off, stopped) = (BTreeSet::new(), BTreeSet::new());
    let mut history = History { random: Random::new(seed), service, cluster, cut_off, stopped };
    if history.random.below(4) > 0 {
        history.cluster.wait_for_acknowledgements(1).await;
    }
    for _ in 0..STEPS {
        let pause = history.random.millis(0, 4_000);
        sleep(pause).await;
        history.step().await;
    }
    history.heal();
    // What operators have asked for has happened by then.
    sleep(Duration::from_secs(20)).await;
    history.cluster.wait_for_acknowledgements(20).await;
    let follow = || {
        let owner = history.cluster.owner();
        NODES.iter().all(|node| owner.as_deref() == Some(node) || history.cluster.is_following(node))
    };
    wait("there is an owner, and the others follow", follow).await;
    history.cluster.wait_for_acknowledgements(20).await;
    history.cluster.end_all().await;
}

#[test]
fn nothing_acknowledged_is_lost_and_there_is_an_owner_when_all_faults_have_ended() {
    for seed in seeds() {
        simulated(history(seed));
    }
}

/// The number of seeds: `ONCEMQ_NODE_SEEDS`, or a single one: `ONCEMQ_NODE_SEED`.
#[expect(clippy::disallowed_methods, reason = "a test is told how much to do")]
fn seeds() -> RangeInclusive<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match number("ONCEMQ_NODE_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("ONCEMQ_NODE_SEEDS").unwrap_or(SEEDS),
    }
}

const SEEDS: u64 = 30;
const STEPS: u32 = 12;
