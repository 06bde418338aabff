//! What a node of a cluster knows about itself and the others: plain data for operators.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::beat::Beat;
use crate::histogram::LatencyHistogram;

/// The state of a cluster as one node sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// The name of the cluster.
    pub cluster: String,
    /// The name of this node.
    pub node: String,
    /// The address of this node that clients are referred to: `host:port`.
    pub advertise: String,
    /// What this node does.
    pub role: Role,
    /// Whether it does not take over by itself, because a person said so.
    pub is_drained: bool,
    /// The number of the present owner's term; 0: there has been none.
    pub epoch: u64,
    /// The node that serves the clients, as far as this one knows.
    pub owner: Option<Owner>,
    /// The position of the last entry of the stream that this node has.
    pub position: u64,
    /// The sequence behind the last entry of this node's log.
    pub sequence: u64,
    /// All entries of the log below this sequence are on the disks of a majority.
    pub replicated: u64,
    /// The bytes that the stream holds; `None`: not known.
    pub tail_bytes: Option<u64>,
    /// The other nodes, in the order of their names.
    pub members: Vec<Member>,
    /// How long the engine took to acknowledge commits.
    pub engine_latency: LatencyHistogram,
    /// How often this node has taken over since its start.
    pub takeovers: u64,
    /// How often this node was fenced since its start.
    pub fences: u64,
    /// The last fail-over or move that this node has seen.
    pub last_failover: Option<Failover>,
    /// What is wrong, for people; at most [`TROUBLES_MAX`].
    troubles: VecDeque<String>,
}

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// It opens its copy of the log, or copies it from another node.
    #[default]
    Starting,
    /// It follows the log.
    Standby,
    /// It becomes the owner.
    TakingOver,
    /// It serves the clients.
    Owner,
    /// It was the owner, and another node has taken over.
    Fenced,
    /// It has stopped.
    Stopped,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Starting, Self::Standby, Self::TakingOver, Self::Owner, Self::Fenced, Self::Stopped];

    /// Its name for operators and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Standby => "standby",
            Self::TakingOver => "taking-over",
            Self::Owner => "owner",
            Self::Fenced => "fenced",
            Self::Stopped => "stopped",
        }
    }
}

/// The node that serves the clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub node: String,
    /// The address that clients are referred to, if it is known.
    pub advertise: Option<String>,
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Member {
    /// Its name.
    pub node: String,
    /// The address that clients are referred to.
    pub advertise: String,
    /// What it does, as it said last; `None`: it has said nothing yet.
    pub role: Option<Role>,
    /// Whether it can take over: it has a copy of the log that can be continued, and is not drained.
    pub is_able: bool,
    /// Whether it counts as alive.
    pub is_alive: bool,
    /// The position of the last entry of the stream that it has.
    pub position: u64,
    /// The entries below this sequence are synced to its disk.
    pub sequence: u64,
    /// The time since its last beat.
    pub silence: Duration,
}

impl Member {
    /// The member `name` by its last beat. `missed`: how many beats this node has written since then. `is_dead`: whether the member counts as dead.
    pub(super) fn heard_of(name: &str, beat: &Beat, (missed, is_dead): (u32, bool)) -> Self {
        Self {
            node: name.to_owned(),
            advertise: beat.advertise.clone(),
            role: Some(match (beat.epoch, &beat.hands_over_to, beat.position) {
                (1.., None, _) => Role::Owner,
                (0, _, 0) if !beat.is_candidate => Role::Starting,
                _ => Role::Standby,
            }),
            is_able: beat.is_candidate,
            is_alive: !is_dead,
            position: beat.position,
            sequence: beat.sequence,
            silence: Duration::from_secs(missed.into()),
        }
    }
}

/// A change of the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failover {
    /// When it ended, in milliseconds since 1970.
    pub at: u64,
    /// The epoch that it began.
    pub epoch: u64,
    /// The new owner.
    pub node: String,
    /// Why, for people.
    pub cause: String,
    /// From the decision until clients could connect.
    pub duration: Duration,
}

