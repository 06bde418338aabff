use crate::broker::cells::of_shard::CellReceivers;
use crate::broker::publish::publisher::Publisher;
use crate::broker::shard::Shard;
use crate::topic::TopicName;

impl Shard {
    /// The other cells that get a message to `topic`. One from another cell goes to no third one, because that has got it from there.
    #[inline]
    pub(in crate::broker) fn other_cells(&mut self, publisher: &Publisher, topic: &TopicName) -> CellReceivers {
        if self.shared.cell.is_none() || publisher.is_link { CellReceivers::new() } else { self.find_cells(topic) }
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
