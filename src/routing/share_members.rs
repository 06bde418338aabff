use std::sync::Arc;

use smallvec::SmallVec;

use crate::routing::receiver::{Receiver, Subscribed};
use crate::routing::sorted_list::SortedList;
use crate::routing::subscriber::SessionKey;
use crate::routing::{Access, Coverage, ShareCounts};
use crate::topic::{Filter, TopicName};

/// The members of a share, by what their access rules grant of its Topic Filter, and by whether they are connected.
///
/// So a route tests the access rules of each class once instead of those of each member, and a choice does not walk over members that are away.
/// A member is moved in place when it connects, disconnects, or gets other access rules: see [`refresh`](Self::refresh).
#[derive(Debug, Default)]
pub(super) struct ShareMembers {
    all: SortedList<Member>,
    /// By number, ascending; none is empty.
    classes: Vec<Class>,
    next_class: u64,
}

#[derive(Debug)]
struct Member {
    subscribed: Subscribed,
    receiver: Arc<Receiver>,
    /// `None`: its access rules grant nothing of the Topic Filter.
    class: Option<ClassId>,
    is_connected: bool,
}

/// Members with the same access to the Topic Filter.
#[derive(Debug)]
struct Class {
    id: ClassId,
    scope: Scope,
    members: SortedList<Arc<Receiver>>,
    connected: SortedList<Arc<Receiver>>,
}

/// The number of a class. It is not used again, so that an older route can't confuse two classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClassId(u64);

/// What the access rules of a class grant of the Topic Filter.
#[derive(Debug)]
enum Scope {
    /// Every topic that it matches.
    Whole,
    /// Possibly not all: the rules are tested for each topic.
    Part(Arc<Access>),
}

/// The members of a share that may receive the messages of a topic.
#[derive(Debug, Clone)]
pub(super) enum Entitled {
    /// Those that may receive every topic, and these classes.
    Classes(SmallVec<[ClassId; 2]>),
    /// These: there are many classes. They may have left since.
    Listed(Arc<SortedList<Arc<Receiver>>>),
}

/// Members among which one is chosen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidates<'a> {
    /// All of them.
    pub(super) members: &'a SortedList<Arc<Receiver>>,
    /// Those that are connected, and possibly others.
    pub(super) connected: &'a SortedList<Arc<Receiver>>,
}

impl ShareMembers {
    pub(super) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Adds a member of the share `filter`, or replaces its subscription and returns it.
    pub(super) fn insert(&mut self, subscribed: Subscribed, filter: &Arc<Filter>) -> Option<Subscribed> {
        let replaced = self.remove(subscribed.subscriber.key);
        let receiver = Arc::new(Receiver::of_share(&subscribed, filter));
        self.add(subscribed, receiver, filter);
        replaced
    }

    pub(super) fn remove(&mut self, key: SessionKey) -> Option<Subscribed> {
        self.take(key).map(|member| member.subscribed)
    }

    pub(super) fn get(&self, key: SessionKey) -> Option<&Subscribed> {
        self.all.get(key).map(|member| &member.subscribed)
    }

    /// The members from `start` on, by Session, ascending.
    pub(super) fn iter_from(&self, start: SessionKey) -> impl Iterator<Item = (SessionKey, &Subscribed)> {
        self.all.iter_from(start).map(|(key, member)| (key, &member.subscribed))
    }

    /// Moves a member to where it belongs, after it connected, disconnected or got other access rules. It stays in its class if it can, so that
    /// routes that name the class stay valid.
    pub(super) fn refresh(&mut self, key: SessionKey, filter: &Filter) {
        let Some(member) = self.all.get_mut(key) else { return };
        let subscriber = &member.subscribed.subscriber;
        let (access, is_connected) = (subscriber.access(), subscriber.is_connected());
        let coverage = access.subscribe(filter).ok();
        let place = member.class.and_then(|id| self.classes.binary_search_by_key(&id, |class| class.id).ok());
        let class = place.and_then(|place| self.classes.get_mut(place));
        let stays = match &class {
            Some(class) => coverage.is_some_and(|coverage| class.scope.is_of(coverage, &access)),
            None => coverage.is_none(),
        };
        if !stays {
            if let Some(Member { subscribed, receiver, .. }) = self.take(key) {
                self.add(subscribed, receiver, filter);
            }
            return;
        }
        member.is_connected = is_connected;
        match class {
            Some(class) if is_connected => _ = class.connected.insert(key, Arc::clone(&member.receiver)),
            Some(class) => _ = class.connected.remove(key),
            None => {}
        }
    }

