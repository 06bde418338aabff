use serde::{Deserialize, Serialize};

use super::Problem;
use crate::codec::Qos;
use crate::rewrite::{self, InvalidRule, RewriteRule, Template, Whose};
use crate::topic::Filter;

/// A rule that replaces topics: one `[[topic_rewrite]]`. Of the rules whose `source` matches a topic, the last one decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicRewrite {
    /// The packets that it applies to.
    pub action: RewriteAction,
    /// A Topic Filter such as `old/#`: the topics that it is for.
    pub source: String,
    /// A regular expression that the whole topic is searched with; if it does not match, the topic stays as it is.
    pub pattern: String,
    /// The topic instead: `$1` is what the first group of the pattern matched, `%c` the Client Identifier, `%u` the verified user name.
    pub destination: String,
}

/// The packets that a rewrite rule applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RewriteAction {
    /// PUBLISH and Wills.
    Publish,
    /// SUBSCRIBE and UNSUBSCRIBE.
    Subscribe,
    /// All of them.
    All,
}

/// A subscription that the broker makes for clients when they connect: one `[[auto_subscribe]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoSubscribe {
    /// Its Topic Filter; `%c` is the Client Identifier, `%u` the verified user name.
    pub topic: String,
    /// Its QoS: 0, 1 or 2.
    #[serde(default = "default_qos", with = "super::mqtt::qos")]
    pub qos: Qos,
    /// No Local.
    #[serde(default)]
    pub no_local: bool,
    /// Retain As Published.
    #[serde(default)]
    pub retain_as_published: bool,
    /// Retain Handling: 0, 1 or 2.
    #[serde(default)]
    pub retain_handling: u8,
    /// The verified users that get it; by default all clients.
    #[serde(default)]
    pub users: Vec<String>,
    /// The names of the listeners whose clients get it; by default all.
    #[serde(default)]
    pub listeners: Vec<String>,
}

const fn default_qos() -> Qos {
    Qos::AtMostOnce // as in EMQX
}

impl TopicRewrite {
    /// Compiles the rule.
    ///
    /// # Errors
    /// See [`InvalidRule`].
    pub fn compile(&self) -> Result<RewriteRule, InvalidRule> {
        let action = match self.action {
            RewriteAction::Publish => rewrite::RewriteAction::Publish,
            RewriteAction::Subscribe => rewrite::RewriteAction::Subscribe,
            RewriteAction::All => rewrite::RewriteAction::All,
        };
        RewriteRule::new(action, &self.source, &self.pattern, &self.destination)
    }

    /// Checks what the types do not express. `key` is the path of this rule, such as `topic_rewrite[0]`.
    fn problems(&self, key: &str) -> Option<Problem> {
        let invalid = self.compile().err()?;
        let setting = match &invalid {
            InvalidRule::Source(_) => "source",
            InvalidRule::Pattern(_) => "pattern",
            InvalidRule::Group(_) | InvalidRule::Destination => "destination",
            InvalidRule::Long => return Some(Problem::new(key, "has a text of more than 1,024 bytes")),
        };
        let text = invalid.to_string();
        let text = text.strip_prefix(setting).and_then(|text| text.strip_prefix(": ")).unwrap_or(&text);
        Some(Problem::new(&format!("{key}.{setting}"), &format!("can't be used: {text}")))
    }
}