impl Status {
    /// A node that starts.
    pub fn new(cluster: String, node: String, advertise: String) -> Self {
        Self {
            cluster,
            node,
            advertise,
            role: Role::Starting,
            is_drained: false,
            epoch: 0,
            owner: None,
            position: 0,
            sequence: 0,
            replicated: 0,
            tail_bytes: None,
            members: Vec::new(),
            engine_latency: LatencyHistogram::default(),
            takeovers: 0,
            fences: 0,
            last_failover: None,
            troubles: VecDeque::new(),
        }
    }

    /// The entries of this node's log that `member` does not have on its disk yet.
    pub const fn lag(&self, member: &Member) -> u64 {
        self.sequence.saturating_sub(member.sequence)
    }

    /// What is wrong, the newest last.
    pub fn troubles(&self) -> impl ExactSizeIterator<Item = &str> {
        self.troubles.iter().map(String::as_str)
    }

    /// Adds a sentence about what is wrong. One that is there already moves to the end, and the oldest is forgotten if there are too many.
    pub fn add_trouble(&mut self, sentence: impl Into<String>) {
        let sentence = sentence.into();
        self.troubles.retain(|known| *known != sentence);
        if self.troubles.len() == TROUBLES_MAX {
            self.troubles.pop_front();
        }
        self.troubles.push_back(sentence);
    }

    /// Forgets sentences that begin with this text: what they say is over.
    pub fn end_trouble(&mut self, beginning: &str) {
        self.troubles.retain(|known| !known.starts_with(beginning));
    }

    /// Whether this other node is gone, as far as this one knows.
    ///
    /// # Errors
    /// It is alive, or there is none with this name.
    pub fn gone(&self, node: &str) -> Result<(), Refusal> {
        let member = self.members.iter().find(|member| member.node == node);
        match member {
            None if node == self.node => Err(Refusal::Alive(node.to_owned())),
            None => Err(Refusal::Unknown(node.to_owned())),
            Some(member) if member.is_alive => Err(Refusal::Alive(node.to_owned())),
            Some(_) => Ok(()),
        }
    }

    /// Which node would take over if this one gave up the clients: `to`, or the one that has most of the log.
    ///
    /// # Errors
    /// This node is not the owner, or the other can't take over.
    pub fn successor(&self, to: Option<&str>) -> Result<&Member, Refusal> {
        if self.role != Role::Owner {
            return Err(Refusal::NotOwner { role: self.role, owner: self.owner.clone() });
        }
        let Some(to) = to else {
            let able = self.members.iter().filter(|member| member.is_able && member.is_alive);
            // Of equals the first by name, on every node.
            return able.rev().max_by_key(|member| (member.sequence, member.position)).ok_or(Refusal::NobodyAble);
        };
        if to == self.node {
            return Err(Refusal::Itself);
        }
        let member = self.members.iter().find(|member| member.node == to);
        let member = member.ok_or_else(|| Refusal::Unknown(to.to_owned()))?;
        if !member.is_alive {
            return Err(Refusal::Silent(to.to_owned(), member.silence));
        }
        if member.is_able { Ok(member) } else { Err(Refusal::Unable(to.to_owned(), member.role)) }
    }
}

/// Why the clients are not given to another node, or one is not forgotten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another node has them.
    #[error("this node is {}, not the owner{}", .role.name(), Elsewhere(.owner.as_ref()))]
    NotOwner {
        /// What this node is.
        role: Role,
        /// Who is the owner, if that is known.
        owner: Option<Owner>,
    },
    /// No other node can take over now.
    #[error("no other node can take over now")]
    NobodyAble,
    /// It has them already.
    #[error("this node is the owner already")]
    Itself,
    /// There is no such node.
    #[error("there is no node {0}")]
    Unknown(String),
    /// It is not gone.
    #[error("node {0} is alive: stop it first")]
    Alive(String),
    /// It has not been heard of for this time.
    #[error("node {0} has not been heard of for {1:?}")]
    Silent(String, Duration),
    /// It does not follow the log, or is drained.
    #[error("node {0} can't take over now: it {why}", why = unable(*.1))]
    Unable(String, Option<Role>),
    /// What carries it out says why not.
    #[error("{0}")]
    Other(String),
}

/// Where the owner is, as the end of a sentence.
struct Elsewhere<'a>(Option<&'a Owner>);

