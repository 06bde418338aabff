//! The streams: those of the configuration, and those that the store has.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use crate::broker::{
    GroupDispatch, RecordBytes, Recovered, Shared, Stream, StreamBounds, StreamDefinition, StreamNumber, StreamTable,
    TrimmedOffset,
};
use crate::config;
use crate::server::clock::wall_time;
use crate::server::log::log_line;
use crate::server::shard::mailbox::Mailbox;
use crate::server::store::handle::{SEGMENT_MICROSECONDS_MAX, keys};
use crate::server::store::stream_progress::StreamProgress;
use crate::server::stream_error::StreamError;
use crate::server::systemd::notify;
use crate::store::{Entry, Level, Retention, Room, Store, StreamRecovered, Urgency};
use crate::topic::TopicFilter;

/// Opens the streams, and stores their definitions.
#[derive(Debug)]
pub(in crate::server) struct Streams {
    store: Option<Arc<Store>>,
    /// The source of its entries in the store.
    source: usize,
    written: u64,
    /// All streams that there are, by name.
    definitions: BTreeMap<Arc<str>, StreamDefinition>,
    table: StreamTable,
    progress: Arc<StreamProgress>,
}

impl Streams {
    /// Opens the streams of the configuration and of the store. `shards`: these are sources of entries, too.
    pub(in crate::server) fn start(
        configured: &[config::Stream],
        (store, progress): (Option<Arc<Store>>, Arc<StreamProgress>),
        recovered: &mut Recovered,
        shards: usize,
    ) -> Result<Self, StreamError> {
        let definitions = mem::take(&mut recovered.streams).into_iter();
        let definitions = definitions.map(|definition| (Arc::clone(&definition.name), definition)).collect();
        // The anchors of the time have the source after those of the shards.
        let table = StreamTable::default();
        let mut streams = Self { store, source: shards + 1, written: 0, definitions, table, progress };
        streams.apply(configured)?;
        Ok(streams)
    }

    /// The table for the shards.
    pub(in crate::server) fn table(&self) -> StreamTable {
        self.table.clone()
    }

    /// Tells these shards, which have the table, what can be read, now and whenever that changes.
    pub(in crate::server) fn begin(&self, shared: &Arc<Shared>, mailboxes: &[Mailbox]) {
        self.progress.begin(shared, self.store.as_deref(), mailboxes);
    }

    /// Opens the streams, those that are not configured any more too, which take no new messages.
    pub(in crate::server) fn apply(&mut self, configured: &[config::Stream]) -> Result<(), StreamError> {
        let mut wanted = self.definitions.clone();
        let mut next = wanted.values().map(|definition| definition.number.0 + 1).max().unwrap_or(1);
        for stream in configured {
            // The configuration has been checked.
            let Ok(topic) = TopicFilter::new(stream.topic.as_str().into()) else { continue };
            let name: Arc<str> = stream.name.as_str().into();
            let definition = wanted.entry(Arc::clone(&name)).or_insert_with(|| {
                let (number, created) = (StreamNumber(next), wall_time().0);
                next += 1;
                StreamDefinition { number, name, topic: topic.clone(), created, bounds: StreamBounds::default() }
            });
            (definition.topic, definition.bounds) = (topic, bounds(stream));
        }
        for definition in wanted.values() {
            // It reads the last segment, and each one without an index.
            notify(&[sd_notify::NotifyState::ExtendTimeoutUsec(SEGMENT_MICROSECONDS_MAX)]);
            self.open(definition)?;
        }
        // A definition is in the log before the first message of its stream, because the table is not in force yet.
        for (name, definition) in &wanted {
            if self.definitions.get(name) != Some(definition) {
                self.define(definition)?;
            }
        }
        self.definitions = wanted;
        self.table = StreamTable::new(self.definitions.values().map(|definition| {
            let settings = configured.iter().find(|stream| *stream.name == *definition.name);
            Stream {
                number: definition.number,
                name: Arc::clone(&definition.name),
                topic: definition.topic.clone(),
                is_open: settings.is_some(),
                trimmed_offset: match settings.map(|stream| stream.trimmed_offset).unwrap_or_default() {
                    config::TrimmedOffset::Refuse => TrimmedOffset::Refuse,
                    config::TrimmedOffset::Oldest => TrimmedOffset::Oldest,
                },
                group_dispatch: settings.map(dispatch).unwrap_or_default(),
            }
        }));
        Ok(())
    }

    fn open(&self, definition: &StreamDefinition) -> Result<(), StreamError> {
        let StreamDefinition { number, name, bounds, .. } = definition;
        let Some(store) = &self.store else { return Ok(()) };
        let StreamBounds { max_age, max_bytes, max_messages } = *bounds;
        let retention = Retention { max_age, max_bytes, max_messages };
        let failed = |source| StreamError::Files { name: Arc::clone(name), source };
        let StreamRecovered { opened, lost, .. } = store.open_stream(number.0, retention).map_err(failed)?;
        for damage in opened.damages {
            log_line!(StoreDamaged { reason = %damage }, "stream {name}: a part is damaged: {damage}");
        }
        if lost > 0 {
            let reason = format!("{lost} messages are lost");
            log_line!(StoreDamaged { reason = &*reason }, "stream {name}: {reason}");
        }
        Ok(())
    }

    fn define(&mut self, definition: &StreamDefinition) -> Result<(), StreamError> {
        let Some(store) = &self.store else { return Ok(()) };
        let RecordBytes { body, puts, .. } = definition.to_bytes();
        self.written += 1;
        let (puts, level, room) = (keys(&puts), Level::PowerLoss, Room::Reserve);
        let entry = Entry { body: &body, puts: &puts, parts: &[], deletes: &[], ends: None, level, room };
        let name = Arc::clone(&definition.name);
        let appended = store.append_unannounced(self.source, self.written, Urgency::Awaited, &entry);
        appended.map_err(|source| StreamError::Refused { name, source })?;
        store.announce(Urgency::Awaited);
        Ok(())
    }
}

fn dispatch(stream: &config::Stream) -> GroupDispatch {
    match (stream.group_dispatch, &stream.group_key) {
        (config::GroupDispatch::RoundRobin, _) => GroupDispatch::RoundRobin,
        (config::GroupDispatch::HashTopic, _) | (config::GroupDispatch::HashKey, None) => GroupDispatch::HashTopic,
        (config::GroupDispatch::HashKey, Some(name)) => GroupDispatch::HashKey(name.as_str().into()),
    }
}

fn bounds(stream: &config::Stream) -> StreamBounds {
    let max_age = stream.max_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    StreamBounds { max_age, max_bytes: stream.max_bytes, max_messages: stream.max_messages }
}
