use std::io::{self, IsTerminal};

use tracing::Level;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{fmt, registry};

use crate::config::{Log, LogFormat, LogLevel};

/// Writes the log to standard error on a thread of its own, so that a slow terminal or pipe never blocks a shard: lines are dropped
/// when the queue is full. Dropping the guard writes the queued lines.
pub fn init(log: &Log) -> Result<WorkerGuard, TryInitError> {
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).finish(io::stderr());
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Libraries log only warnings and errors.
    let filter = Targets::new().with_target("oncemq", level).with_default(level.min(LevelFilter::from(Level::WARN)));
    let layer = fmt::layer().with_writer(writer).with_target(false);
    let layer = match log.format {
        LogFormat::Text => layer.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    registry().with(layer.with_filter(filter)).try_init()?;
    Ok(guard)
}
