//! `oncemq pub` and `oncemq sub`: clients with the options of `mosquitto_pub` and `mosquitto_sub`.

mod error;
mod format;
mod input;
mod link;
mod options;
mod printer;
mod properties;
mod publish;
mod signals;
mod subscribe;
mod transport;
mod url;
mod wall_time;

use std::io;

use tokio::runtime::Builder;

pub(crate) use error::MqttError;
pub(in crate::cli) use format::Format;
pub(crate) use publish::PublishCommand;
pub(crate) use subscribe::SubscribeCommand;

/// `oncemq pub`.
pub(crate) fn publish(command: PublishCommand) -> Result<(), MqttError> {
    run(publish::run(command))
}

/// `oncemq sub`.
pub(crate) fn subscribe(command: SubscribeCommand) -> Result<(), MqttError> {
    run(subscribe::run(command))
}

fn run(command: impl Future<Output = Result<(), MqttError>>) -> Result<(), MqttError> {
    let no_runtime = |source: io::Error| MqttError::File { what: "runtime".to_owned(), source };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(no_runtime)?;
    let result = runtime.block_on(command);
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
    result
}
