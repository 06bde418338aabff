//! mosquitto.conf as mosquitto 2.0 and 2.1 read it: lines with their places, and the options with their values, by listener and bridge.

mod check;
mod error;
mod lines;
mod model;
mod options;
mod place;
mod read;
mod settings;
mod special;

pub use error::ConfError;
pub use place::Place;

pub(super) use model::{Bridge, Direction, Listener, Model, Plugin, Protocol, Topic};
pub(super) use options::{Fate, rule};
pub(super) use read::read;
pub(super) use settings::{Set, Settings, Value};