impl AutoSubscribe {
    /// Checks what the types do not express. `key` is the path, such as `auto_subscribe[0]`.
    fn problems(&self, key: &str, listeners: &[String]) -> Vec<Problem> {
        let mut problems = Vec::new();
        let template = Template::new(&self.topic);
        let filled = template.fill_for(Whose { client_id: "c", user: Some("u") });
        let filter = filled.ok().and_then(|filter| Filter::new(filter.into()).ok());
        if filter.is_none() || template.last_group().is_some() || self.topic.len() > rewrite::TEXT_BYTES_MAX {
            let text = "must be a topic filter of at most 1,024 bytes; of placeholders, it may have %c and %u";
            problems.push(Problem::new(&format!("{key}.topic"), text));
        }
        if self.no_local && filter.is_some_and(|filter| filter.share.is_some()) {
            problems.push(Problem::new(&format!("{key}.no_local"), "is not allowed on a Shared Subscription"));
        }
        if self.retain_handling > 2 {
            problems.push(Problem::new(&format!("{key}.retain_handling"), "must be 0, 1 or 2"));
        }
        if let Some(unknown) = self.listeners.iter().find(|name| !listeners.contains(name)) {
            problems.push(Problem::new(&format!("{key}.listeners"), &format!("has {unknown:?}, which is no listener")));
        }
        problems
    }
}

/// Checks all rules and automatic subscriptions.
pub(super) fn problems(rewrites: &[TopicRewrite], automatic: &[AutoSubscribe], listeners: &[String]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (section, count, max) in
        [("topic_rewrite", rewrites.len(), REWRITES_MAX), ("auto_subscribe", automatic.len(), AUTOMATIC_MAX)]
    {
        if count > max {
            problems.push(Problem::new(section, &format!("must be at most {max}")));
        }
    }
    let rewrites = rewrites.iter().enumerate();
    problems.extend(rewrites.filter_map(|(index, rule)| rule.problems(&format!("topic_rewrite[{index}]"))));
    for (index, one) in automatic.iter().enumerate() {
        problems.extend(one.problems(&format!("auto_subscribe[{index}]"), listeners));
    }
    problems
}

/// Each topic is compared with all of them.
const REWRITES_MAX: usize = 256;
/// All of them are made when a client connects.
const AUTOMATIC_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::Config;

    fn problems(text: &str) -> Vec<String> {
        let config: Config = toml::from_str(text).unwrap();
        config.problems().into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn a_rewrite_rule_that_cannot_be_used_is_a_problem_of_its_setting() {
        let rule = |source: &str, pattern: &str, destination: &str| {
            problems(&format!(
                "[[topic_rewrite]]\naction = \"all\"\nsource = '{source}'\npattern = '{pattern}'\ndestination = '{destination}'\n"
            ))
        };
        assert_eq!(rule("x/#", "^x/(.+)$", "y/$1/%c"), [""; 0]);
        assert_eq!(rule("x/#/y", "^x/(.+)$", "y/$1"), ["topic_rewrite[0].source"]);
        assert_eq!(rule("x/#", "^x/(.+$", "y/$1"), ["topic_rewrite[0].pattern"]);
        assert_eq!(rule("x/#", "^x/(.+)$", "y/$2"), ["topic_rewrite[0].destination"]);
        assert_eq!(rule("x/#", "^x/(.+)$", "$SYS/$1"), ["topic_rewrite[0].destination"]);
        assert_eq!(rule("x/#", "^x/(.+)$", &"y".repeat(1_025)), ["topic_rewrite[0]"]);
    }

    #[test]
    fn an_automatic_subscription_that_cannot_be_made_is_a_problem_of_its_setting() {
        let one = |settings: &str| problems(&format!("[[auto_subscribe]]\n{settings}\n"));
        assert_eq!(one("topic = 'devices/%c/#'\nqos = 1"), [""; 0]);
        assert_eq!(one("topic = ''"), ["auto_subscribe[0].topic"]);
        assert_eq!(one("topic = 'a/#/b'"), ["auto_subscribe[0].topic"]);
        assert_eq!(one("topic = 'a/$1'"), ["auto_subscribe[0].topic"]);
        assert_eq!(one("topic = '$share/g/t'\nno_local = true"), ["auto_subscribe[0].no_local"]);
        assert_eq!(one("topic = 't'\nretain_handling = 3"), ["auto_subscribe[0].retain_handling"]);
        assert_eq!(one("topic = 't'\nlisteners = ['there-is-none']"), ["auto_subscribe[0].listeners"]);
    }
}
