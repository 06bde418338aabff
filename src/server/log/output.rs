use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::Level;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Registry, fmt, registry, reload};

use super::format::{JsonLines, Sentence};
use super::log_line;
use crate::broker::{Detail, DetailLevel};
use crate::config::{Log, LogFormat, LogLevel};

/// What can be changed and asked while the logger runs. The logger is one for the process.
struct Control {
    filter: reload::Handle<Targets, Registry>,
    dropped: ErrorCounter,
    /// The dropped lines that were reported.
    reported: AtomicUsize,
}

static CONTROL: OnceLock<Control> = OnceLock::new();

/// Writes the log to standard error on a thread of its own, so that a slow terminal or pipe never blocks a shard: lines are dropped
/// and counted when the queue is full. Dropping the guard writes the queued lines.
pub fn init(log: &Log) -> Result<WorkerGuard, TryInitError> {
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).finish(io::stderr());
    let dropped = writer.error_counter();
    let layer = fmt::layer().with_writer(writer);
    let layer = match log.format {
        LogFormat::Text => {
            let text = layer.with_target(false).with_ansi(io::stderr().is_terminal());
            text.fmt_fields(Sentence).boxed()
        }
        LogFormat::Json => layer.event_format(JsonLines).boxed(),
    };
    let (filter, handle) = reload::Layer::new(targets(log.level));
    registry().with(layer.with_filter(filter)).try_init()?;
    let control = Control { filter: handle, dropped, reported: AtomicUsize::new(0) };
    // The second logger of a process has failed already.
    let _ = CONTROL.set(control);
    Ok(guard)
}

/// Applies the level of `log` to the running logger.
pub(in crate::server) fn apply(log: &Log) {
    if let Some(control) = CONTROL.get() {
        // The layer lives as long as the process.
        let _ = control.filter.reload(targets(log.level));
    }
}

/// The lines that were dropped because standard error was slow.
pub fn dropped_lines() -> u64 {
    CONTROL.get().map_or(0, |control| control.dropped.dropped_lines() as u64)
}

/// Writes a line if lines were dropped since the last one. That line may be dropped too; then a later call repeats it.
pub(in crate::server) fn report_dropped() {
    let Some(control) = CONTROL.get() else { return };
    let dropped = control.dropped.dropped_lines();
    let lines = dropped.saturating_sub(control.reported.load(Ordering::Relaxed));
    if lines == 0 {
        return;
    }
    log_line!(LinesLost { lines }, "{lines} log lines were lost: standard error was not read fast enough");
    if control.dropped.dropped_lines() == dropped {
        control.reported.store(dropped, Ordering::Relaxed);
    }
}

/// The details that the shards must report for `log`.
pub(in crate::server) fn detail(log: &Log) -> Detail {
    let level = match log.level {
        LogLevel::Error | LogLevel::Warn | LogLevel::Info => DetailLevel::Off,
        LogLevel::Debug => DetailLevel::Debug,
        LogLevel::Trace => DetailLevel::Trace,
    };
    Detail::new(level, log.clients.iter().map(String::as_str))
}

/// Our lines from `level` on. Libraries log only warnings and errors.
fn targets(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_target("oncemq", level).with_default(level.min(LevelFilter::from(Level::WARN)))
}
