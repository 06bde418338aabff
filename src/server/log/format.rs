use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::event::LIBRARY;
use super::last_words::write_json;

/// Writes the sentence of a text line. Our other fields are in the sentence already; a library's follow its sentence.
#[derive(Debug)]
pub(super) struct Sentence;

impl<'a> FormatFields<'a> for Sentence {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'a>, fields: R) -> fmt::Result {
        let mut search = EventField::default();
        fields.record(&mut search);
        let mut text = TextFields { writer, is_ours: search.found, result: Ok(()) };
        fields.record(&mut text);
        text.result
    }
}

/// Whether there is a field `event`: the line is ours.
#[derive(Debug, Default)]
struct EventField {
    found: bool,
}

impl Visit for EventField {
    fn record_debug(&mut self, field: &Field, _: &dyn fmt::Debug) {
        self.found |= field.name() == "event";
    }
}

struct TextFields<'a> {
    writer: Writer<'a>,
    is_ours: bool,
    result: fmt::Result,
}

impl Visit for TextFields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.writer, "{value:?}"),
            _ if self.is_ours => Ok(()),
            name => write!(self.writer, " {name}={value:?}"),
        };
        self.result = self.result.and(written);
    }
}

/// Writes each line as a JSON object: `timestamp`, `level`, `event`, the fields of the event, and the sentence as `message`.
#[derive(Debug)]
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields { event: name, message, mut others } = fields;
        let metadata = event.metadata();
        let mut message = message.unwrap_or_default();
        let name = name.unwrap_or_else(|| {
            // A library has no list of its fields: they go into the sentence.
            for (name, value) in std::mem::take(&mut others) {
                message.push_str(&format!(" {name}={value}"));
            }
            others.insert("target".to_owned(), metadata.target().into());
            LIBRARY.to_owned()
        });
        let line = write_json(*metadata.level(), &name, &others, &message);
        writeln!(writer, "{line}")
    }
}

/// The fields of a line.
#[derive(Debug, Default)]
struct Fields {
    event: Option<String>,
    message: Option<String>,
    others: Map<String, Value>,
}

impl Fields {
    fn record(&mut self, field: &Field, value: Value) {
        let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match field.name() {
            "event" => self.event = Some(text(value)),
            "message" => self.message = Some(text(value)),
            name => _ = self.others.insert(name.to_owned(), value),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.record(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{fmt as layer, registry};

    use super::*;
    use crate::server::log::log_line;

    #[derive(Debug, Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Written {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn lines() {
        let nobody: Option<&str> = None;
        log_line!(
            ClientRefused { client_id = "a\nb", user = nobody, reason_code = 0x87_u8, reason = "no" },
            "client {:?} refused",
            "a\nb"
        );
        tracing::warn!(target: "rustls::x", bytes = 3, "strange");
    }

    #[test]
    fn a_json_line_has_its_fields_and_a_librarys_line_its_target() {
        let written = Written::default();
        let layer = layer::layer().with_writer(written.clone()).event_format(JsonLines);
        tracing::subscriber::with_default(registry().with(layer), lines);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let (first, second) = text.trim_end().split_once('\n').unwrap();
        assert!(first.starts_with(r#"{"timestamp":"2"#), "{first}");
        assert!(
            first.ends_with(
                r#"Z","level":"WARN","event":"client_refused","client_id":"a\nb","reason":"no","reason_code":135,"message":"client \"a\\nb\" refused"}"#
            ),
            "{first}"
        );
        assert!(
            second.ends_with(r#""level":"WARN","event":"library","target":"rustls::x","message":"strange bytes=3"}"#),
            "{second}"
        );
    }

    #[test]
    fn a_text_line_is_its_sentence_and_a_librarys_fields_follow() {
        let written = Written::default();
        let layer =
            layer::layer().with_writer(written.clone()).with_ansi(false).with_target(false).fmt_fields(Sentence);
        tracing::subscriber::with_default(registry().with(layer), || {
            log_line!(ClientRefused { client_id = "a", reason_code = 0x87_u8 }, "client {:?} refused", "a\nb");
            tracing::warn!(target: "rustls::x", widgets = 3, "strange");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let (first, second) = text.trim_end().split_once('\n').unwrap();
        assert!(first.ends_with(r#" WARN client "a\nb" refused"#), "{first}");
        assert!(second.ends_with(" WARN strange widgets=3"), "{second}");
    }
}
