//! What the streams of a cluster must be, so that what they acknowledge is kept.

use serde_json::{Map, Value, json};

use super::super::assembly::PART_BYTES;
use super::super::engine::EngineError;
use super::api::{self, NAME_IN_USE, STREAM_NOT_FOUND, TOO_FEW_SERVERS};
use super::connection::Connection;
use super::names::Names;
use crate::config::Cluster;
use crate::store::ENTRY_BYTES_MAX;

/// A stream.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) name: String,
    pub(super) subjects: Vec<String>,
    pub(super) copies: u8,
    /// The number of cells of the cluster.
    pub(super) cells: u16,
    pub(super) kind: Kind,
}

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Entries, until they are trimmed. A full one refuses more.
    Tail,
    /// The latest message of each subject.
    Latest,
}

/// Whether streams that are not there are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateStream {
    /// They are not: their loss must be decided about by a person.
    Never,
    /// They are.
    IfMissing,
}

impl Terms {
    /// The tail with these names.
    pub(super) fn of_tail(config: &Cluster, names: &Names) -> Self {
        let subjects = vec![names.commits.clone(), names.epochs.clone()];
        let (copies, cells) = (config.tail_copies, config.cells);
        Self { name: names.tail.clone(), subjects, copies, cells, kind: Kind::Tail }
    }

    /// Returns the settings of the stream, which is made if it has to be. `id` is for a new one.
    pub(super) async fn ensure(
        &self,
        connection: &Connection,
        create: CreateStream,
        id: u128,
    ) -> Result<Value, EngineError> {
        match self.look(connection).await {
            Err(EngineError::Refused { code: STREAM_NOT_FOUND, .. }) => {}
            result => return result,
        }
        if create == CreateStream::Never {
            return Err(EngineError::NoStream(self.name.clone()));
        }
        match api::ask(connection, &format!("STREAM.CREATE.{}", self.name), self.settings(id)).await {
            // Another node was faster.
            Ok(_) | Err(EngineError::Refused { code: NAME_IN_USE, .. }) => self.look(connection).await,
            Err(EngineError::Refused { code, text }) if TOO_FEW_SERVERS.contains(&code) => {
                let fault = format!(
                    "it can't be made with {} copies, which need as many servers with JetStream in one cluster (cluster.tail_copies): {text}",
                    self.copies
                );
                Err(EngineError::Terms { stream: self.name.clone(), fault })
            }
            Err(error) => Err(error),
        }
    }

    async fn look(&self, connection: &Connection) -> Result<Value, EngineError> {
        let mut info = api::ask(connection, &format!("STREAM.INFO.{}", self.name), Value::Null).await?;
        let settings = info.get_mut("config").map(Value::take).ok_or(EngineError::Malformed("no settings"))?;
        self.check(&settings).map(|()| settings)
    }

    /// Whether a stream with these settings keeps what it acknowledges.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn check(&self, settings: &Value) -> Result<(), EngineError> {
        match self.fault(settings) {
            None => Ok(()),
            Some(fault) => Err(EngineError::Terms { stream: self.name.clone(), fault }),
        }
    }

    fn settings(&self, id: u128) -> Value {
        let (discard, of_subject, bytes) = match self.kind {
            Kind::Tail => ("new", -1, TAIL_BYTES_MAX),
            Kind::Latest => ("old", 1, LATEST_BYTES_MAX),
        };
        let mut metadata = Map::from_iter([(ID.to_owned(), json!(format!("{id:032x}")))]);
        if self.cells > 1 {
            metadata.insert(CELLS.to_owned(), json!(self.cells.to_string()));
        }
        json!({
            "name": self.name,
            "description": "OnceMQ",
            "subjects": self.subjects,
            "retention": "limits",
            "storage": "file",
            "num_replicas": self.copies,
            "max_bytes": bytes,
            "max_msgs": -1,
            "max_msgs_per_subject": of_subject,
            "max_msg_size": -1,
            "max_age": 0,
            "max_consumers": -1,
            "discard": discard,
            "deny_delete": self.kind == Kind::Tail,
            "allow_direct": true,
            // No message has an identifier, so nothing is remembered for them.
            "duplicate_window": 100_000_000_u64,
            "metadata": metadata,
        })
    }

    /// What is wrong with these settings.
    fn fault(&self, settings: &Value) -> Option<String> {
        let text = |name: &str| settings.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name: &str| settings.get(name).and_then(Value::as_i64).unwrap_or_default();
        let is_set = |name: &str| settings.get(name).is_some_and(|value| !value.is_null());
        let is_true = |name: &str| settings.get(name).and_then(Value::as_bool).unwrap_or_default();
        let is_tail = self.kind == Kind::Tail;
        let copies = number("num_replicas");
        let discard = if is_tail { "new" } else { "old" };
        let of_subject = if is_tail { number("max_msgs_per_subject") > 0 } else { number("max_msgs_per_subject") != 1 };
        let bytes_min = if is_tail { TAIL_BYTES_MIN } else { LATEST_BYTES_MIN };
        let cells = cells_of(settings);
        let faults = [
            (
                cells != self.cells,
                format!(
                    "the cluster was made with {cells} cells, which can't be changed, and cluster.cells is {}",
                    self.cells
                ),
            ),
            (
                copies != i64::from(self.copies),
                format!("it has {copies} copies, and cluster.tail_copies is {}", self.copies),
            ),
            (text("storage") != "file", "it is not kept in files".to_owned()),
            (text("retention") != "limits", "its retention is not \"limits\"".to_owned()),
            (text("discard") != discard, format!("when it is full it does not discard {discard} messages")),
            (number("max_age") != 0, "its messages have an age at which they are removed".to_owned()),
            (number("max_msgs") > 0, "it has a limit of messages".to_owned()),
            (of_subject, "it has another limit of messages per subject".to_owned()),
            ((1..bytes_min).contains(&number("max_bytes")), format!("it may have less than {bytes_min} bytes")),
            ((1..MESSAGE_BYTES_MIN).contains(&number("max_msg_size")), "its messages must be small".to_owned()),
            (is_tail && !is_true("deny_delete"), "its messages can be deleted one by one".to_owned()),
            (!is_true("allow_direct"), "it does not allow direct reads".to_owned()),
            (is_true("allow_rollup_hdrs"), "a message can remove others (allow_rollup_hdrs)".to_owned()),
            (is_true("no_ack") || is_true("sealed"), "it acknowledges nothing, or is sealed".to_owned()),
            (text("persist_mode") == "async", "it acknowledges what is not on disk (persist_mode)".to_owned()),
            (
                ["mirror", "sources", "subject_transform"].into_iter().any(is_set),
                "it is a copy of others, or changes subjects".to_owned(),
            ),
            (
                settings.get("subjects") != Some(&json!(self.subjects)),
                format!("its subjects are not {:?}", self.subjects),
            ),
            (is_tail && id_of(settings).is_none(), format!("it has no {ID} in its metadata")),
        ];
        faults.into_iter().find(|(is_broken, _)| *is_broken).map(|(_, fault)| fault)
    }
}

