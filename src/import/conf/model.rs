//! What a configuration says, by listener and bridge.

use super::{Place, Settings};

/// A configuration of mosquitto, valid as far as mosquitto checks it when it reads it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::import) struct Model {
    pub(in crate::import) global: Settings,
    pub(in crate::import) listeners: Vec<Listener>,
    pub(in crate::import) bridges: Vec<Bridge>,
    pub(in crate::import) plugins: Vec<Plugin>,
    /// `per_listener_settings true`.
    pub(in crate::import) per_listener: Option<Place>,
    /// A `listener`, `port` or `bind_address` is there. Without one, mosquitto listens on loopback alone, whatever the listeners say.
    pub(in crate::import) listens: bool,
    /// `plugin_use` and the like of `include_dir` and `per_listener_settings`: lines that have done what they do.
    pub(in crate::import) done: Vec<(Place, &'static str)>,
    /// The options of all lines, in order.
    pub(in crate::import) lines: Vec<(Place, String)>,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::import) struct Listener {
    /// The line that begins it.
    pub(in crate::import) at: Place,
    /// The option of that line.
    pub(in crate::import) begun_by: String,
    /// `None`: a Unix socket.
    pub(in crate::import) port: Option<u16>,
    /// The address, or the path of the Unix socket.
    pub(in crate::import) address: Option<String>,
    /// The lines of `port` and `bind_address`, beside `at`.
    pub(in crate::import) further: Vec<(Place, &'static str)>,
    pub(in crate::import) settings: Settings,
}

/// A plugin, and which listeners it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::import) struct Plugin {
    pub(in crate::import) at: Place,
    /// The option of that line.
    pub(in crate::import) begun_by: String,
    pub(in crate::import) name: Option<String>,
    pub(in crate::import) path: String,
    pub(in crate::import) options: Vec<(String, String, Place)>,
    /// Whether it is for all listeners.
    pub(in crate::import) is_global: bool,
    /// The places of those that it is for otherwise.
    pub(in crate::import) listeners: Vec<usize>,
}

/// A bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::import) struct Bridge {
    pub(in crate::import) at: Place,
    pub(in crate::import) name: String,
    /// Hosts and ports.
    pub(in crate::import) addresses: Vec<(String, u16)>,
    pub(in crate::import) addresses_at: Option<Place>,
    pub(in crate::import) settings: Settings,
    pub(in crate::import) topics: Vec<Topic>,
}

/// A `topic` of a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::import) struct Topic {
    pub(in crate::import) at: Place,
    /// Empty: the prefixes are whole topics.
    pub(in crate::import) filter: String,
    pub(in crate::import) direction: Direction,
    pub(in crate::import) qos: u8,
    pub(in crate::import) local_prefix: String,
    pub(in crate::import) remote_prefix: String,
}

/// Which way a bridge passes messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::import) enum Direction {
    Out,
    In,
    Both,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::import) enum Protocol {
    Mqtt,
    WebSockets,
    HttpApi,
}

impl Listener {
    pub(in crate::import) fn protocol(&self) -> Protocol {
        match self.settings.text("protocol") {
            Some("websockets") => Protocol::WebSockets,
            Some("http_api") => Protocol::HttpApi,
            Some(_) | None => Protocol::Mqtt,
        }
    }

    /// Whether mosquitto makes it because of an option that needs a listener, and not because of `listener`, `port` or `bind_address`.
    pub(in crate::import) fn is_implied(&self) -> bool {
        !matches!(self.begun_by.as_str(), "listener" | "port" | "bind_address")
    }
}
