//! The log on standard error: its lines, their fields, and which lines are left out.
//!
//! Every line of ours is one [`LogEvent`] and is written by [`log_line!`]. As text it is a sentence; as JSON it has the fields of the
//! event besides. `docs/EVENTS.md` lists both.

mod budget;
mod cut;
mod event;
mod format;
mod last_words;
mod output;

pub(in crate::server) use budget::summarize;
pub(crate) use budget::{Whom, allows};
pub(in crate::server) use cut::{cut, cut_text};
pub use event::LogEvent;
pub(in crate::server) use last_words::json_line;
pub use last_words::{exit_on_panic, failure_line};
pub(in crate::server) use output::{apply, detail, report_dropped};
pub use output::{dropped_lines, init};

/// Writes one line: the event, its fields, and its sentence as for `format!`. A field that is `None` is left out.
///
/// `log_line!(ListenerOpen { listener = name }, "listener {name} is open")`
macro_rules! log_line {
    ($event:ident { $($fields:tt)* }, $($sentence:tt)+) => {
        ::tracing::event!(
            target: "oncemq",
            $crate::server::LogEvent::$event.level(),
            { event = $crate::server::LogEvent::$event.name(), $($fields)* },
            $($sentence)+
        )
    };
}
pub(crate) use log_line;

/// Writes what a node of a cluster says.
pub fn log_cluster(is_trouble: bool, text: &str) {
    if is_trouble {
        log_line!(ClusterTroubled { reason = text }, "cluster: {text}");
    } else {
        log_line!(ClusterChanged {}, "cluster: {text}");
    }
}