/// A random number for a new stream.
pub(super) fn new_id() -> Result<u128, EngineError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| EngineError::Files(error.to_string()))?;
    Ok(u128::from_le_bytes(random))
}

/// The random number that was made with the stream.
pub(super) fn id_of(settings: &Value) -> Option<u128> {
    let text = settings.get("metadata")?.get(ID)?.as_str()?;
    u128::from_str_radix(text, 16).ok()
}

/// The number of cells of the cluster that made the stream.
fn cells_of(settings: &Value) -> u16 {
    let number = || settings.get("metadata")?.get(CELLS)?.as_str()?.parse().ok();
    number().unwrap_or(1)
}

const CELLS: &str = "oncemq-cells";
const ID: &str = "oncemq-cluster-id";
/// The slowest node must copy anew beyond it.
const TAIL_BYTES_MAX: i64 = 1 << 30;
/// The largest commit, which has to fit as a whole, with 256 bytes for each of its parts, beside what an owner leaves free.
const TAIL_BYTES_MIN: i64 = 640 << 20;
const _: () = {
    let (parts, min) = (ENTRY_BYTES_MAX / PART_BYTES + 1, TAIL_BYTES_MIN.cast_unsigned());
    assert!((ENTRY_BYTES_MAX + 256 * parts) as u64 <= min - min / 16 && TAIL_BYTES_MIN <= TAIL_BYTES_MAX);
};
/// Signs of life have some hundred bytes.
const LATEST_BYTES_MAX: i64 = 16 << 20;
const LATEST_BYTES_MIN: i64 = 1 << 20;
const MESSAGE_BYTES_MIN: i64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(kind: Kind) -> Terms {
        let subjects = vec!["a.c".to_owned(), "a.epoch".to_owned()];
        Terms { name: "S".to_owned(), subjects, copies: 3, cells: 1, kind }
    }

    #[test]
    fn a_stream_as_it_is_made_is_fit_and_each_setting_that_breaks_the_promise_is_found() {
        for kind in [Kind::Tail, Kind::Latest] {
            let terms = terms(kind);
            let made = terms.settings(7);
            assert_eq!(terms.fault(&made), None);
            assert_eq!(id_of(&made), Some(7));
            for (name, value) in [
                ("num_replicas", json!(1)),
                ("storage", json!("memory")),
                ("retention", json!("workqueue")),
                ("discard", json!(if kind == Kind::Tail { "old" } else { "new" })),
                ("max_age", json!(60_000_000_000_u64)),
                ("max_msgs", json!(10)),
                ("max_msgs_per_subject", json!(5)),
                ("max_bytes", json!(1_000)),
                ("max_msg_size", json!(1_000)),
                ("allow_direct", json!(false)),
                ("allow_rollup_hdrs", json!(true)),
                ("sealed", json!(true)),
                ("no_ack", json!(true)),
                ("persist_mode", json!("async")),
                ("mirror", json!({"name": "other"})),
                ("sources", json!([])),
                ("subjects", json!(["b"])),
            ] {
                let mut other = made.clone();
                other[name] = value;
                assert!(terms.fault(&other).is_some(), "{kind:?} {name}");
            }
        }
        for name in ["deny_delete", "metadata"] {
            let mut other = terms(Kind::Tail).settings(7);
            other.as_object_mut().unwrap().remove(name);
            assert!(terms(Kind::Tail).fault(&other).is_some(), "{name}");
        }
        let of = |cells: u16| Terms { cells, ..terms(Kind::Tail) };
        assert!(!of(1).settings(7)["metadata"].as_object().unwrap().contains_key(CELLS), "as it always was");
        for (made, wanted) in [(1, 1), (1, 6), (6, 1), (6, 6), (6, 5)] {
            let fault = of(wanted).fault(&of(made).settings(7));
            assert_eq!(fault.is_none(), made == wanted, "{made} {wanted}");
        }
        let mut unbounded = terms(Kind::Tail).settings(7);
        unbounded["max_bytes"] = json!(-1);
        assert_eq!(terms(Kind::Tail).fault(&unbounded), None);
    }
}
