use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use oncemq::codec::{Connect, MessageProperties, ProtocolVersion, Qos, Will};
use oncemq::topic::TopicName;

use super::error::MqttError;
use super::properties::Properties;
use super::url::Url;
use crate::tls_client::TlsFiles;

/// The options of `pub` and `sub` that concern the connection. Their letters are those of mosquitto's clients.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct ConnectionOptions {
    /// Host of the broker; localhost by default
    #[arg(short = 'h', long, value_name = "HOST", conflicts_with_all = ["unix", "url"])]
    host: Option<String>,
    /// Port of the broker; by default 1883, with TLS 8883
    #[arg(short, long, value_name = "PORT", conflicts_with_all = ["unix", "url"])]
    port: Option<u16>,
    /// Connect to this Unix socket instead of a host
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    unix: Option<PathBuf>,
    /// Host, user and topic in one: mqtt(s)://[user[:password]@]host[:port]/topic
    #[arg(short = 'L', long, value_name = "URL")]
    url: Option<String>,
    /// Client Identifier; by default the broker assigns one
    #[arg(short, long, value_name = "ID")]
    id: Option<String>,
    /// User name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password; other users of this machine can see it in the list of processes
    #[arg(short = 'P', long = "pw", value_name = "PASSWORD")]
    password: Option<String>,
    /// Protocol version: 5, 311 or 31, also as mqttv5, mqttv311 or mqttv31
    #[arg(short = 'V', long, value_name = "VERSION", default_value = "5", value_parser = version)]
    protocol_version: ProtocolVersion,
    /// Keep Alive in seconds; 0 for none
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60)]
    keepalive: u16,
    /// Keep the session when the connection ends; needs --id
    #[arg(short = 'c', long, requires = "id")]
    disable_clean_session: bool,
    /// Session Expiry Interval in seconds, or -1 for a session that does not expire; by default 0, with -c -1
    #[arg(short = 'x', long, value_name = "SECONDS", allow_hyphen_values = true, value_parser = expiry)]
    session_expiry_interval: Option<u32>,
    /// Set a property of 5.0, such as `publish content-type text/plain` or `publish user-property NAME VALUE`; can be repeated
    #[arg(short = 'D', long, num_args = 3..=4, value_names = ["PACKET", "PROPERTY", "VALUE"])]
    property: Vec<String>,
    #[command(flatten)]
    tls: TlsOptions,
    #[command(flatten)]
    will: WillOptions,
}

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "TLS")]
struct TlsOptions {
    /// Use TLS, and trust the authorities in this PEM file
    #[arg(long, value_name = "FILE")]
    cafile: Option<PathBuf>,
    /// Use TLS, and trust the authorities of the operating system; the default at port 8883 and with mqtts://
    #[arg(long, conflicts_with = "cafile")]
    tls_use_os_certs: bool,
    /// PEM file with the certificate of the client
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// PEM file with the key of the client
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Accept a certificate of the broker with another name. Anyone who has a certificate of the same authority can then pose as the broker
    #[arg(long)]
    insecure: bool,
}

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Will Message")]
struct WillOptions {
    /// Topic to which the broker publishes if this client ends without DISCONNECT
    #[arg(long, value_name = "TOPIC")]
    will_topic: Option<String>,
    /// Payload of the Will Message; empty by default
    #[arg(long, value_name = "TEXT", requires = "will_topic")]
    will_payload: Option<String>,
    /// QoS of the Will Message
    #[arg(long, value_name = "QOS", default_value_t = 0, requires = "will_topic", value_parser = clap::value_parser!(u8).range(0..=2))]
    will_qos: u8,
    /// Retain the Will Message
    #[arg(long, requires = "will_topic")]
    will_retain: bool,
}

/// Where the broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Host { host: String, port: u16 },
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host, port } if host.contains(':') => write!(formatter, "[{host}]:{port}"),
            Self::Host { host, port } => write!(formatter, "{host}:{port}"),
            Self::Unix(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// What a connection needs.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) place: Place,
    /// `None`: no TLS.
    pub(super) tls: Option<TlsFiles>,
    pub(super) connect: Connect,
    pub(super) properties: Properties,
    /// The topic of the URL.
    pub(super) topic: Option<String>,
}

