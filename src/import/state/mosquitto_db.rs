//! Reads mosquitto.db: any bytes are its contents or a [`Fault`].

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use super::chunks::{self, StoredClient, has_structures};
use super::contents::{Contents, MessagePlace};
use super::error::Fault;
use super::fields::Fields;
use super::user_names::UserNames;
use super::{contents::Content, source::Source};

/// A mosquitto.db whose chunks were all read once.
#[derive(Debug)]
pub(super) struct MosquittoDb<S> {
    source: S,
    version: u32,
    buffer: Vec<u8>,
}

/// The header of a chunk.
#[derive(Debug, Clone, Copy)]
struct Header {
    kind: u32,
    /// Where it begins.
    offset: u64,
    /// The bytes behind it.
    length: u64,
}

impl<S: Read + Seek> MosquittoDb<S> {
    /// Reads everything but the contents of messages.
    pub(super) fn open(mut source: S) -> Result<(Self, Contents), Fault> {
        let end = source.seek(SeekFrom::End(0))?;
        source.seek(SeekFrom::Start(0))?;
        let mut scan = Scan::new(BufReader::with_capacity(BUFFER_BYTES, source), end)?;
        let version = scan.version;
        let mut contents = Contents::new(format!("mosquitto.db, version {version}"));
        let mut users = UserNames::default();
        while let Some(header) = scan.header()? {
            scan.chunk(header, &mut contents, &mut users)?;
        }
        contents.fingerprint = scan.fingerprint;
        contents.sort();
        Ok((Self { source: scan.source.into_inner(), version, buffer: Vec::new() }, contents))
    }
}

impl<S: Read + Seek> Source for MosquittoDb<S> {
    fn content(&mut self, place: &MessagePlace) -> Result<Content, Fault> {
        self.source.seek(SeekFrom::Start(place.place))?;
        // Its length was compared with that of the file.
        self.buffer.resize(place.length as usize, 0);
        self.source.read_exact(&mut self.buffer)?;
        let body = self.buffer.get(header_bytes(self.version)..).unwrap_or_default();
        chunks::content(self.version, Fields(body))
            .ok_or(Fault::Damaged { offset: place.place, what: "the message is not as long as its parts" })
    }
}

/// The first reading, from the start to the end.
struct Scan<S> {
    source: BufReader<S>,
    version: u32,
    position: u64,
    end: u64,
    buffer: Vec<u8>,
    fingerprint: u32,
}

impl<S: Read + Seek> Scan<S> {
    fn new(source: BufReader<S>, end: u64) -> Result<Self, Fault> {
        let mut scan = Self { source, version: 0, position: 0, end, buffer: Vec::new(), fingerprint: 0 };
        if end == 0 {
            return Err(Fault::Empty);
        }
        let length = usize::try_from(end).unwrap_or(usize::MAX).min(FILE_HEADER_BYTES);
        scan.read(length)?;
        let Some((magic, rest)) = scan.buffer.split_at_checked(MAGIC.len()).filter(|(magic, _)| *magic == MAGIC) else {
            if scan.buffer.starts_with(SQLITE) {
                return Err(Fault::Sqlite);
            }
            return Err(Fault::Foreign(String::from_utf8_lossy(&scan.buffer).into_owned()));
        };
        let mut fields = Fields(rest);
        fields.u32(); // mosquitto writes 0 for a checksum
        let cut = Fault::Cut { offset: 0, length: FILE_HEADER_BYTES as u64 };
        scan.version = fields.u32().filter(|_| magic.len() + rest.len() == FILE_HEADER_BYTES).ok_or(cut)?;
        if !(2..=6).contains(&scan.version) {
            return Err(Fault::Version(scan.version));
        }
        Ok(scan)
    }

    /// Reads the next bytes into the buffer.
    fn read(&mut self, length: usize) -> io::Result<()> {
        self.buffer.resize(length, 0);
        self.source.read_exact(&mut self.buffer)?;
        self.position += length as u64;
        self.fingerprint = crc32c::crc32c_append(self.fingerprint, &self.buffer);
        Ok(())
    }

    /// The header of the next chunk; `None` at the end of the file.
    fn header(&mut self) -> Result<Option<Header>, Fault> {
        let offset = self.position;
        let length = header_bytes(self.version);
        if offset == self.end {
            return Ok(None);
        }
        if self.end - offset < length as u64 {
            return Err(Fault::Cut { offset, length: length as u64 });
        }
        self.read(length)?;
        let mut fields = Fields(&self.buffer);
        let kind = if has_structures(self.version) { fields.u32() } else { fields.u16().map(u32::from) };
        let (kind, length) = kind.zip(fields.u32()).unwrap_or_default();
        let length = u64::from(length);
        if self.end - self.position < length {
            return Err(Fault::Cut { offset, length });
        }
        Ok(Some(Header { kind, offset, length }))
    }