impl fmt::Display for Elsewhere<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(Owner { node, advertise: None }) => write!(formatter, ": that is {node}"),
            Some(Owner { node, advertise: Some(advertise) }) => write!(formatter, ": that is {node} ({advertise})"),
        }
    }
}

const fn unable(role: Option<Role>) -> &'static str {
    match role {
        Some(Role::Standby) => "is drained, or its copy of the log can't be continued",
        Some(Role::Starting) | None => "has no whole copy of the log yet",
        Some(Role::TakingOver | Role::Owner) => "says that it is the owner",
        Some(Role::Fenced) => "was fenced a moment ago",
        Some(Role::Stopped) => "has stopped",
    }
}

/// The sentences about what is wrong that a node keeps.
pub const TROUBLES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: &str, sequence: u64) -> Member {
        let role = Some(Role::Standby);
        Member { node: node.to_owned(), role, is_able: true, is_alive: true, sequence, ..Member::default() }
    }

    fn owner(members: Vec<Member>) -> Status {
        let new = Status::new("c".to_owned(), "a".to_owned(), "a:1883".to_owned());
        Status { role: Role::Owner, members, sequence: 100, ..new }
    }

    #[test]
    fn the_successor_has_most_of_the_log_and_of_equals_it_is_the_first_by_name() {
        let status = owner(vec![member("b", 70), member("c", 90), member("d", 90)]);
        assert_eq!(status.successor(None).unwrap().node, "c");
        assert_eq!(status.successor(Some("b")).unwrap().node, "b");
        assert_eq!(status.lag(&status.members[0]), 30);
        let mut status = status;
        (status.members[1].is_alive, status.members[2].is_able) = (false, false);
        assert_eq!(status.successor(None).unwrap().node, "b");
        status.members[0].is_able = false;
        assert_eq!(status.successor(None), Err(Refusal::NobodyAble));
    }

    #[test]
    fn what_is_not_possible_is_said_in_words() {
        let mut status = owner(vec![member("b", 70), member("c", 90), member("d", 90)]);
        (status.members[0].is_alive, status.members[0].silence) = (false, Duration::from_secs(7));
        (status.members[1].is_able, status.members[1].role) = (false, Some(Role::Starting));
        let words = |to: Option<&str>, status: &Status| status.successor(to).unwrap_err().to_string();
        assert_eq!(words(Some("a"), &status), "this node is the owner already");
        assert_eq!(words(Some("x"), &status), "there is no node x");
        assert_eq!(words(Some("b"), &status), "node b has not been heard of for 7s");
        assert_eq!(words(Some("c"), &status), "node c can't take over now: it has no whole copy of the log yet");
        let refused = |node: &str| status.gone(node).unwrap_err().to_string();
        assert_eq!(status.gone("b"), Ok(()));
        assert_eq!(
            (refused("a"), refused("c")),
            ("node a is alive: stop it first".to_owned(), "node c is alive: stop it first".to_owned())
        );
        assert_eq!(refused("x"), "there is no node x");
        status.role = Role::Standby;
        assert_eq!(words(None, &status), "this node is standby, not the owner");
        status.owner = Some(Owner { node: "b".to_owned(), advertise: None });
        assert_eq!(words(None, &status), "this node is standby, not the owner: that is b");
        status.owner = Some(Owner { node: "b".to_owned(), advertise: Some("b.example:1883".to_owned()) });
        assert_eq!(words(None, &status), "this node is standby, not the owner: that is b (b.example:1883)");
    }

    #[test]
    fn troubles_are_bounded_and_none_is_there_twice() {
        let mut status = owner(Vec::new());
        for number in 0..TROUBLES_MAX + 3 {
            status.add_trouble(format!("trouble {number}"));
        }
        status.add_trouble("trouble 5");
        let troubles: Vec<&str> = status.troubles().collect();
        assert_eq!((troubles.len(), troubles[0], troubles[TROUBLES_MAX - 1]), (TROUBLES_MAX, "trouble 3", "trouble 5"));
        status.end_trouble("trouble 1");
        assert!(status.troubles().all(|trouble| !trouble.starts_with("trouble 1")));
    }
}
