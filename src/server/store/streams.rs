//! The streams: those of the configuration, and those that the store has.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use crate::broker::{
    GroupDispatch, RecordBytes, Recovered, Shared, Stream, StreamBounds, StreamDefinition, StreamKey, StreamNumber,
    StreamTable, TrimmedOffset,
};
use crate::config::{self, UnlistedStreams};
use crate::server::clock::wall_time;
use crate::server::log::log_line;
use crate::server::shard::mailbox::Mailbox;
use crate::server::store::fetch::keys;
use crate::server::store::handle::SEGMENT_MICROSECONDS_MAX;
use crate::server::store::stream_progress::StreamProgress;
use crate::server::stream_error::StreamError;
use crate::server::systemd::notify;
use crate::store::{self, Entry, Key, Level, Retention, Room, Shortage, Store, StreamKept, StreamRecovered, Urgency};
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
        settings: &config::Config,
        (store, progress): (Option<Arc<Store>>, Arc<StreamProgress>),
        recovered: &mut Recovered,
        shards: usize,
    ) -> Result<Self, StreamError> {
        let definitions = mem::take(&mut recovered.streams).into_iter();
        let definitions = definitions.map(|definition| (Arc::clone(&definition.name), definition)).collect();
        // The anchors of the time have the source after those of the shards.
        let table = StreamTable::default();
        let mut streams = Self { store, source: shards + 1, written: 0, definitions, table, progress };
        streams.forget_removed()?;
        streams.apply(&settings.streams)?;
        if settings.server.streams_unlisted == UnlistedStreams::Remove {
            for name in streams.unlisted() {
                match streams.remove(&name) {
                    Ok(_) => log_removed(&name),
                    Err(error) => log_not_removed(&error),
                }
            }
        }
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
        let mut lost = self.without_definition()?;
        let of_directories = lost.iter().map(|(number, _)| *number);
        let numbers = wanted.values().map(|definition| definition.number.0).chain(of_directories);
        let mut next = numbers.max().map_or(1, |last| last + 1);
        for stream in configured {
            // The configuration has been checked.
            let Ok(topic) = TopicFilter::new(stream.topic.as_str().into()) else { continue };
            let name: Arc<str> = stream.name.as_str().into();
            let definition = wanted.entry(Arc::clone(&name)).or_insert_with(|| {
                let found = lost.iter().position(|(_, found)| found.as_deref() == Some(&*name));
                let number = found.map_or(next, |found| lost.swap_remove(found).0);
                if number == next {
                    next += 1;
                } else {
                    let reason = "its definition was lost, and its files are found by their name";
                    log_line!(StoreDamaged { reason = reason }, "stream {name}: {reason}");
                }
                let (number, created) = (StreamNumber(number), wall_time().0);
                let bounds = StreamBounds::default();
                StreamDefinition { number, name, topic: topic.clone(), created, bounds, key: None }
            });
            (definition.topic, definition.bounds, definition.key) = (topic, bounds(stream), key(stream));
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

    /// The streams that are not configured.
    pub(in crate::server) fn unlisted(&self) -> Vec<Arc<str>> {
        self.table.iter().filter(|stream| !stream.is_open).map(|stream| Arc::clone(&stream.name)).collect()
    }

    /// Removes a stream that is not configured, with its messages, for ever. The caller passes the new table to the shards.
    pub(in crate::server) fn remove(&mut self, name: &str) -> Result<StreamNumber, StreamError> {
        let name: Arc<str> = name.into();
        let is_open = self.table.named(&name).is_some_and(|stream| stream.is_open);
        let Some(definition) = self.definitions.get(&name).filter(|_| !is_open).cloned() else {
            return Err(StreamError::InUse { name });
        };
        let number = definition.number;
        let Some(store) = self.store.clone() else { return Err(StreamError::InUse { name }) };
        let failed = |source| StreamError::Files { name: Arc::clone(&name), source };
        store.remove_stream(number.0).map_err(failed)?;
        // It is gone now, even if its definition stays until the next start.
        self.definitions.remove(&name);
        self.table = StreamTable::new(
            self.table.iter().filter(|stream| stream.number != number).map(|stream| (**stream).clone()),
        );
        self.forget(&definition)?;
        Ok(number)
    }

    /// A crash came between the removal of streams and that of their definitions.
    fn forget_removed(&mut self) -> Result<(), StreamError> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        for (name, definition) in self.definitions.clone() {
            let failed = |source| StreamError::Files { name: Arc::clone(&name), source };
            if store.is_stream_removed(definition.number.0).map_err(failed)? {
                self.definitions.remove(&name);
                self.forget(&definition)?;
            }
        }
        Ok(())
    }

    /// Removes the definition of a stream from the store, and what else has its group.
    fn forget(&mut self, definition: &StreamDefinition) -> Result<(), StreamError> {
        let deletes = keys(&definition.to_bytes().puts);
        self.append(&definition.name, (&[], &[], &deletes, Some(definition.number.group())))
    }

    /// The streams that have a directory and no definition, because a part of the log is damaged, with their names. Their numbers are not given to
    /// others.
    fn without_definition(&self) -> Result<Vec<(u32, Option<String>)>, StreamError> {
        let Some(store) = &self.store else { return Ok(Vec::new()) };
        let known = self.definitions.values().map(|definition| definition.number.0).collect();
        store.stream_names(&known).map_err(|source| StreamError::Directory { source })
    }

    fn open(&self, definition: &StreamDefinition) -> Result<(), StreamError> {
        let StreamDefinition { number, name, .. } = definition;
        let Some(store) = &self.store else { return Ok(()) };
        let StreamKept { retention, key } = kept(definition);
        let failed = |source| StreamError::Files { name: Arc::clone(name), source };
        let StreamRecovered { opened, lost, .. } = store.open_stream(number.0, retention).map_err(failed)?;
        store.set_stream_key(number.0, key);
        for damage in opened.damages {
            log_line!(StoreDamaged { reason = %damage }, "stream {name}: a part is damaged: {damage}");
        }
        match store.name_stream(number.0, name) {
            Err(error) if Shortage::of(&error).is_none() => return Err(failed(error)),
            // The next start writes it.
            Ok(()) | Err(_) => {}
        }
        if lost > 0 {
            let reason = format!("{lost} messages are lost");
            log_line!(StoreDamaged { reason = &*reason }, "stream {name}: {reason}");
        }
        Ok(())
    }

    fn define(&mut self, definition: &StreamDefinition) -> Result<(), StreamError> {
        let RecordBytes { body, puts, .. } = definition.to_bytes();
        self.append(&definition.name, (&body, &keys(&puts), &[], None))
    }

    /// Appends an entry about a stream: with this body, puts, deletes, and the group that ends.
    fn append(
        &mut self,
        name: &Arc<str>,
        (body, puts, deletes, ends): (&[u8], &[Key], &[Key], Option<u64>),
    ) -> Result<(), StreamError> {
        let Some(store) = &self.store else { return Ok(()) };
        self.written += 1;
        let (level, room, name) = (Level::PowerLoss, Room::Reserve, Arc::clone(name));
        let entry = Entry { body, puts, parts: &[], deletes, ends, level, room };
        let appended = store.append_unannounced(self.source, self.written, Urgency::Awaited, &entry);
        appended.map_err(|source| StreamError::Refused { name, source })?;
        store.announce(Urgency::Awaited);
        Ok(())
    }
}

