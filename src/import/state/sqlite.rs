//! Reads the database of the plugin persist-sqlite of mosquitto 2.1.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use bytestring::ByteString;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, Row};
use serde::Deserialize;

use super::contents::{ClientMessage, Content, Contents, MessagePlace, Session, State, Subscription};
use super::error::Fault;
use super::source::Source;
use crate::codec::{MessageProperties, MessageProperty};

/// A database that was read but for the contents of messages.
#[derive(Debug)]
pub(super) struct SqliteStore {
    connection: Connection,
}

impl SqliteStore {
    pub(super) fn open(file: &Path) -> Result<(Self, Contents), Fault> {
        require_closed(file)?;
        let connection = connect(file)?;
        let version = connection
            .query_row(VERSION, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
            .map_err(|error| Fault::Database(format!("it has no version of mosquitto's schema: {error}")))?;
        let (1, minor) = version else {
            return Err(Fault::Database(format!(
                "version {}.{} of its schema is not known; 1 is",
                version.0, version.1
            )));
        };
        let mut contents = Contents::new(format!("SQLite database of mosquitto, version 1.{minor}"));
        let store = Self { connection };
        store.messages(&mut contents)?;
        store.clients(&mut contents)?;
        store.client_messages(&mut contents)?;
        store.subscriptions(&mut contents)?;
        store.each("SELECT store_id FROM retains", |row| {
            contents.retained.push(row.get::<_, i64>(0)?.cast_unsigned());
            Ok(())
        })?;
        if minor > 0 {
            contents.wills = store.connection.query_row("SELECT count(*) FROM wills", [], |row| number(row, 0))?;
        }
        contents.sort();
        Ok((store, contents))
    }

    /// Calls this for each row of a query.
    fn each(&self, query: &str, mut read: impl FnMut(&Row<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut statement = self.connection.prepare(query)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            read(row)?;
        }
        Ok(())
    }

    fn messages(&self, contents: &mut Contents) -> Result<(), Fault> {
        self.each("SELECT store_id, expiry_time FROM base_msgs ORDER BY store_id", |row| {
            let place = row.get::<_, i64>(0)?;
            let store_id = place.cast_unsigned();
            let expiry_time = row.get::<_, Option<i64>>(1)?.unwrap_or_default();
            contents.fingerprint = crc32c::crc32c_append(contents.fingerprint, &store_id.to_le_bytes());
            contents.messages.push(MessagePlace { store_id, place: store_id, expiry_time, length: 0 });
            Ok(())
        })
    }

    fn clients(&self, contents: &mut Contents) -> Result<(), Fault> {
        self.each(CLIENTS, |row| {
            let id = bytes(row, 0)?;
            let user = bytes(row, 1)?;
            let user = std::str::from_utf8(&user).ok().filter(|user| !user.is_empty()).map(Box::from);
            let expiry_time = row.get::<_, Option<i64>>(2)?.unwrap_or_default();
            let expiry_interval = number(row, 3)?;
            contents.set_session(&id, Session { user, expiry_time, expiry_interval, ..Session::default() })
        })
    }

    fn client_messages(&self, contents: &mut Contents) -> Result<(), Fault> {
        self.each(CLIENT_MESSAGES, |row| {
            let client = contents.client(&bytes(row, 0)?)?;
            let store_id = row.get::<_, i64>(1)?.cast_unsigned();
            let flag = |column, flag| Ok::<_, Fault>(if number(row, column)? == 0 { 0 } else { flag });
            let incoming = if number(row, 3)? == 0 { ClientMessage::INCOMING } else { 0 };
            let flags = flag(2, ClientMessage::DUP)? | incoming | flag(6, ClientMessage::RETAIN)?;
            let invalid = || Fault::Database(format!("the message {store_id} of a client has an invalid number"));
            let packet_id = u16::try_from(number(row, 4)?).map_err(|_| invalid())?;
            let qos = u8::try_from(number(row, 5)?).ok().filter(|qos| *qos <= 2).ok_or_else(invalid)?;
            let state = State::from_number(u8::try_from(number(row, 7)?).map_err(|_| invalid())?);
            let identifier = [number(row, 8)?];
            let subscription_ids = contents.subscription_ids(if identifier == [0] { &[] } else { &identifier })?;
            let message = ClientMessage { store_id, client, subscription_ids, packet_id, qos, state, flags };
            contents.client_messages.push(message);
            Ok(())
        })
    }

    fn subscriptions(&self, contents: &mut Contents) -> Result<(), Fault> {
        self.each(SUBSCRIPTIONS, |row| {
            let client = contents.client(&bytes(row, 0)?)?;
            let filter = bytes(row, 1)?.into();
            let options = u8::try_from(number(row, 2)? & 0xFF).unwrap_or_default();
            contents.subscriptions.push(Subscription { client, filter, options, identifier: number(row, 3)? });
            Ok(())
        })
    }
}

impl Source for SqliteStore {
    fn content(&mut self, place: &MessagePlace) -> Result<Content, Fault> {
        let mut statement = self.connection.prepare(MESSAGE)?;
        let mut rows = statement.query([place.place.cast_signed()])?;
        let Some(row) = rows.next()? else { return Err(self.damaged(place, "it is gone")) };
        let [topic, payload, source_id, source_user] = [bytes(row, 0)?, bytes(row, 1)?, bytes(row, 2)?, bytes(row, 3)?];
        let qos = u8::try_from(number(row, 4)?).unwrap_or(u8::MAX);
        let retain = number(row, 5)? != 0;
        let Some(properties) = properties(&bytes(row, 6)?) else {
            return Err(self.damaged(place, "its properties are not those of a message"));
        };
        Ok(Content { topic, payload, properties, source_id, source_user, qos, retain })
    }

