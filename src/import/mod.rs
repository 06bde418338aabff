//! Moving in from mosquitto: its configuration, read as it reads it, and made into one of ours.
//!
//! `conf/` knows mosquitto.conf, and `convert/` what becomes of each option. Both `oncemq import mosquitto` and `oncemq --mosquitto-conf` use
//! them. `state/` takes over what mosquitto has saved. Nothing of mosquitto's is changed.

mod conf;
mod convert;
mod load;
pub mod state;
mod write;

use std::path::Path;

pub use conf::{ConfError, Place};
pub use convert::{Converted, FileNames, Finding, GeneratedFile, Outcome, Report, SavedState, Terms};
pub use load::{Generated, load};
pub use write::{Existing, WriteError, beside, write};

/// Makes a configuration of ours of mosquitto's. It reads the files that it names, and writes none. The same files give the same result.
///
/// # Errors
/// A file can't be read, or mosquitto would refuse to start with it.
pub fn mosquitto(path: &Path, terms: &Terms) -> Result<Converted, ConfError> {
    Ok(convert::convert(&conf::read(path)?, terms))
}

impl Converted {
    /// The configuration.
    pub fn toml(&self) -> &str {
        &self.text.text
    }
}
