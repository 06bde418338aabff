//! `clients`, `client`, `kick`, `forget`, and `session give`.

use std::time::Duration;

use serde_json::{Value, json};

use super::api::{Api, client_path};
use super::error::CliError;
use super::output::{Form, List, Paging, line};
use super::table::Column;
use super::target::TargetArguments;
use super::value::{text, time};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq clients                        all clients
  oncemq clients 'pump-*' --away        sessions of pumps that are not connected
  oncemq clients --user plant --json    an array of objects with client_id, connected and more")]
pub(crate) struct Clients {
    /// Only clients whose Client Identifier matches, with * and ?
    pattern: Option<String>,
    /// Only connected clients
    #[arg(long, conflicts_with = "away")]
    connected: bool,
    /// Only sessions whose client is not connected
    #[arg(long)]
    away: bool,
    /// Only clients of this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only clients from this address
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq client pump-7                  all that is known of it, with when, how and why it last left
  oncemq client pump-7 --queue          the next messages of its queue
  oncemq client pump-7 --json | jq .last_disconnect")]
pub(crate) struct Client {
    /// The Client Identifier
    client_id: String,
    /// Show its subscriptions
    #[arg(long, group = "part")]
    subscriptions: bool,
    /// Show its last connects, disconnects, takeovers and refusals
    #[arg(long, group = "part")]
    history: bool,
    /// Show the head of its queue
    #[arg(long, group = "part")]
    queue: bool,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq kick pump-7                    disconnect it; its session stays
  oncemq kick pump-7 --ban 10m          and accept it again after ten minutes only")]
pub(crate) struct Kick {
    /// The Client Identifier
    client_id: String,
    /// Ban it for this time, such as 30s, 10m, 2h or 7d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ban: Option<Duration>,
    /// The Reason Code of the DISCONNECT, such as 0x98 or 152
    #[arg(long, value_name = "CODE", value_parser = reason_code)]
    reason_code: Option<u8>,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq forget pump-7                  disconnect it, and delete its session with subscriptions and queue")]
pub(crate) struct Forget {
    /// The Client Identifier
    client_id: String,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

pub(super) fn list(command: Clients) -> Result<(), CliError> {
    let Clients { pattern, connected, away, user, address, form, target } = command;
    let api = Api::new(target)?;
    let connected = match (connected, away) {
        (true, _) => Some("true"),
        (_, true) => Some("false"),
        (false, false) => None,
    };
    let parameters = [
        ("client_id", pattern.as_deref()),
        ("connected", connected),
        ("user", user.as_deref()),
        ("address", address.as_deref()),
    ];
    form.list(&api, List { path: "/clients", key: "clients", columns: &CLIENTS, paging: Paging::Forward }, &parameters)
        .map(drop)
}

pub(super) fn show(command: Client) -> Result<(), CliError> {
    let Client { client_id, subscriptions, history, queue, form, target } = command;
    let api = Api::new(target)?;
    let path = |rest: &str| client_path(&client_id, rest);
    let list = |rest: &str, key, columns, paging| {
        form.list(&api, List { path: &path(rest), key, columns, paging }, &[]).map(drop)
    };
    if subscriptions {
        return list("/subscriptions", "subscriptions", &SUBSCRIPTIONS[..], Paging::Forward);
    }
    if history {
        return list("/history", "events", &HISTORY[..], Paging::Single);
    }
    if queue {
        return list("/queue", "messages", &QUEUE[..], Paging::Single);
    }
    let mut client = api.get(&path(""), &[]);
    // Its Session ended, perhaps with its connection.
    if let Err(CliError::Refused { code: 404, cause }) = &mut client
        && api.get(&path("/history"), &[("limit", Some("1"))]).is_ok()
    {
        cause.push_str(" any more; --history shows how it left");
    }
    form.object(&client?, &FIRST_OF_CLIENT)
}

pub(super) fn kick(command: Kick) -> Result<(), CliError> {
    let Kick { client_id, ban, reason_code, form, target } = command;
    let seconds = ban.map(|ban| ban.as_secs().to_string());
    let code = reason_code.map(|code| code.to_string());
    let parameters = [("reason_code", code.as_deref()), ("ban", seconds.as_deref())];
    Api::new(target)?.send("DELETE", &client_path(&client_id, "/connection"), &parameters, None)?;
    let ban = ban.map(|ban| ban.as_secs());
    let banned = ban.map(|seconds| format!(", and banned for {seconds} s")).unwrap_or_default();
    let object = json!({ "client_id": client_id, "disconnected": true, "ban_seconds": ban });
    form.done(&format!("{client_id} was disconnected{banned}"), &object)
}

pub(super) fn forget(command: Forget) -> Result<(), CliError> {
    let Forget { client_id, form, target } = command;
    Api::new(target)?.send("DELETE", &client_path(&client_id, ""), &[], None)?;
    form.done(&format!("the session of {client_id} was deleted"), &json!({ "client_id": client_id, "forgotten": true }))
}

/// Gives a Session to a user, or to anonymous clients.
pub(crate) fn give(
    target: TargetArguments,
    client_id: &str,
    user: Option<&str>,
    provider: Option<&str>,
) -> Result<(), CliError> {
    let body = json!({ "user": user, "provider": provider });
    match Api::new(target)?.send("PUT", &client_path(client_id, "/owner"), &[], Some(&body)) {
        Err(CliError::Refused { code: 404 | 409, cause }) => {
            return Err(CliError::NotGiven(format!("client {client_id:?}: {cause}")));
        }
        result => result?,
    };
    let owner = user.map_or_else(|| "anonymous clients".to_owned(), |user| format!("user {user:?}"));
    line(&format!("the session of {client_id:?} belongs to {owner}"))
}

/// `30s`, `10m`, `2h`, `7d`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "must be a time such as 30s, 10m, 2h or 7d".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u32 = text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    if number == 0 { Err(wrong()) } else { Ok(Duration::from_secs(u64::from(number) * seconds)) }
}

fn reason_code(text: &str) -> Result<u8, String> {
    let number = match text.strip_prefix("0x") {
        Some(hex) => u8::from_str_radix(hex, 16),
        None => text.parse(),
    };
    number.map_err(|_| "must be a number such as 0x98 or 152".to_owned())
}

fn state(client: &Value) -> String {
    let is_connected = client.pointer("/connected").and_then(Value::as_bool).unwrap_or(false);
    if is_connected { "connected".to_owned() } else { "away".to_owned() }
}

fn since(client: &Value) -> String {
    let is_connected = client.pointer("/connected").and_then(Value::as_bool).unwrap_or(false);
    time(client, if is_connected { "/connected_since" } else { "/last_disconnect/at" })
}

const CLIENTS: [Column; 9] = [
    Column::left("CLIENT", |client| text(client, "/client_id")),
    Column::left("STATE", state),
    Column::left("SINCE", since),
    Column::left("USER", |client| text(client, "/user")),
    Column::left("ADDRESS", |client| text(client, "/address")),
    Column::right("QUEUED", |client| text(client, "/queued_messages")),
    Column::right("SUBS", |client| text(client, "/subscriptions")),
    Column::left("VERSION", |client| text(client, "/version")),
    Column::left("MOUNT POINT", |client| text(client, "/mount_point")),
];
const SUBSCRIPTIONS: [Column; 6] = [
    Column::left("FILTER", |entry| text(entry, "/filter")),
    Column::right("QOS", |entry| text(entry, "/maximum_qos")),
    Column::left("NO LOCAL", |entry| text(entry, "/no_local")),
    Column::left("RETAIN AS PUBLISHED", |entry| text(entry, "/retain_as_published")),
    Column::right("ID", |entry| text(entry, "/subscription_identifier")),
    Column::right("LAG", |entry| text(entry, "/stream_lag")),
];
const HISTORY: [Column; 7] = [
    Column::left("AT", |event| time(event, "/at")),
    Column::left("EVENT", |event| text(event, "/event")),
    Column::left("HOW", |event| text(event, "/how")),
    Column::right("CODE", |event| text(event, "/reason_code")),
    Column::right("COUNT", |event| text(event, "/count")),
    Column::left("ADDRESS", |event| text(event, "/address")),
    Column::left("REASON", |event| text(event, "/reason")),
];
const QUEUE: [Column; 6] = [
    Column::right("SEQUENCE", |message| text(message, "/sequence")),
    Column::left("STATE", |message| text(message, "/state")),
    Column::right("QOS", |message| text(message, "/qos")),
    Column::right("BYTES", |message| text(message, "/size")),
    Column::left("EXPIRES AT", |message| time(message, "/expires_at")),
    Column::left("TOPIC", |message| text(message, "/topic")),
];
/// What an operator wants to see of a client first.
const FIRST_OF_CLIENT: [&str; 12] = [
    "client_id",
    "connected",
    "connected_since",
    "last_disconnect.at",
    "last_disconnect.how",
    "last_disconnect.reason_code",
    "last_disconnect.reason",
    "last_disconnect",
    "user",
    "address",
    "queued_messages",
    "queued_bytes",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_codes_are_read() {
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        for text in ["", "m", "10", "0s", "-1s", "10 m", "99999999999s", "1é"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!((reason_code("0x98"), reason_code("152")), (Ok(0x98), Ok(0x98)));
        assert!(reason_code("256").is_err() && reason_code("0xZZ").is_err() && reason_code("").is_err());
    }
}
