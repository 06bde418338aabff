//! Lines that are written without the logger: before it runs, after it has ended, and by a panic.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write as _};
use std::{panic, process, thread};

use serde_json::{Map, Value};
use tracing::Level;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use super::event::LogEvent;
use crate::config::LogFormat;
use crate::server::error::EXIT_PANIC;

/// The line about an error that prevented the start or ended the broker.
pub fn failure_line(format: LogFormat, text: &str, exit_code: u8) -> String {
    match format {
        LogFormat::Text => format!("oncemq: {text}"),
        LogFormat::Json => json_line(LogEvent::Failed, &[("exit_code", exit_code.into())], text),
    }
}

/// Makes a panic of any thread end the process with [`EXIT_PANIC`], because the state of a shard is undefined after a panic.
pub fn exit_on_panic(format: LogFormat) {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        match format {
            LogFormat::Text => print(info),
            LogFormat::Json => {
                let backtrace = Backtrace::capture();
                let is_captured = backtrace.status() == BacktraceStatus::Captured;
                let backtrace = is_captured.then(|| backtrace.to_string());
                let place = info.location().map(ToString::to_string);
                let thread = thread::current().name().map(str::to_owned);
                let fields = [("thread", thread.into()), ("place", place.into()), ("backtrace", backtrace.into())];
                let payload = info.payload();
                let text = payload.downcast_ref::<&str>().copied();
                let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
                let cause = text.unwrap_or("a value that is no text");
                let line = json_line(LogEvent::Panicked, &fields, &format!("panicked: {cause}"));
                // If standard error is closed, nobody reads it.
                let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
            }
        }
        process::exit(i32::from(EXIT_PANIC));
    }));
}

/// A line as a JSON object, with the fields that aren't null.
pub(in crate::server) fn json_line(event: LogEvent, fields: &[(&str, Value)], message: &str) -> String {
    let fields = fields.iter().filter(|(_, value)| !value.is_null());
    let fields = fields.map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    write_json(event.level(), event.name(), &fields, message)
}

/// A JSON object in one line, with the fields in the order of their names between the event and the message.
pub(super) fn write_json(level: Level, event: &str, fields: &Map<String, Value>, message: &str) -> String {
    let mut time = String::new();
    // A String takes any text.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    let mut line = format!(r#"{{"timestamp":{},"level":"{level}","event":{}"#, Value::from(time), Value::from(event));
    for (name, value) in fields {
        line.push_str(&format!(",{}:{value}", Value::from(name.as_str())));
    }
    line.push_str(&format!(r#","message":{}}}"#, Value::from(message)));
    line
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::Command;

    use super::*;

    /// Set for the process that [`the_child_panics`].
    const CHILD: &str = "ONCEMQ_TEST_PANICS";

    #[test]
    fn the_last_words_of_a_panic_are_one_line_of_json() {
        let name = "server::log::last_words::tests::the_child_panics";
        let mut child = Command::new(env::current_exe().unwrap());
        let output = child.args([name, "--exact", "--nocapture"]).env(CHILD, "1").output().unwrap();
        assert_eq!(output.status.code(), Some(i32::from(EXIT_PANIC)));
        let text = String::from_utf8(output.stderr).unwrap();
        let object: Map<String, Value> = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(object["event"], "panicked");
        assert_eq!(object["message"], "panicked: two\nlines");
        assert!(object["place"].as_str().unwrap().contains("last_words.rs:"), "{text}");
        assert_eq!(object["thread"], "doomed");
    }

    /// Does nothing but in the child process.
    #[test]
    fn the_child_panics() {
        if env::var_os(CHILD).is_some() {
            exit_on_panic(LogFormat::Json);
            let doomed = thread::Builder::new().name("doomed".to_owned()).spawn(|| panic!("two\nlines"));
            drop(doomed.unwrap().join());
        }
    }

    #[test]
    fn a_failure_of_several_lines_is_one_line_of_json() {
        assert_eq!(failure_line(LogFormat::Text, "a\nb", 2), "oncemq: a\nb");
        let line = failure_line(LogFormat::Json, "a\nb \"c\"", 2);
        assert!(!line.contains('\n'));
        let object: Map<String, Value> = serde_json::from_str(&line).unwrap();
        assert_eq!(object["event"], "failed");
        assert_eq!(object["level"], "ERROR");
        assert_eq!(object["exit_code"], 2);
        assert_eq!(object["message"], "a\nb \"c\"");
    }
}
