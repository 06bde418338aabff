//! Whether the publisher of a retained message may still publish to its topic.
//!
//! A message has the user and the Client Identifier of its publisher. When it is replayed, its right is judged by the access rules in force, once
//! for each generation of the rules and not at all for messages that nobody asks for; see [`PublishRight`](crate::routing::PublishRight). A message
//! whose publisher has lost the right is not sent and not deleted: with the right, it comes back.

use std::fmt;
use std::sync::Arc;

use crate::codec::ClientId;
use crate::routing::{Access, RetainedMessage, User};
use crate::topic::TopicName;

/// What clients may publish by the access rules in force, whether they are connected or not. Shards have only the rules of their Sessions.
pub trait CurrentRights: fmt::Debug + Send + Sync {
    /// The generation of the rules. Answers may differ only if it differs.
    fn generation(&self) -> u64;

    /// The rules that decide whether a client may publish to `topic`. `user` is its verified user. They may be put together for each call, which takes
    /// time for each rule.
    fn access(&self, client_id: &ClientId, user: Option<&User>, topic: &TopicName) -> Arc<Access>;
}

/// The check of the messages of one replay.
#[derive(Debug)]
pub(in crate::broker) struct SourceCheck {
    rights: Arc<dyn CurrentRights>,
    generation: u64,
}

impl SourceCheck {
    /// By the rights of the current generation.
    pub(in crate::broker) fn new(rights: &Arc<dyn CurrentRights>) -> Self {
        Self { rights: Arc::clone(rights), generation: rights.generation() }
    }

    /// Whether [`allows`](Self::allows) has to judge the publisher of `retained`.
    pub(in crate::broker) fn must_judge(&self, retained: &RetainedMessage) -> bool {
        retained.publisher.is_some() && retained.right.at(self.generation).is_none()
    }

    /// Whether the publisher of `retained` may still publish it. If that must be judged, it consumes `visits`, more with many rules.
    pub(in crate::broker) fn allows(&self, retained: &RetainedMessage, visits: &mut usize) -> bool {
        if let Some(is_allowed) = retained.right.at(self.generation) {
            return is_allowed;
        }
        let Some(client_id) = &retained.publisher else { return true };
        let topic = &retained.message.topic;
        let access = self.rights.access(client_id, retained.user.as_deref(), topic);
        *visits = visits.saturating_sub(cost(access.rules()));
        let is_allowed = access.publish(topic).is_ok();
        retained.right.judge(self.generation, is_allowed);
        is_allowed
    }
}

/// The cost of a judgement, in visits of nodes: one, and one more for every eight rules.
const fn cost(rules: usize) -> usize {
    1 + rules / 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Message, Qos};
    use crate::routing::{AccessAction, AccessRule, Current, Effect, PublishRight, RuleSource};
    use crate::topic::TopicFilter;

    /// Rights of clients that have this number of rules; each rule allows another topic.
    #[derive(Debug)]
    struct Rules(usize);

    impl CurrentRights for Rules {
        fn generation(&self) -> u64 {
            7
        }

        fn access(&self, _client_id: &ClientId, _user: Option<&User>, _topic: &TopicName) -> Arc<Access> {
            let rule = |number: usize| AccessRule {
                effect: Effect::Allow,
                action: AccessAction::Both,
                topic_filter: TopicFilter::new(format!("t/{number}").into()).unwrap(),
                source: Arc::new(RuleSource { file: "acl".into(), line: number, text: "".into() }),
            };
            Arc::new(Access::new((0..self.0).map(rule).collect()))
        }
    }

    #[test]
    fn a_judgement_consumes_visits_for_each_rule_once_in_a_generation() {
        let retained = RetainedMessage {
            message: Arc::new(Message::new(TopicName::try_from("t/999").unwrap(), "x")),
            qos: Qos::AtLeastOnce,
            expires_at: None,
            publisher: Some(ClientId::from("c")),
            user: None,
            right: PublishRight::unjudged(),
            number: 1,
            sequences: None,
            current: Current::default(),
        };
        for (rules, is_allowed) in [(0, false), (999, false), (1_000, true)] {
            let rights: Arc<dyn CurrentRights> = Arc::new(Rules(rules));
            let (check, retained, mut visits) = (SourceCheck::new(&rights), retained.clone(), 4_096);
            assert_eq!(check.allows(&retained, &mut visits), is_allowed);
            assert_eq!(visits, 4_096 - cost(rules));
            assert_eq!((check.allows(&retained, &mut visits), visits), (is_allowed, 4_096 - cost(rules)));
        }
    }
}
