//! Explains what a client may do, by the functions that decide it.

use std::sync::Arc;

use crate::broker::operator::query::{ExplainRequest, ExplainedAction, Explanation, Standing};
use crate::broker::publish::refusal::Refusal;
use crate::broker::publish::sys::SysPublisher;
use crate::broker::shard::Shard;
use crate::routing::{Access, AccessRule, Coverage, RuleSource};

impl Shard {
    pub(super) fn explain(&self, ExplainRequest { client_id, action, standing, .. }: &ExplainRequest) -> Explanation {
        let everything =
            || Standing { access: Arc::new(Access::everything()), refusal: None, note: None, superuser: None };
        let Standing { access, refusal, note, superuser } = standing.clone().unwrap_or_else(everything);
        if let Some(refusal) = refusal {
            return Explanation { is_allowed: false, rule: None, reason: refusal.to_owned() };
        }
        let (judged, rule) = match action {
            ExplainedAction::Publish(topic) => {
                let publisher = SysPublisher { client_id: Some(client_id), access: &access, is_bridge: false };
                let judged = self.judge_publish(publisher, topic, 0);
                (judged.map(|()| Coverage::Whole), access.judge_publish(topic).rule)
            }
            ExplainedAction::Subscribe(filter) => {
                (self.judge_filter(&access, filter), access.judge_subscribe(filter).0.rule)
            }
        };
        let mut explanation = match judged {
            Ok(coverage) => Explanation {
                is_allowed: true,
                reason: why_allowed(rule, coverage, superuser.as_deref()),
                rule: rule.map(|rule| Arc::clone(&rule.source)).or(superuser),
            },
            Err(refusal) => refused(refusal, rule),
        };
        if let Some(note) = note {
            explanation.reason = format!("{}; {note}", explanation.reason);
        }
        explanation
    }
}

fn why_allowed(rule: Option<&AccessRule>, coverage: Coverage, superuser: Option<&RuleSource>) -> String {
    if let Some(source) = superuser {
        return format!("{source} makes the user a superuser");
    }
    match (rule, coverage) {
        (None, _) => "there is no ACL file, so every client that is accepted may".to_owned(),
        (Some(rule), Coverage::Whole) => format!("{} allows {}", rule.source, rule.topic_filter),
        (Some(rule), Coverage::Part) => {
            let (source, filter) = (&rule.source, &rule.topic_filter);
            format!("{source} allows {filter}: a part of the topics, so the topic of each message is checked")
        }
    }
}

/// `rule`: the rule that decides if the access rules do.
fn refused(refusal: Refusal, rule: Option<&AccessRule>) -> Explanation {
    let rule = rule.filter(|rule| refusal.source.as_ref() == Some(&rule.source));
    let reason = match rule {
        Some(rule) => format!("{} denies {}", rule.source, rule.topic_filter),
        None => refusal.rule.to_string(),
    };
    Explanation { is_allowed: false, rule: refusal.source, reason }
}
