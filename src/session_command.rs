//! `oncemq session`: changes Sessions of the running broker.

use std::fmt::Write as _;

use clap::Subcommand;
use serde_json::json;

use oncemq::admin::SOCKET;
use oncemq::config::{self, LocationArguments};

use crate::admin_client::AdminClient;
use crate::output::print;

#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// Give a session, with its subscriptions and its queue, to another user; the broker must run on this machine
    Give(Give),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Give {
    /// The client identifier of the session
    client_id: String,
    /// The user that gets the session
    #[arg(long, value_name = "NAME", required_unless_present = "anonymous")]
    user: Option<String>,
    /// The provider that must verify the user: password or certificate; by default the first that verifies the name
    #[arg(long, value_name = "PROVIDER", requires = "user")]
    provider: Option<String>,
    /// Give the session to anonymous clients
    #[arg(long, conflicts_with = "user")]
    anonymous: bool,
    #[command(flatten)]
    location: LocationArguments,
}

/// Why a command on a Session failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("{url}: {cause} (the broker must run on this machine, and --data name its data directory)")]
    Unreachable { url: String, cause: String },
    #[error("client {client_id:?}: {cause}")]
    Refused { client_id: String, cause: String, is_invalid: bool },
}

impl SessionError {
    /// The exit code of the process: 2 if the request can't be right, 7 if the broker doesn't answer or the Session can't be given.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { is_invalid: true, .. } => 2,
            Self::Unreachable { .. } | Self::Refused { .. } => 7,
        }
    }
}

pub(crate) fn run(command: SessionCommand) -> anyhow::Result<()> {
    match command {
        SessionCommand::Give(give) => give.run(),
    }
}

impl Give {
    fn run(self) -> anyhow::Result<()> {
        let Self { client_id, user, provider, location, .. } = self;
        let data = config::load(&location.into())?.config.server.data;
        let client = AdminClient::unix(data.join(SOCKET));
        let path = format!("/api/v1/clients/{}/owner", percent_encoded(&client_id));
        let url = client.url(&path);
        let body = json!({ "user": user, "provider": provider }).to_string();
        let (code, text) = client
            .request(&format!("POST {path}"), "", &body)
            .map_err(|error| SessionError::Unreachable { url: url.clone(), cause: error.to_string() })?;
        match code {
            204 => print(&format!("the session of {client_id:?} belongs to {}", owner(user.as_deref()))),
            400 | 404 | 409 | 503 => {
                let is_invalid = code == 400;
                Err(SessionError::Refused { client_id, cause: cause(&text), is_invalid }.into())
            }
            _ => Err(SessionError::Unreachable { url, cause: format!("answered {code}: {}", cause(&text)) }.into()),
        }
    }
}

/// The owner in words.
fn owner(user: Option<&str>) -> String {
    user.map_or_else(|| "anonymous clients".to_owned(), |user| format!("user {user:?}"))
}

/// What the listener says about an error.
fn cause(text: &str) -> String {
    let json = serde_json::from_str::<serde_json::Value>(text).ok();
    json.and_then(|json| Some(json.get("error")?.as_str()?.to_owned())).unwrap_or_else(|| text.to_owned())
}

/// A part of a path in which every byte but letters and digits is percent-encoded.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
