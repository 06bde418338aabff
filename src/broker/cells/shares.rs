//! Shared Subscriptions with members in several cells: exactly one of them gets a message.
//!
//! The cell of the publisher chooses a cell for each share, by the numbers of members that the cells tell each other, and that cell chooses the member. A copy
//! for another cell is a [`ShareCopy`]: it is for one share alone, as the other copies are for no share. A cell that has no member for it any more passes it
//! on, in one record, to a cell that it was not in; so does a cell in which the Session of a member ends.

use std::hash::BuildHasher as _;
use std::mem;
use std::sync::Arc;

use foldhash::quality::FixedState;

use crate::broker::cells::of_shard::{CellReceivers, ChosenShares, ShareCache};
use crate::broker::cells::state::CellState;
use crate::broker::counters::DropReason;
use crate::broker::operator::drops::Lost;
use crate::broker::publish::blocked::WaitsFor;
use crate::broker::publish::plan::Verdict;
use crate::broker::publish::publisher::Publisher;
use crate::broker::publish::resolved::Resolved;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{Message, ShareCopy};
use crate::routing::{CellId, CellReach, CellShare, QueueBounds, Receiver, Route, SessionKey, Share, ShareViews};
use crate::session::Application;
use crate::topic::{Filter, TopicName};

impl Shard {
    /// Chooses the receivers of a message for the shares that have members in other cells, and adds them to `receivers`. Returns the shares of the route for
    /// which that is done: all of them for a message of another cell, because its cell chooses.
    #[inline]
    pub(in crate::broker) fn choose_for_shares(
        &mut self,
        publisher: &Publisher,
        (route, message): (&Route, &Message),
        receivers: &mut CellReceivers,
    ) -> ChosenShares {
        match self.shared.cell.clone() {
            None => ChosenShares::new(),
            Some(_) if publisher.is_link => (0..route.shares.len()).collect(),
            Some(cell) => self.choose_in_cells(&cell, publisher, (route, message), receivers),
        }
    }

    fn choose_in_cells(
        &mut self,
        cell: &CellState,
        publisher: &Publisher,
        (route, Message { topic, .. }): (&Route, &Message),
        receivers: &mut CellReceivers,
    ) -> ChosenShares {
        let (mut cache, mut chosen) = (mem::take(&mut self.links.shares), ChosenShares::new());
        let generation = cell.generation();
        if cache.generation != generation || cache.topic.as_ref() != Some(topic) {
            cache = ShareCache { topic: Some(topic.detached()), generation, shares: cell.shares(topic) };
        }
        for share in &cache.shares {
            let place = route.shares.iter().position(|own| own.filter() == share.filter());
            let own = place.and_then(|place| route.shares.get(place));
            let copy = ShareCopy::new(share.filter(), hash_of(publisher.key));
            receivers.extend(self.choose_receiver(cell, (share, own), (&copy, publisher.key), topic));
            chosen.extend(place);
        }
        self.links.shares = cache;
        chosen
    }

    /// The member of this cell, or the Session of the link to another one, that gets a message.
    fn choose_receiver(
        &self,
        cell: &CellState,
        (share, own): (&CellShare, Option<&Share>),
        (copy, publisher): (&ShareCopy, Option<SessionKey>),
        topic: &TopicName,
    ) -> Option<Arc<Receiver>> {
        let own_cell = cell.terms.cell;
        let choose = |own: Option<CellReach>| {
            share.choose(self.settings.share_strategy, (copy.publisher, topic), |id| {
                if id == own_cell { own } else { reach(cell, id) }
            })
        };
        let to = choose(own.map(|_| CellReach::Ready))?;
        if to != own_cell {
            return receiver_in(cell, to, copy);
        }
        let member = own.and_then(|own| own.choose(publisher, topic, None));
        // Perhaps the last one has just left.
        member.or_else(|| receiver_in(cell, choose(None)?, copy))
    }