impl ConnectionOptions {
    /// Checks what clap can't.
    pub(super) fn settings(self, what: &str) -> Result<Settings, MqttError> {
        let url = self.url.as_deref().map(Url::parse).transpose()?;
        let (tls, place) = self.place(url.as_ref());
        if tls.is_some() && matches!(place, Place::Unix(_)) {
            return Err(MqttError::Usage("a Unix socket has no TLS".to_owned()));
        }
        let properties = Properties::parse(&self.property)?;
        let version = self.protocol_version;
        if !version.has_properties() && (self.session_expiry_interval.is_some() || !properties.is_empty()) {
            return Err(MqttError::Usage("-x and -D need protocol version 5".to_owned()));
        }
        let will = self.will(&properties)?;
        let client_id = match self.id {
            Some(id) => id,
            // 3.1 has no empty Client Identifier.
            None if version == ProtocolVersion::V3_1 => format!("oncemq-{what}-{}", std::process::id()),
            None => String::new(),
        };
        let mut connect = Connect::new(version, client_id, !self.disable_clean_session);
        if version.has_properties() {
            let default = if self.disable_clean_session { u32::MAX } else { 0 };
            connect.properties.session_expiry_interval = self.session_expiry_interval.unwrap_or(default);
            connect.properties.user_properties = properties.connect_user_properties.iter().cloned().collect();
        }
        connect.keep_alive = self.keepalive;
        connect.will = will;
        let (url_user, url_password, topic) =
            url.map_or((None, None, None), |url| (url.user, url.password, Some(url.topic)));
        connect.user_name = self.username.or(url_user).map(Into::into);
        connect.password = self.password.or(url_password).map(Bytes::from);
        if connect.password.is_some() && connect.user_name.is_none() && !version.has_properties() {
            return Err(MqttError::Usage("before version 5 a password needs a user name".to_owned()));
        }
        Ok(Settings { place, tls, connect, properties, topic })
    }

    fn place(&self, url: Option<&Url>) -> (Option<TlsFiles>, Place) {
        let TlsOptions { cafile, tls_use_os_certs, cert, key, insecure } = &self.tls;
        let port = url.map_or(self.port, |url| url.port);
        let is_tls = cafile.is_some()
            || *tls_use_os_certs
            || cert.is_some()
            || *insecure
            || url.is_some_and(|url| url.is_tls)
            || port == Some(TLS_PORT);
        let tls = is_tls.then(|| TlsFiles {
            authorities: cafile.clone(),
            identity: cert.clone().zip(key.clone()),
            any_name: *insecure,
        });
        let place = match (&self.unix, url) {
            (Some(path), _) => Place::Unix(path.clone()),
            (None, url) => {
                let host = url.map(|url| url.host.clone()).or_else(|| self.host.clone());
                let port = port.unwrap_or(if is_tls { TLS_PORT } else { PORT });
                Place::Host { host: host.unwrap_or_else(|| "localhost".to_owned()), port }
            }
        };
        (tls, place)
    }

    fn will(&self, properties: &Properties) -> Result<Option<Will>, MqttError> {
        let Some(topic) = &self.will.will_topic else {
            return match properties.has_will() {
                true => Err(MqttError::Usage("-D will … needs --will-topic".to_owned())),
                false => Ok(None),
            };
        };
        Ok(Some(Will {
            topic: topic_name(topic)?,
            payload: self.will.will_payload.clone().unwrap_or_default().into(),
            qos: qos(self.will.will_qos),
            retain: self.will.will_retain,
            will_delay_interval: properties.will_delay_interval,
            message_expiry_interval: properties.will.expiry_interval,
            properties: MessageProperties::from_properties(properties.will.properties.iter().cloned()),
        }))
    }
}

/// A Topic Name of the command line.
pub(super) fn topic_name(text: &str) -> Result<TopicName, MqttError> {
    TopicName::try_from(text).map_err(|error| MqttError::Usage(format!("topic {text:?}: {error}")))
}

/// A QoS that clap has checked.
pub(super) fn qos(level: u8) -> Qos {
    Qos::new(level).unwrap_or(Qos::AtMostOnce)
}

fn version(text: &str) -> Result<ProtocolVersion, String> {
    match text.strip_prefix("mqttv").unwrap_or(text) {
        "5" => Ok(ProtocolVersion::V5),
        "311" => Ok(ProtocolVersion::V3_1_1),
        "31" => Ok(ProtocolVersion::V3_1),
        _ => Err("must be 5, 311 or 31".to_owned()),
    }
}

fn expiry(text: &str) -> Result<u32, String> {
    match text {
        "-1" | "∞" => Ok(u32::MAX),
        _ => text.parse().map_err(|_| "must be a number of seconds, or -1".to_owned()),
    }
}

/// A number of seconds for `-W`.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds.into())),
        _ => Err("must be a number of seconds from 1 on".to_owned()),
    }
}

/// The registered ports of MQTT.
const PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;