    fn damaged(&self, place: &MessagePlace, what: &'static str) -> Fault {
        Fault::Database(format!("the message with the store_id {}: {what}", place.store_id.cast_signed()))
    }
}

/// A property as the plugin writes it.
#[derive(Deserialize)]
struct StoredProperty {
    identifier: String,
    #[serde(default)]
    name: String,
    value: serde_json::Value,
}

/// The wire format of properties that are stored as JSON.
fn properties(json: &[u8]) -> Option<Vec<u8>> {
    if json.is_empty() {
        return Some(Vec::new());
    }
    let stored: Vec<StoredProperty> = serde_json::from_slice(json).ok()?;
    let properties = stored.into_iter().map(property).collect::<Option<Vec<_>>>()?;
    Some(MessageProperties::from_properties(properties).as_bytes().to_vec())
}

fn property(StoredProperty { identifier, name, value }: StoredProperty) -> Option<MessageProperty> {
    let text = |value: &serde_json::Value| value.as_str().map(ByteString::from);
    Some(match &*identifier {
        "payload-format-indicator" => MessageProperty::PayloadFormatIndicator(value.as_u64()? == 1),
        "content-type" => MessageProperty::ContentType(text(&value)?),
        "response-topic" => MessageProperty::ResponseTopic(text(&value)?),
        "correlation-data" => MessageProperty::CorrelationData(from_hex(value.as_str()?)?),
        "user-property" => MessageProperty::UserProperty(name.into(), text(&value)?),
        _ => return None,
    })
}

fn from_hex(text: &str) -> Option<Bytes> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect::<Option<Vec<u8>>>().map(Bytes::from)
}

/// Refuses a database of which a part is still in its log.
fn require_closed(file: &Path) -> Result<(), Fault> {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    let log = PathBuf::from(log);
    match log.metadata() {
        Ok(metadata) if metadata.len() > 0 => Err(Fault::NotClosed(log)),
        _ => Ok(()),
    }
}

/// Opens the database so that no file is made or changed.
fn connect(file: &Path) -> Result<Connection, Fault> {
    let path = percent_encode(file.as_os_str().as_encoded_bytes(), RESERVED);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(format!("file:{path}?immutable=1"), flags)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX)?;
    // A database of a stranger runs none of its own code.
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;")?;
    Ok(connection)
}

/// A column as bytes; nothing: empty.
fn bytes(row: &Row<'_>, column: usize) -> Result<Vec<u8>, Fault> {
    Ok(row.get::<_, Option<Vec<u8>>>(column)?.unwrap_or_default())
}

/// A number of 32 bits, which the plugin stores with a sign.
fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u32> {
    let number = row.get::<_, Option<i64>>(column)?.unwrap_or_default();
    let unsigned = u32::try_from(number).or_else(|_| i32::try_from(number).map(i32::cast_unsigned));
    unsigned.map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.to_string())
    }
}

/// Topics and Client Identifiers of publishers are in columns where SQLite makes numbers of texts that look like numbers: they are read as texts.
const VERSION: &str = "SELECT major, minor FROM version_info WHERE component = 'database_schema'";
const CLIENTS: &str = "SELECT CAST(client_id AS BLOB), CAST(username AS BLOB), session_expiry_time, session_expiry_interval FROM clients \
                       ORDER BY rowid";
const CLIENT_MESSAGES: &str = "SELECT CAST(client_id AS BLOB), store_id, dup, direction, mid, qos, retain, state, subscription_identifier \
                               FROM client_msgs ORDER BY rowid";
const SUBSCRIPTIONS: &str = "SELECT CAST(client_id AS BLOB), CAST(topic AS BLOB), subscription_options, subscription_identifier \
                             FROM subscriptions ORDER BY client_id, topic";
const MESSAGE: &str = "SELECT CAST(topic AS BLOB), CAST(payload AS BLOB), CAST(source_id AS BLOB), CAST(source_username AS BLOB), qos, \
                       retain, CAST(properties AS BLOB) FROM base_msgs WHERE store_id = ?1";
/// The largest payload of MQTT and everything beside it.
const VALUE_BYTES_MAX: i32 = (256 << 20) + (512 << 10);
/// What has a meaning in the name of a database.
const RESERVED: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_those_of_the_wire() {
        let json =
            br#"[{"identifier":"payload-format-indicator","value":1},{"identifier":"correlation-data","value":"00fF"},
            {"identifier":"user-property","name":"k","value":"v"}]"#;
        let expected = b"\x01\x01\x09\x00\x02\x00\xFF\x26\x00\x01k\x00\x01v";
        assert_eq!(properties(json).unwrap(), expected);
        assert_eq!(properties(b"").unwrap(), b"");
        for wrong in [
            "{",
            "[1]",
            r#"[{"identifier":"topic-alias","value":1}]"#,
            r#"[{"identifier":"correlation-data","value":"0"}]"#,
        ] {
            assert_eq!(properties(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_database_of_something_else_and_one_that_is_open_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a ?#%.sqlite3");
        let connection = Connection::open(&file).unwrap();
        connection.execute_batch("CREATE TABLE other (x)").unwrap();
        drop(connection);
        let error = SqliteStore::open(&file).unwrap_err().to_string();
        assert!(error.contains("no version of mosquitto's schema"), "{error}");
        std::fs::write(directory.path().join("a ?#%.sqlite3-wal"), "x").unwrap();
        let error = SqliteStore::open(&file).unwrap_err().to_string();
        assert!(error.contains("start and stop it once"), "{error}");
    }
}