/// What is kept of a stream, as the body of its definition says, for a copy of the log. `group`: that of its keys.
pub fn stream_terms(group: u64, body: &[u8]) -> Option<StreamKept> {
    StreamDefinition::read(group, body).as_ref().map(kept)
}

fn kept(StreamDefinition { bounds, key, .. }: &StreamDefinition) -> StreamKept {
    let StreamBounds { max_age, max_bytes, max_messages } = *bounds;
    let of = |key: &StreamKey| -> Arc<store::StreamKey> {
        let key = key.clone();
        Arc::new(move |body| key.of(body))
    };
    StreamKept { retention: Retention { max_age, max_bytes, max_messages }, key: key.as_ref().map(of) }
}

pub(in crate::server) fn log_removed(name: &str) {
    log_line!(StreamRemoved { name = name }, "removed the stream {name} with its messages");
}

/// A stream that is not in the configuration stays.
pub(in crate::server) fn log_not_removed(error: &StreamError) {
    let reason = error.to_string();
    log_line!(ReloadFailed { files = "streams", reason = &*reason }, "kept a stream that is not configured: {reason}");
}

fn key(stream: &config::Stream) -> Option<StreamKey> {
    Some(match stream.key.as_ref()? {
        config::StreamKey::Topic => StreamKey::Topic,
        config::StreamKey::UserProperty(name) => StreamKey::UserProperty(name.as_str().into()),
    })
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
