use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::clock::now;
use super::interface::{Identity, Log, Note, StandbyServer};
use crate::cluster::beat::Beat;
use crate::cluster::members::Members;
use crate::cluster::{ClusterControl, Member, Owner, Status};
use crate::store::{Snapshot, Store};

/// What the tasks of a node share. All run in one thread.
pub(super) struct View {
    pub(super) identity: Identity,
    pub(super) control: RefCell<ClusterControl>,
    pub(super) members: RefCell<Members>,
    pub(super) state: RefCell<State>,
    log: Log,
}

pub(super) struct State {
    /// The next beat, but for its number.
    pub(super) beat: Beat,
    /// When the last one went in.
    pub(super) went_in: Instant,
    pub(super) standby: Option<StandbyServer>,
    /// The store of the broker, for copies.
    pub(super) store: Option<Arc<Store>>,
    /// Another node wants to copy the copy that this one has open.
    pub(super) wanted: Option<oneshot::Sender<io::Result<Snapshot>>>,
    /// Segments of the log of this node that are damaged, as was noticed while another one copied them.
    pub(super) damaged: BTreeSet<u32>,
    /// An operator has drained this node: it does not become the owner.
    pub(super) is_drained: bool,
    /// When this node has handed over: for a while, it leaves it to the others to become the owner.
    pub(super) handed_over: Option<Instant>,
    /// What prevents the node from doing its work.
    trouble: Option<String>,
    logged: Logged,
}

/// Troubles that were logged lately, the latest last.
#[derive(Default)]
struct Logged(VecDeque<(Instant, String)>);

impl Logged {
    /// Whether this trouble is to be logged: one that comes and goes is logged once a minute.
    fn is_news(&mut self, trouble: &str, now: Instant) -> bool {
        self.0.retain(|(at, _)| now.duration_since(*at) < LOGGED_PERIOD);
        if self.0.iter().any(|(_, logged)| logged == trouble) {
            return false;
        }
        if self.0.len() == LOGGED_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, trouble.to_owned()));
        true
    }
}

