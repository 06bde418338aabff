use crate::broker::cells::of_shard::CellReceivers;
use crate::broker::publish::publisher::Publisher;
use crate::broker::shard::Shard;
use crate::codec::MessageId;
use crate::session::Application;
use crate::topic::TopicName;

impl Shard {
    /// The other cells that get a message to `topic`: all, if it is retained. One from another cell goes to no third one, because that has got it from there.
    #[inline]
    pub(in crate::broker) fn other_cells(
        &mut self,
        publisher: &Publisher,
        (topic, retain): (&TopicName, bool),
    ) -> CellReceivers {
        match &self.shared.cell {
            None => CellReceivers::new(),
            Some(_) if publisher.is_link => CellReceivers::new(),
            Some(cell) if retain && publisher.key.is_some() => {
                cell.others().filter_map(|other| cell.link_to(other)).collect()
            }
            Some(_) => self.find_cells(topic),
        }
    }

    /// The identity of a message that is retained in all cells: its place in the order of the changes of retained messages. The caller must hold their write
    /// lock. `None`: it is not retained, or there are no other cells.
    #[inline]
    pub(in crate::broker) fn stamp(&self, publisher: &Publisher, application: &Application) -> Option<MessageId> {
        let cell = self.shared.cell.as_ref().filter(|_| application.retain && publisher.key.is_some())?;
        if !publisher.is_link {
            return Some(cell.stamp());
        }
        let id = application.message.id?;
        cell.observe(id.run);
        Some(id)
    }

    fn find_cells(&mut self, topic: &TopicName) -> CellReceivers {
        let Some(cell) = &self.shared.cell else { return CellReceivers::new() };
        let (cache, generation) = (&mut self.links.cache, cell.generation());
        if cache.generation != generation || cache.topic.as_ref() != Some(topic) {
            let is_own = topic.as_str().starts_with("$SYS/");
            let cells = if is_own { Default::default() } else { cell.matching(topic) };
            cache.receivers = cells.iter().filter_map(|cell_id| cell.link_to(cell_id)).collect();
            (cache.topic, cache.generation) = (Some(topic.detached()), generation);
        }
        cache.receivers.clone()
    }
}