    /// How many there are that may receive messages of the Topic Filter.
    pub(super) fn counts(&self) -> ShareCounts {
        let sum =
            |of: fn(&Class) -> usize| u32::try_from(self.classes.iter().map(of).sum::<usize>()).unwrap_or(u32::MAX);
        ShareCounts { members: sum(|class| class.members.len()), connected: sum(|class| class.connected.len()) }
    }

    /// The members that may receive messages of `topic`; `None` if there are none.
    pub(super) fn entitled(&self, topic: &TopicName) -> Option<Entitled> {
        if self.classes.len() > CLASSES_MAX {
            return self.listed(topic);
        }
        let (mut has_whole, mut parts) = (false, SmallVec::new());
        for class in &self.classes {
            match &class.scope {
                Scope::Whole => has_whole = true,
                Scope::Part(access) if access.receive(topic) => parts.push(class.id),
                Scope::Part(_) => {}
            }
        }
        (has_whole || !parts.is_empty()).then_some(Entitled::Classes(parts))
    }

    /// The lists of the members that `entitled` names; there is at most one member of a Session in them.
    pub(super) fn candidates<'a>(&'a self, entitled: &'a Entitled) -> SmallVec<[Candidates<'a>; 2]> {
        match entitled {
            Entitled::Classes(parts) => {
                let mut candidates = SmallVec::new();
                for class in &self.classes {
                    if matches!(class.scope, Scope::Whole) || parts.contains(&class.id) {
                        candidates.push(class.candidates());
                    }
                }
                candidates
            }
            Entitled::Listed(list) => SmallVec::from_iter([Candidates { members: list, connected: list }]),
        }
    }

    fn listed(&self, topic: &TopicName) -> Option<Entitled> {
        let classes: Vec<ClassId> =
            self.classes.iter().filter(|class| class.receives(topic)).map(|class| class.id).collect();
        let is_entitled = |member: &Member| member.class.is_some_and(|id| classes.binary_search(&id).is_ok());
        let members = self.all.iter().filter(|(_, member)| is_entitled(member));
        let list: SortedList<_> = members.map(|(key, member)| (key, Arc::clone(&member.receiver))).collect();
        (!list.is_empty()).then(|| Entitled::Listed(Arc::new(list)))
    }

    fn add(&mut self, subscribed: Subscribed, receiver: Arc<Receiver>, filter: &Filter) {
        let key = subscribed.subscriber.key;
        let is_connected = subscribed.subscriber.is_connected();
        let class = self.class_for(&subscribed.subscriber.access(), filter).map(|class| {
            class.members.insert(key, Arc::clone(&receiver));
            if is_connected {
                class.connected.insert(key, Arc::clone(&receiver));
            }
            class.id
        });
        self.all.insert(key, Member { subscribed, receiver, class, is_connected });
    }

    fn take(&mut self, key: SessionKey) -> Option<Member> {
        let member = self.all.remove(key)?;
        let place = member.class.and_then(|id| self.classes.binary_search_by_key(&id, |class| class.id).ok());
        if let Some(place) = place
            && let Some(class) = self.classes.get_mut(place)
        {
            class.members.remove(key);
            if member.is_connected {
                class.connected.remove(key);
            }
            if class.members.is_empty() {
                self.classes.remove(place);
            }
        }
        Some(member)
    }

    /// The class of members with `access`, added if there is none; `None` if it grants nothing of `filter`.
    fn class_for(&mut self, access: &Arc<Access>, filter: &Filter) -> Option<&mut Class> {
        let coverage = access.subscribe(filter).ok()?;
        let place = self.classes.iter().position(|class| class.scope.is_of(coverage, access)).unwrap_or_else(|| {
            let scope = if coverage == Coverage::Whole { Scope::Whole } else { Scope::Part(Arc::clone(access)) };
            let id = ClassId(self.next_class);
            self.next_class += 1;
            self.classes.push(Class { id, scope, members: SortedList::default(), connected: SortedList::default() });
            self.classes.len() - 1
        });
        self.classes.get_mut(place)
    }
}

impl Scope {
    /// Whether it is that of members with `access`, which grants `coverage`.
    fn is_of(&self, coverage: Coverage, access: &Arc<Access>) -> bool {
        match self {
            Self::Whole => coverage == Coverage::Whole,
            Self::Part(of_class) => coverage == Coverage::Part && *of_class == *access,
        }
    }
}

impl Class {
    fn receives(&self, topic: &TopicName) -> bool {
        match &self.scope {
            Scope::Whole => true,
            Scope::Part(access) => access.receive(topic),
        }
    }

    const fn candidates(&self) -> Candidates<'_> {
        Candidates { members: &self.members, connected: &self.connected }
    }
}

/// With more classes, a route lists the members, because a choice looks into every class.
const CLASSES_MAX: usize = 16;