impl View {
    pub(super) fn new((identity, cluster): (Identity, u128), control: ClusterControl, log: Log) -> Self {
        let beat = Beat {
            cluster: format!("{cluster:x}"),
            process: getrandom::u64().unwrap_or_default(),
            number: 0,
            epoch: 0,
            advertise: identity.advertise.clone(),
            position: 0,
            sequence: 0,
            is_candidate: false,
            hands_over_to: None,
            trimmed: 0,
            has_other_log: false,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let state = State {
            beat,
            went_in: now(),
            standby: None,
            store: None,
            wanted: None,
            damaged: BTreeSet::new(),
            is_drained: false,
            handed_over: None,
            trouble: None,
            logged: Logged::default(),
        };
        let members = RefCell::new(Members::new(identity.node.clone()));
        let (control, state) = (RefCell::new(control), RefCell::new(state));
        Self { identity, control, members, state, log }
    }

    pub(super) fn log(&self, text: &str) {
        (self.log)(Note::News, text);
    }

    /// Says that something is wrong.
    pub(super) fn warn(&self, text: &str) {
        (self.log)(Note::Trouble, text);
    }

    /// Changes the state that operators see.
    pub(super) fn status(&self, change: impl FnOnce(&mut Status)) {
        self.control.borrow().update(change);
    }

    /// Says what prevents the node from doing its work, or that nothing does. Logs each once, and again after [`LOGGED_PERIOD`].
    pub(super) fn trouble(&self, trouble: Option<&str>) {
        let known = std::mem::replace(&mut self.state.borrow_mut().trouble, trouble.map(str::to_owned));
        if known.as_deref() == trouble {
            return;
        }
        self.status(|status| {
            if let Some(known) = &known {
                status.end_trouble(known);
            }
            if let Some(trouble) = trouble {
                status.add_trouble(trouble);
            }
        });
        if let Some(trouble) = trouble
            && self.state.borrow_mut().logged.is_news(trouble, now())
        {
            self.warn(trouble);
        }
    }

    /// A segment of the log of this node is damaged. Says so once.
    pub(super) fn damaged(&self, segment: u32, error: &io::Error) {
        if !self.state.borrow_mut().damaged.insert(segment) {
            return;
        }
        let text = format!(
            "{DAMAGED}: segment {segment} cannot be read ({error}), and other nodes cannot copy it. Give the clients to another node (oncemq cluster move): this one fetches a copy from there then"
        );
        self.status(|status| status.add_trouble(&text));
        self.warn(&text);
    }

    /// A copy without damage is open.
    pub(super) fn not_damaged(&self) {
        self.state.borrow_mut().damaged.clear();
        self.status(|status| status.end_trouble(DAMAGED));
    }

    /// Shows operators what the nodes say.
    pub(super) fn show_members(&self) {
        let members = self.members.borrow();
        let others = members.nodes().filter(|(name, _, _)| *name != self.identity.node);
        let others: Vec<Member> =
            others.map(|(name, beat, missed)| Member::heard_of(name, beat, (missed, members.is_dead(name)))).collect();
        let owner = self.owner();
        self.status(|status| (status.members, status.owner) = (others, owner));
    }

    pub(super) fn stands_by(&self, server: StandbyServer) {
        (server.announce)(self.other_owner());
        self.state.borrow_mut().standby = Some(server);
    }

    /// An operator drains this node, or ends that.
    pub(super) fn drain(&self, is_drained: bool) {
        self.state.borrow_mut().is_drained = is_drained;
        self.status(|status| status.is_drained = is_drained);
        if is_drained {
            self.says(|beat| beat.is_candidate = false);
        }
    }

    /// The node that serves, as far as this one knows.
    pub(super) fn owner(&self) -> Option<Owner> {
        let members = self.members.borrow();
        let (name, beat) = members.owner()?;
        Some(Owner { node: name.to_owned(), advertise: beat.map(|beat| beat.advertise.clone()) })
    }

    /// The owner, if it is another node.
    pub(super) fn other_owner(&self) -> Option<Owner> {
        self.owner().filter(|owner| owner.node != self.identity.node)
    }

    /// The address of a node.
    pub(super) fn address_of(&self, node: &str) -> Option<String> {
        let members = self.members.borrow();
        members.nodes().find(|(name, _, _)| *name == node).map(|(_, beat, _)| beat.advertise.clone())
    }

    /// Whether this other node, or any, is alive with a usable copy.
    pub(super) fn has_successor(&self, node: Option<&str>) -> bool {
        let members = self.members.borrow();
        members.nodes().any(|(name, beat, _)| {
            name != self.identity.node
                && node.is_none_or(|node| node == name)
                && beat.is_candidate
                && !members.is_dead(name)
        })
    }

    /// Whether the node, whose copy is usable, can become the owner.
    pub(super) fn is_candidate(&self) -> bool {
        let state = self.state.borrow();
        !state.is_drained && state.handed_over.is_none_or(|since| since.elapsed() > RETURN)
    }

    /// The log has an epoch entry of this node.
    pub(super) fn named(&self, epoch: u64, node: &str) {
        self.members.borrow_mut().named(epoch, node);
        if node != self.identity.node {
            let state = &mut *self.state.borrow_mut();
            (state.beat.epoch, state.beat.hands_over_to, state.handed_over) = (0, None, None);
        }
    }

    /// Changes what the next beat says.
    pub(super) fn says(&self, change: impl FnOnce(&mut Beat)) {
        change(&mut self.state.borrow_mut().beat);
    }
}

const DAMAGED: &str = "the log of this node is damaged";
/// How long a node that has handed over leaves it to the others to become the owner.
const RETURN: std::time::Duration = std::time::Duration::from_secs(10);
/// A trouble that comes and goes is logged once in this time.
const LOGGED_PERIOD: Duration = Duration::from_secs(60);
/// The most different troubles that are remembered for that.
const LOGGED_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_that_alternate_are_logged_once_a_minute() {
        let (mut logged, begin) = (Logged::default(), now());
        let mut news = Vec::new();
        for second in 0..150 {
            for trouble in ["the stream is gone", "the stream cannot be read"] {
                if logged.is_news(trouble, begin + Duration::from_secs(second)) {
                    news.push((second, trouble));
                }
            }
        }
        let expected =
            [0, 60, 120].map(|second| [(second, "the stream is gone"), (second, "the stream cannot be read")]);
        assert_eq!(news, expected.concat());
    }

    #[test]
    fn few_troubles_are_remembered() {
        let (mut logged, now) = (Logged::default(), now());
        for trouble in 0..100 {
            assert!(logged.is_news(&trouble.to_string(), now));
        }
        assert_eq!(logged.0.len(), LOGGED_MAX);
    }
}
