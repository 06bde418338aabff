use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, mpsc as blocking};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::attending::{Begin, Commands, Followed, attending};
use super::clock::{now, wall_millis};
use super::interface::{Command, End, Promotion, Stop};
use super::shipping::{Queue, Shipped, Shipper};
use super::texts::{describe, explain};
use super::upkeep::Upkeep;
use super::view::View;
use crate::cluster::assembly::parts_of;
use crate::cluster::engine::Engine;
use crate::cluster::place::Place;
use crate::cluster::{ClusterRequest, Command as Wish, Failover, Fault, Refusal, Replicator, Role};
use crate::store::{Mark, Replication, Store};

/// The name of the request, the reply, and when it began.
type Reply = (u64, crate::cluster::Reply, Instant);
type Replies = FuturesUnordered<Pin<Box<dyn Future<Output = Reply>>>>;

/// How an ownership ended.
pub(super) enum Ended {
    /// It is not the owner any more, or cannot be it.
    Fenced(String),
    /// The broker has ended by itself.
    HandsOver,
    /// The broker has ended because an operator asked for another owner: the node with this name, or any if it is empty.
    Moved(String),
    /// The process ends.
    Left(oneshot::Sender<()>),
}

/// An owner at work.
pub(super) struct Ownership<'a> {
    pub(super) view: &'a View,
    pub(super) cluster: u128,
    pub(super) epoch: u64,
    pub(super) replicator: Replicator,
    pub(super) queue: Arc<Queue>,
    /// The batches that are not replicated: the number of the last part, and the log sequence behind it.
    pub(super) under_way: VecDeque<(u64, u64)>,
    /// The log sequence below which all is replicated.
    pub(super) replicated: u64,
    /// The latest place at which every batch was whole.
    pub(super) mark: Mark,
    pub(super) upkeep: Upkeep,
    pub(super) broker: Option<(Arc<Store>, Stop)>,
    /// When a batch was replicated, or there was none to replicate.
    pub(super) progressed: Instant,
    /// Why the stream cannot be used any more.
    pub(super) broken: Option<String>,
    /// The node to which an operator moves the ownership.
    pub(super) moves_to: Option<String>,
}

impl<'a> Ownership<'a> {
    pub(super) fn new(view: &'a View, begin: &Begin) -> Self {
        let Begin { epoch, place, sequence, .. } = *begin;
        let mut replicator = Replicator::new(view.identity.cell, epoch, place.reader, WINDOW);
        // It serves no client before a commit of its own is in the stream, because another node may have become the owner already.
        replicator.ship((sequence, 0), (0, 1), Bytes::new());
        let under_way = VecDeque::from([(replicator.next_number() - 1, sequence)]);
        Self {
            view,
            cluster: place.cluster,
            epoch,
            replicator,
            queue: Arc::default(),
            under_way,
            replicated: sequence,
            mark: Mark { sequence, state: place.encode() },
            upkeep: Upkeep::default(),
            broker: None,
            progressed: now(),
            broken: None,
            moves_to: None,
        }
    }

    /// Waits until the first commit is replicated.
    pub(super) async fn confirm(
        &mut self,
        engine: &dyn Engine,
        commands: &mut Commands,
    ) -> Result<Result<(), String>, Followed> {
        if let Some(reason) = attending(self.view, commands, self.look_first(engine)).await? {
            return Ok(Err(reason));
        }
        let mut replies = Replies::new();
        while !self.replicator.is_confirmed() {
            self.perform(engine, &mut replies);
            if let Some(reply) = attending(self.view, commands, replies.next()).await? {
                self.take(reply);
            }
            if let Some(reason) = self.fault() {
                return Ok(Err(reason));
            }
        }
        Ok(Ok(()))
    }

