//! `oncemq --mosquitto-conf`: starts from mosquitto's configuration, and reads it again at a reload.

use std::path::{Path, PathBuf};

use super::conf::{self, Model};
use super::convert::{self, FileNames, Outcome, Terms};
use super::write::{WriteError, add_files, remove_others};
use crate::config::{self, Arguments, Config, ConfigError, Loaded, Origin};

/// What becomes of the files that are made for the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generated {
    /// They are written, and those of earlier configurations are removed: at a start.
    Replaced,
    /// They are written beside those of the configuration in force: at a reload.
    Added,
    /// They are not written.
    Unwritten,
}

/// Loads the configuration from all layers: as [`config::load`] does, or with what is made of mosquitto's configuration in the place of the
/// file. Files that are made for it are written below the data directory.
///
/// # Errors
/// Those of [`config::load`]; and mosquitto would refuse the file, or something in it keeps clients out in a way that is not there.
pub fn load(arguments: &Arguments, generated: Generated) -> Result<Loaded, ConfigError> {
    let Some(path) = &arguments.mosquitto_conf else { return config::load(arguments) };
    let invalid = |text: String| ConfigError::Mosquitto { text };
    let model = conf::read(path).map_err(|error| invalid(error.to_string()))?;
    let given = config::data_override(arguments)?;
    let files = given.clone().unwrap_or_else(|| data(&model)).join(FILES);
    // Made without the data directory of the command line, which takes precedence anyway.
    let terms =
        Terms { files, names: FileNames::ByContents, data: None, title: format!("Made of {}.", path.display()) };
    let converted = convert::convert(&model, &terms);
    let guards: Vec<String> = converted.report.of(Outcome::Guards).map(ToString::to_string).collect();
    if !guards.is_empty() {
        let lines = guards.into_iter().map(|line| format!("{line}: it would be dangerous to ignore this"));
        return Err(ConfigError::Problems { lines: lines.collect() });
    }
    let failed = |WriteError::File { path, source }| ConfigError::Unwritable { path, source };
    if generated != Generated::Unwritten {
        add_files(&terms.files, &converted.files).map_err(failed)?;
    }
    let origin = |line| match converted.text.place(line) {
        Some(place) => Origin::File { path: place.file(), line: place.line() },
        None => Origin::File { path: path.clone(), line: 1 },
    };
    let loaded = config::load_text((path, converted.toml()), origin, arguments)?;
    if generated == Generated::Replaced {
        remove_others(&terms.files, &converted.files).map_err(failed)?;
    }
    let differs = converted.report.findings().iter().filter(|finding| finding.outcome > Outcome::Carried);
    Ok(loaded.with_notes(differs.map(ToString::to_string).collect()))
}

/// The data directory that `convert` sets, or else the default.
fn data(model: &Model) -> PathBuf {
    match model.global.text("persistence_location") {
        Some(location) => Path::new(location).join(convert::DATA),
        None => Config::default().server.data,
    }
}

/// The directory of generated files, in the data directory.
const FILES: &str = "mosquitto";