    fn chunk(&mut self, header: Header, contents: &mut Contents, users: &mut UserNames) -> Result<(), Fault> {
        let Header { kind, offset, length } = header;
        let damaged = |what| Fault::Damaged { offset, what };
        if kind == MESSAGE {
            return self.message(header, contents);
        }
        if !(CONFIGURATION..=CLIENT).contains(&kind) {
            return Err(Fault::UnknownChunk { kind, offset });
        }
        let length = usize::try_from(length).ok().filter(|length| *length <= CHUNK_BYTES_MAX);
        self.read(length.ok_or(damaged("it is longer than its parts can be"))?)?;
        let (version, fields) = (self.version, Fields(&self.buffer));
        let read = match kind {
            CONFIGURATION => match chunks::configuration(version, fields) {
                Some((is_final, 8)) => {
                    contents.is_interim = !is_final;
                    Some(())
                }
                Some(_) => return Err(damaged("the numbers of messages have not 8 bytes")),
                None => None,
            },
            CLIENT => match chunks::client(version, fields) {
                Some(StoredClient { id, user, mut session }) => {
                    (session.user, session.has_foreign_user) = users.of(user);
                    Some(contents.set_session(id, session)?)
                }
                None => None,
            },
            CLIENT_MESSAGE => match chunks::client_message(version, fields) {
                Some(stored) => {
                    let client = contents.client(stored.client_id)?;
                    let subscription_ids = contents.subscription_ids(&stored.subscription_ids)?;
                    let message = super::contents::ClientMessage { client, subscription_ids, ..stored.message };
                    contents.client_messages.push(message);
                    Some(())
                }
                None => None,
            },
            SUBSCRIPTION => match chunks::subscription(version, fields) {
                Some(chunks::StoredSubscription { client_id, filter, options, identifier }) => {
                    let (client, filter) = (contents.client(client_id)?, filter.into());
                    let subscription = super::contents::Subscription { client, filter, options, identifier };
                    contents.subscriptions.push(subscription);
                    Some(())
                }
                None => None,
            },
            _ => chunks::retained(fields).map(|store_id| contents.retained.push(store_id)),
        };
        read.ok_or(damaged("it is not as long as its parts"))
    }

    /// Reads the head of a message and skips the rest.
    fn message(&mut self, header: Header, contents: &mut Contents) -> Result<(), Fault> {
        let Header { offset, length, .. } = header;
        let damaged = |what| Fault::Damaged { offset, what };
        let length = u32::try_from(length).ok().filter(|length| *length <= MESSAGE_BYTES_MAX);
        let length = length.ok_or(damaged("it is longer than a message can be"))?;
        let head = length.min(MESSAGE_HEAD_BYTES);
        self.read(head as usize)?;
        let read = chunks::message_head(self.version, Fields(&self.buffer));
        let (store_id, expiry_time) = read.ok_or(damaged("it is too short for a message"))?;
        let rest = i64::from(length - head);
        self.source.seek_relative(rest)?;
        self.position += u64::from(length - head);
        let header = u32::try_from(header_bytes(self.version)).unwrap_or_default();
        contents.messages.push(MessagePlace { store_id, place: offset, expiry_time, length: header + length });
        Ok(())
    }
}

/// The bytes of the header of a chunk.
const fn header_bytes(version: u32) -> usize {
    if has_structures(version) { 8 } else { 6 }
}

const MAGIC: &[u8] = b"\0\xB5\0mosquitto db";
/// The magic, a checksum and the version.
const FILE_HEADER_BYTES: usize = 15 + 4 + 4;
const SQLITE: &[u8] = b"SQLite format 3\0";

/// The kinds of chunks; 4 is a retained message.
const CONFIGURATION: u32 = 1;
const MESSAGE: u32 = 2;
const CLIENT_MESSAGE: u32 = 3;
const SUBSCRIPTION: u32 = 5;
const CLIENT: u32 = 6;

const BUFFER_BYTES: usize = 256 << 10;
/// The number and the expiry time of a message.
const MESSAGE_HEAD_BYTES: u32 = 16;
/// The largest payload of MQTT and everything beside it.
const MESSAGE_BYTES_MAX: u32 = (256 << 20) + (512 << 10);
/// Two texts, and more Subscription Identifiers than a message has.
const CHUNK_BYTES_MAX: usize = 1 << 20;