    /// Lets the broker serve, and replicates what it stores.
    pub(super) async fn serve(
        &mut self,
        engine: &dyn Engine,
        commands: &mut Commands,
        (begin, owner): (&Begin, &blocking::SyncSender<Promotion>),
    ) -> Ended {
        let replication = Replication { replica: Box::new(Shipper(Arc::clone(&self.queue))), mark: self.mark.clone() };
        let _ = owner.try_send(Promotion { epoch: self.epoch, replication }); // the process takes it before there is another one
        if let Some(standby) = self.view.state.borrow_mut().standby.take() {
            (standby.promote)();
        }
        let epoch = self.epoch;
        self.view
            .log(&format!("this node is the owner: epoch {epoch}, after {} ms", begin.since.elapsed().as_millis()));
        let mut replies = Replies::new();
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.ship();
            self.perform(engine, &mut replies);
            tokio::select! {
                biased;
                command = commands.recv() => {
                    if let Some(ended) = self.command(command, begin) {
                        return ended;
                    }
                }
                _ = seconds.tick() => {
                    self.replicator.check();
                    self.begin_upkeep(engine);
                }
                done = self.upkeep.next() => self.done(engine, done),
                Some(reply) = replies.next() => self.take(reply),
                () = self.queue.filled.notified() => {}
            }
            if let Some(reason) = self.fault() {
                return Ended::Fenced(reason);
            }
        }
    }

    /// Hands the batches that the store has committed over to the replicator.
    fn ship(&mut self) {
        if !self.upkeep.has_room() {
            return;
        }
        for Shipped { first, entries, bytes } in self.queue.take() {
            let ranges = parts_of(bytes.len());
            let parts = u16::try_from(ranges.len()).unwrap_or(u16::MAX);
            self.upkeep.shipped += (bytes.len() + ranges.len() * ENTRY_OVERHEAD) as u64;
            for (part, range) in (0..parts).zip(ranges) {
                self.replicator.ship((first, entries), (part, parts), bytes.slice(range));
            }
            self.under_way.push_back((self.replicator.next_number() - 1, first + u64::from(entries)));
        }
    }

    /// Performs what the replicator asks for, in order.
    fn perform(&mut self, engine: &dyn Engine, replies: &mut Replies) {
        for (name, request) in self.replicator.take_requests() {
            let performed = engine.perform(request);
            let begun = now();
            replies.push(Box::pin(async move {
                let reply = performed.await;
                (name, reply, begun)
            }));
        }
    }

    fn take(&mut self, (name, reply, begun): Reply) {
        if matches!(reply, crate::cluster::Reply::Appended(_)) {
            self.view.status(|status| status.engine_latency.record(begun.elapsed()));
        }
        self.replicator.reply(name, reply);
        let replicated = self.replicator.replicated();
        let mut whole = None;
        while let Some(&(number, sequence)) = self.under_way.front().filter(|(number, _)| *number <= replicated) {
            whole = Some((number, sequence));
            self.under_way.pop_front();
        }
        let Some((number, sequence)) = whole else { return };
        self.replicated = sequence;
        if number == replicated {
            let place = Place { cluster: self.cluster, reader: self.replicator.reader() };
            self.mark = Mark { sequence, state: place.encode() };
        }
        self.progressed = now();
        if let Some((store, _)) = &self.broker {
            store.replicated(sequence);
        }
        let position = self.replicator.reader().position;
        self.view.status(|status| {
            (status.position, status.sequence, status.replicated) = (position, sequence, sequence);
        });
    }

    fn command(&mut self, command: Option<Command>, begin: &Begin) -> Option<Ended> {
        match command {
            Some(Command::Standby(server)) => self.view.stands_by(server),
            Some(Command::Serving(broker)) => {
                broker.store.replicated(self.replicated);
                self.view.state.borrow_mut().store = Some(Arc::clone(&broker.store));
                self.serves(begin);
                self.broker = Some((broker.store, broker.stop));
            }
            Some(Command::Stopped) => return Some(self.moves_to.take().map_or(Ended::HandsOver, Ended::Moved)),
            Some(Command::Asked(request)) => self.asked(request),
            Some(Command::Leave(answer)) => return Some(Ended::Left(answer)),
            None => return Some(Ended::Left(oneshot::channel().0)),
        }
        None
    }

    /// The broker serves.
    fn serves(&self, begin: &Begin) {
        let failover = Failover {
            at: wall_millis(),
            epoch: self.epoch,
            node: self.view.identity.node.clone(),
            cause: explain(&begin.cause),
            duration: begin.since.elapsed(),
        };
        self.view.log(&format!("serves clients: {} ms after it began to take over", failover.duration.as_millis()));
        self.view.status(|status| {
            (status.role, status.last_failover) = (Role::Owner, Some(failover));
            status.takeovers += 1;
        });
    }

    fn asked(&mut self, request: ClusterRequest) {
        let to = match &request.command {
            Wish::Move { to } => to.clone(),
            Wish::Drain => None,
            Wish::Undrain => {
                self.view.drain(false);
                request.accept();
                return;
            }
            // It is carried out before it comes here.
            Wish::Forget { .. } => return,
        };
        match self.begin_move(to) {
            Ok((stop, address)) => {
                if request.accept() == Wish::Drain {
                    self.view.drain(true);
                }
                // The answer goes through the admin listener of the broker.
                spawn_local(async move {
                    sleep(ANSWERED).await;
                    stop(End::HandsOver(address));
                });
            }
            Err(reason) => request.refuse(Refusal::Other(reason)),
        }
    }

    /// Begins to hand over, if another node can be the owner. Returns what ends the broker, and where clients reach the next owner.
    fn begin_move(&mut self, to: Option<String>) -> Result<(Stop, Option<String>), String> {
        let is_there = self.view.has_successor(to.as_deref());
        if !is_there {
            return Err(to.map_or_else(
                || "no other node is alive with a usable copy of the log".to_owned(),
                |to| format!("node {to} is not another node that is alive with a usable copy of the log"),
            ));
        }
        let broker = self.broker.as_ref().filter(|_| self.moves_to.is_none());
        let (_, stop) = broker.ok_or("the broker starts or ends just now")?;
        let stop = Arc::clone(stop);
        let address = to.as_ref().and_then(|to| self.view.address_of(to));
        self.view.log(&format!("hands over to {}", to.as_deref().unwrap_or("the node with the furthest copy")));
        self.moves_to = Some(to.unwrap_or_default());
        Ok((stop, address))
    }

    /// Why this node is not the owner any more.
    fn fault(&self) -> Option<String> {
        match self.replicator.fault() {
            Some(Fault::Fenced(epoch)) => return Some(format!("another node is the owner: epoch {epoch}")),
            Some(Fault::Trouble(trouble)) => return Some(describe(trouble)),
            None => {}
        }
        if let Some(broken) = &self.broken {
            return Some(broken.clone());
        }
        if self.upkeep.disk_silence() > DISK_SILENCE_MAX {
            return Some("the disk does not answer".to_owned());
        }
        let silence = self.view.state.borrow().went_in.elapsed();
        (silence > SILENCE_MAX).then(|| format!("the cluster was not reached for {} seconds", silence.as_secs()))
    }

    pub(super) fn lost(&self, reason: &str) {
        self.view.trouble(Some(&format!("this node is not the owner any more: {reason}")));
        self.view.status(|status| {
            status.role = Role::Fenced;
            status.fences += 1;
        });
        self.view.says(|beat| (beat.epoch, beat.is_candidate) = (0, false));
    }

    /// Ends the broker, which may not have begun to serve, and waits for its end.
    pub(super) async fn end_broker(&mut self, commands: &mut Commands, end: End) -> Option<oneshot::Sender<()>> {
        let fence = |(store, stop): (Arc<Store>, Stop)| {
            stop(end.clone());
            let End::Fenced(reason) = &end else { return };
            store.fence(reason);
        };
        if let Some(broker) = self.broker.take() {
            fence(broker);
        }
        loop {
            match commands.recv().await {
                Some(Command::Serving(broker)) => fence((broker.store, broker.stop)),
                Some(Command::Stopped) => return None,
                Some(Command::Standby(server)) => {
                    self.view.stands_by(server);
                    return None;
                }
                Some(Command::Asked(request)) => {
                    request.refuse(Refusal::NotOwner { role: Role::Fenced, owner: None });
                }
                Some(Command::Leave(answer)) => return Some(answer),
                None => return Some(oneshot::channel().0),
            }
        }
    }
}

/// How long the answer to an operator takes, at most.
const ANSWERED: Duration = Duration::from_millis(200);
/// An owner whose disk does not answer for so long lets another node serve.
const DISK_SILENCE_MAX: Duration = Duration::from_secs(15);
/// What an entry takes in the stream besides its part of a batch, at most: headers of ours and of the engine, and the subject.
const ENTRY_OVERHEAD: usize = 256;
/// How many commits may be under way.
const WINDOW: usize = 8;
/// An owner whose numbers did not go in for so long ends its connections, so that clients go elsewhere: longer than an election of the engine.
const SILENCE_MAX: Duration = Duration::from_secs(15);