    /// Accepts the copy of a message for a share, of another cell: for a member here, or for the next cell.
    pub(super) fn accept_share_copy(
        &mut self,
        publisher: &Publisher,
        copy: &ShareCopy,
        application: Application,
        turn: &mut Turn<'_>,
    ) -> Verdict {
        let topic = &application.message.topic;
        let published = self.shared.route_generations.published(); // read before the share
        let share = self.shared.directory.share(&copy.filter, topic);
        let key = Some(SessionKey(copy.publisher.into()));
        let mut to = share.as_ref().and_then(|share| share.choose(key, topic, None));
        if to.is_none() {
            if !self.shared.knows_cells() {
                return Verdict::full(application, WaitsFor::Cells);
            }
            to = self.pass_to_cell(copy, topic);
        }
        let lost = to.is_none().then(|| (topic.clone(), application.qos));
        let resolved = Resolved::of_share(share, published, self.settings.durability_of(topic));
        let chosen = (0..resolved.route.shares.len()).collect();
        let (to, views) = (to.into_iter().collect(), &mut ShareViews::default());
        let verdict = self.accept_for((&resolved, None, views), (publisher, to, chosen), application, turn);
        if let (Some((topic, qos)), Verdict::Answer { .. }) = (lost, &verdict) {
            self.counters.dropped(DropReason::SessionEnded, 1);
            let (topic, qos) = (Some(topic.as_str()), Some(qos));
            self.note_lost(Lost { topic, qos, ..Lost::several("", 1, DropReason::SessionEnded) }, turn);
        }
        verdict
    }

    /// How the next cell with members of the share gets a copy for which this cell has none; `None`: there is no other cell, or it was in too many.
    fn pass_to_cell(&self, copy: &ShareCopy, topic: &TopicName) -> Option<Arc<Receiver>> {
        let cell = self.shared.cell.as_ref().filter(|_| copy.been.len() < CELLS_MAX)?;
        let share = cell.share(&copy.filter)?;
        let own = cell.terms.cell;
        let choose = |goes: &dyn Fn(CellId) -> bool| {
            share.choose(self.settings.share_strategy, (copy.publisher, topic), |id| {
                if id != own && goes(id) { reach(cell, id) } else { None }
            })
        };
        // Members may have come to a cell in which it was.
        let last = |cell: CellId| copy.been.iter().rposition(|been| *been == cell.0);
        let longest_ago = || (0..copy.been.len()).find_map(|place| choose(&|id| last(id) == Some(place)));
        let to = choose(&|id| last(id).is_none()).or_else(longest_ago)?;
        let mut next = copy.clone();
        next.been.push(own.0);
        receiver_in(cell, to, &next)
    }

    /// How another cell gets a message for a share, of which this cell has no other member.
    pub(in crate::broker) fn member_elsewhere(&self, filter: &Arc<Filter>, topic: &TopicName) -> Option<Arc<Receiver>> {
        self.pass_to_cell(&ShareCopy::new(filter, 0), topic)
    }
}

/// How another cell gets a message now; `None`: its link was never there.
fn reach(cell: &CellState, id: CellId) -> Option<CellReach> {
    let link = cell.link_to(id)?;
    let is_ready = link.subscriber.is_connected() && link.subscriber.has_room(1, 0, QueueBounds::LINK);
    Some(if is_ready { CellReach::Ready } else { CellReach::Away })
}

fn receiver_in(cell: &CellState, id: CellId, copy: &ShareCopy) -> Option<Arc<Receiver>> {
    let link = cell.link_to(id)?;
    Some(Arc::new(Receiver::of_share_copy(Arc::clone(&link.subscriber), copy)))
}

/// It has no seed, so it stays the same after a restart.
fn hash_of(publisher: Option<SessionKey>) -> u32 {
    let [a, b, c, d, ..] = FixedState::default().hash_one(publisher.map(|key| key.0)).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// In how many cells a message may have been without a member for it.
const CELLS_MAX: usize = 8;
