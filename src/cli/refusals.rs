//! `drops`, `refusals`, `bans` and `acl explain`.

use std::net::IpAddr;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::acl::{Check, Test};
use super::api::Api;
use super::error::CliError;
use super::output::{Form, List, Paging, line};
use super::table::Column;
use super::target::TargetArguments;
use super::value::{duration, number, text, time};
use crate::admin_client::percent_encoded;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq drops                          the last messages that were dropped: for whom, and why
  oncemq drops --json                   an array of objects with client_id, topic and reason")]
pub(crate) struct Drops {
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq refusals                       the last connects, publishes and subscriptions that were refused, and by which rule
  oncemq refusals --json                an array of objects with kind, client_id, reason and rule")]
pub(crate) struct Refusals {
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq bans                           who is banned, and for how long
  oncemq bans --remove 192.0.2.7        lift the ban of an address
  oncemq bans --remove user:pump-7      lift the ban of a user")]
pub(crate) struct Bans {
    /// Lift the ban of an address, such as 192.0.2.7 or 2001:db8::/64, or of a user, as user:NAME
    #[arg(long, value_name = "WHO")]
    remove: Option<String>,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Acl {
    /// Say whether a client may publish to a topic or subscribe to a filter, and which rule decides
    Explain(Explain),
    /// Check an ACL file, without a broker
    Check(Check),
    /// Test an ACL file against expected decisions, without a broker
    Test(Test),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq acl explain alice pump-7 pub plant/7/speed
  oncemq acl explain '' pump-7 sub 'plant/#'        an anonymous client
  oncemq acl explain alice x sub '#' --listener tls  at a listener with rules of its own

The exit code is 0 if it is allowed, and 1 if it is not.")]
pub(crate) struct Explain {
    /// The user name; empty for an anonymous client
    user: String,
    /// The Client Identifier
    client_id: String,
    /// What the client does
    action: AccessAction,
    /// The Topic Name, or the Topic Filter
    topic: String,
    /// The listener where the client connects, if it has rules or providers of its own: its name, or its address
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AccessAction {
    Pub,
    Sub,
}

pub(super) fn drops(Drops { form, target }: Drops) -> Result<(), CliError> {
    log(form, target, List { path: "/drops", key: "drops", columns: &DROPS, paging: Paging::Backward })
}

pub(super) fn refusals(Refusals { form, target }: Refusals) -> Result<(), CliError> {
    log(form, target, List { path: "/refusals", key: "refusals", columns: &REFUSALS, paging: Paging::Backward })
}

/// Writes what the broker remembers, and how much of it was too much.
fn log(form: Form, target: TargetArguments, list: List<'_>) -> Result<(), CliError> {
    let last = form.list(&Api::new(target)?, list, &[])?;
    let left_out = last.get("left_out").and_then(Value::as_u64).unwrap_or(0);
    if left_out > 0 && !form.is_json() {
        line(&format!("{left_out} more are not listed, because there were too many within a second."))?;
    }
    Ok(())
}

pub(super) fn bans(Bans { remove, form, target }: Bans) -> Result<(), CliError> {
    let api = Api::new(target)?;
    let Some(who) = remove else {
        let list = List { path: "/bans", key: "bans", columns: &BANS, paging: Paging::Single };
        return form.list(&api, list, &[]).map(drop);
    };
    let (kind, name) = subject(&who)?;
    api.send("DELETE", &format!("/bans/{kind}/{}", percent_encoded(name)), &[], None)?;
    form.done(&format!("{name} is not banned any more"), &json!({ "removed": name }))
}

pub(super) fn explain(command: Explain) -> Result<(), CliError> {
    let Explain { user, client_id, action, topic, listener, form, target } = command;
    let action = match action {
        AccessAction::Pub => "publish",
        AccessAction::Sub => "subscribe",
    };
    let user = Some(user).filter(|user| !user.is_empty());
    let mut body = json!({ "user": user, "client_id": client_id, "action": action, "topic": topic });
    if let (Some(listener), Some(fields)) = (listener, body.as_object_mut()) {
        // A broker of an earlier version does not know it.
        fields.insert("listener".to_owned(), listener.into());
    }
    let answer = Api::new(target)?.send("POST", "/acl/explain", &[], Some(&body))?;
    form.object(&answer, &["allowed", "file", "line", "rule", "reason"])?;
    if answer.get("allowed").and_then(Value::as_bool) == Some(true) {
        Ok(())
    } else {
        Err(CliError::NotDone("not allowed".to_owned()))
    }
}

/// What a ban is of: an address, or a user.
fn subject(who: &str) -> Result<(&'static str, &str), CliError> {
    let address = who.strip_prefix("address:").unwrap_or(who);
    if let Some(user) = who.strip_prefix("user:") {
        return Ok(("user", user));
    }
    let (ip, _) = address.split_once('/').unwrap_or((address, ""));
    match ip.parse::<IpAddr>() {
        Ok(_) => Ok(("address", address)),
        Err(_) => Err(CliError::Usage(format!("{who:?} is no address; a user is named as user:NAME"))),
    }
}

const DROPS: [Column; 6] = [
    Column::left("AT", |entry| time(entry, "/at")),
    Column::left("CLIENT", |entry| text(entry, "/client_id")),
    Column::left("REASON", |entry| text(entry, "/reason")),
    Column::right("QOS", |entry| text(entry, "/qos")),
    Column::right("COUNT", |entry| text(entry, "/count")),
    Column::left("TOPIC", |entry| text(entry, "/topic")),
];
const REFUSALS: [Column; 8] = [
    Column::left("AT", |entry| time(entry, "/at")),
    Column::left("KIND", |entry| text(entry, "/kind")),
    Column::left("CLIENT", |entry| text(entry, "/client_id")),
    Column::left("USER", |entry| text(entry, "/user")),
    Column::left("ADDRESS", |entry| text(entry, "/address")),
    Column::left("TOPIC", |entry| text(entry, "/topic")),
    Column::left("RULE", |entry| text(entry, "/rule")),
    Column::left("REASON", |entry| text(entry, "/reason")),
];
const BANS: [Column; 4] = [
    Column::left("ADDRESS", |entry| text(entry, "/address")),
    Column::left("USER", |entry| text(entry, "/user")),
    Column::right("LEFT", |entry| duration(number(entry, "/seconds_left"))),
    Column::left("REASON", |entry| text(entry, "/reason")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_is_of_an_address_or_of_a_user() {
        assert_eq!(subject("192.0.2.7").unwrap(), ("address", "192.0.2.7"));
        assert_eq!(subject("address:2001:db8::/64").unwrap(), ("address", "2001:db8::/64"));
        assert_eq!(subject("user:192.0.2.7").unwrap(), ("user", "192.0.2.7"));
        assert!(subject("pump-7").is_err());
    }
}
