//! `acl check` and `acl test`: the rules of an ACL file, without a broker.

use std::path::PathBuf;

use oncemq::auth::{AclRules, AclSize, Expectation, ExpectedAction};
use oncemq::broker::is_reserved;
use oncemq::config::{self, Arguments, Config};
use oncemq::routing::{AccessRule, Effect};
use serde_json::{Value, json};

use super::error::CliError;
use super::output::{Form, line};
use super::value::printable;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq acl check acl.conf             whether each line is valid, and how many users, groups and rules there are

The exit code is 0 if the file is valid, and 2 if it is not.")]
pub(crate) struct Check {
    /// The ACL file
    file: PathBuf,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "A line of the file is allow or deny, the user, the Client Identifier, publish or subscribe, and the topic:
  allow alice device-7 publish home/alice/light
  deny - - subscribe secret/#
  allow \"bob builder\" - subscribe plant/hall 3

- as the user is an anonymous client, and as the Client Identifier one to which no rule with %c gives anything. A line that begins
with # is a comment.

Examples:
  oncemq acl test decisions --acl acl.conf
  oncemq acl test decisions --config oncemq.toml --listener tls

The exit code is 0 if the rules decide as expected, 1 if they do not, and 2 if a file is invalid."
)]
pub(crate) struct Test {
    /// The file with the expected decisions
    file: PathBuf,
    /// The ACL file; by default that of the configuration
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "listener"])]
    acl: Option<PathBuf>,
    /// Read the configuration, which names the ACL file, from this TOML file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Use the rules for this listener of the configuration: its name, or its address
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    #[command(flatten)]
    form: Form,
}

/// A decision of the rules.
struct Decision {
    is_allowed: bool,
    reason: String,
    /// The line of the ACL file that decides.
    line: Option<usize>,
}

pub(super) fn check(Check { file, form }: Check) -> Result<(), CliError> {
    let AclSize { users, groups, rules } = AclRules::read(&file)?.size();
    let place = file.display();
    let sentence = format!("{place} is valid: {users} users, {groups} groups and {rules} rules");
    form.done(&sentence, &json!({ "file": file, "users": users, "groups": groups, "rules": rules }))
}

pub(super) fn test(Test { file, acl, config, listener, form }: Test) -> Result<(), CliError> {
    let acl_file = match acl {
        Some(path) => path,
        None => configured(config, listener.as_deref())?,
    };
    let rules = AclRules::read(&acl_file)?;
    let expectations = Expectation::read(&file)?;
    let mut wrong = Vec::new();
    for expectation in &expectations {
        let decision = decide(&rules, expectation);
        if decision.is_allowed == expectation.is_allowed {
            continue;
        }
        let (expected, actual) = match expectation.is_allowed {
            true => ("allow", "denied"),
            false => ("deny", "allowed"),
        };
        if !form.is_json() {
            let (place, number) = (file.display(), expectation.line);
            line(&printable(&format!("{place}:{number}: expected {expected}, is {actual}: {}", decision.reason)))?;
        }
        wrong.push(json!({
            "line": expectation.line, "expected": expected, "allowed": decision.is_allowed,
            "rule_line": decision.line, "reason": decision.reason,
        }));
    }
    finish(form, expectations.len(), &wrong)
}

fn finish(form: Form, count: usize, wrong: &[Value]) -> Result<(), CliError> {
    let object = json!({ "decisions": count, "wrong": wrong });
    if wrong.is_empty() {
        return form.done(&format!("{count} decisions are as expected"), &object);
    }
    if form.is_json() {
        form.done("", &object)?;
    }
    Err(CliError::NotDone(format!("{} of {count} decisions are not as expected", wrong.len())))
}

/// The ACL file of the configuration.
fn configured(config: Option<PathBuf>, listener: Option<&str>) -> Result<PathBuf, CliError> {
    let mut arguments = Arguments::default();
    arguments.config = config;
    let Config { security, listeners, .. } = config::load(&arguments)?.config;
    let own = match listener {
        Some(name) => {
            let found = listeners.into_iter().find(|listener| listener.label() == name);
            let unknown = || CliError::Usage(format!("there is no listener {name:?}"));
            found.ok_or_else(unknown)?.acl_file
        }
        None => None,
    };
    let none = || CliError::Usage("the configuration names no ACL file: use --acl FILE".to_owned());
    own.or(security.acl_file).ok_or_else(none)
}

/// What a broker with these rules decides.
fn decide(rules: &AclRules, Expectation { user, client_id, action, .. }: &Expectation) -> Decision {
    let access = rules.access(client_id, user.as_deref());
    let judgement = match action {
        ExpectedAction::Publish(topic) if is_reserved(topic) => {
            return Decision { is_allowed: false, reason: RESERVED.to_owned(), line: None };
        }
        ExpectedAction::Publish(topic) => access.judge_publish(topic),
        ExpectedAction::Subscribe(filter) => access.judge_subscribe(filter).0,
    };
    let (reason, source) = match (judgement.rule, rules.superuser_line(user.as_deref())) {
        (_, Some(source)) => (format!("{source} makes the user a superuser"), Some(source)),
        (Some(rule), None) => (describe(rule), Some(&*rule.source)),
        (None, None) => ("no rule allows it".to_owned(), None),
    };
    Decision { is_allowed: judgement.is_allowed, reason, line: source.map(|source| source.line) }
}

fn describe(AccessRule { effect, topic_filter, source, .. }: &AccessRule) -> String {
    let verb = match effect {
        Effect::Allow => "allows",
        Effect::Deny => "denies",
    };
    format!("{source} {verb} {topic_filter} ({})", source.text)
}

const RESERVED: &str = "topics below $SYS are the broker's own";
