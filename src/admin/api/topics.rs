//! Asks the shards about topics.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::failure::Failure;
use super::parameters::Parameters;
use super::state::ApiState;
use crate::broker::{Answer, Query, TopicAnswer, TopicQuery};
use crate::routing::{SessionKey, ShardId, SubscriptionPlace};
use crate::topic::{Filter, ShareName, TopicName};

/// Asks a shard.
pub(super) async fn ask(state: &ApiState, shard: ShardId, query: TopicQuery) -> Result<TopicAnswer, Failure> {
    let Answer::Topics(answer) = state.queries.ask(shard, Query::Topics(query)).await? else {
        return Err(Failure::unexpected_answer());
    };
    Ok(answer)
}

/// A filter as clients write it, with or without `$share/NAME/`.
pub(super) fn filter_of(text: &str) -> Result<Filter, Failure> {
    Filter::try_from(text).map_err(|error| Failure::bad_request(format!("the filter is invalid: {error}")))
}

/// A Topic Name.
pub(super) fn topic_of(text: &str) -> Result<TopicName, Failure> {
    TopicName::try_from(text).map_err(|error| Failure::bad_request(format!("the topic is invalid: {error}")))
}

/// A parameter that must be there.
pub(super) fn required<'a>(parameters: &'a Parameters, name: &str) -> Result<&'a str, Failure> {
    parameters.text(name).ok_or_else(|| Failure::bad_request(format!("the parameter {name} is needed")))
}

/// The shard that answers for all.
pub(super) const ANY_SHARD: ShardId = ShardId(0);
/// Queries of one request. A page is shorter, or empty, if few of the entries that were visited are wanted.
pub(super) const QUERIES_PER_REQUEST_MAX: usize = 128;

/// Where the next page begins in a list of subscriptions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct PlaceCursor(pub(super) SubscriptionPlace);

impl FromStr for PlaceCursor {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let parse = || {
            let mut parts = text.splitn(3, '-');
            let (filter, session) = (parts.next()?.parse().ok()?, SessionKey(parts.next()?.parse().ok()?));
            let share = match parts.next() {
                None => None,
                Some(name) => {
                    let name = String::from_utf8(URL_SAFE_NO_PAD.decode(name).ok()?).ok()?;
                    Some(ShareName::new(name.into()).ok()?)
                }
            };
            Some(Self(SubscriptionPlace { filter, share, session }))
        };
        parse().ok_or_else(|| Failure::bad_request("the cursor is invalid"))
    }
}

impl fmt::Display for PlaceCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SubscriptionPlace { filter, share, session } = &self.0;
        write!(formatter, "{filter}-{}", session.0)?;
        match share {
            Some(name) => write!(formatter, "-{}", URL_SAFE_NO_PAD.encode(name.as_str())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_place_parses_back_and_other_texts_are_no_panic(filter: u32, session: u64, share in "[^/+#\\x00-\\x1F]{0,9}", other: String) {
            let share = ShareName::new(share.into()).ok();
            let cursor = PlaceCursor(SubscriptionPlace { filter, share, session: SessionKey(session) });
            let text = cursor.to_string();
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')));
            prop_assert_eq!(text.parse::<PlaceCursor>(), Ok(cursor));
            let _ = other.parse::<PlaceCursor>();
        }
    }

    #[test]
    fn wrong_places_are_refused() {
        for text in ["", "1", "1-", "-1", "1-2-", "1-2-*", "x-1", "1--1", "4294967296-1"] {
            assert!(text.parse::<PlaceCursor>().is_err(), "{text}");
        }
    }
}
