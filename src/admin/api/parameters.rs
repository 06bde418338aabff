//! The query of a request, the body, and where the next page of a list begins.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::failure::Failure;
use crate::broker::{ClientPattern, PAGE_MAX};

/// The query parameters of a request, percent-decoded. A plus sign stands for itself, because Topic Filters have it.
///
/// Names that the OpenAPI document does not have for the route never reach a handler.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::admin) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Parses the part of a URL behind the question mark.
    pub(in crate::admin) fn parse(query: &str) -> Result<Self, Failure> {
        let mut parameters = Self::default();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            if parameters.text(&name).is_some() {
                return Err(Failure::bad_request(format!("the parameter {name:?} is there twice")));
            }
            if parameters.0.len() == PARAMETERS_MAX {
                return Err(Failure::bad_request("there are too many parameters"));
            }
            parameters.0.push((name, value));
        }
        Ok(parameters)
    }

    /// The names of all.
    pub(in crate::admin) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// A text; `None`: it is not there.
    pub(in crate::admin) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// `true` or `false`; `None`: it is not there.
    pub(in crate::admin) fn flag(&self, name: &str) -> Result<Option<bool>, Failure> {
        let parse =
            |text: &str| text.parse().map_err(|_| Failure::bad_request(format!("{name} must be true or false")));
        self.text(name).map(parse).transpose()
    }

    /// A whole number in this range; `None`: it is not there.
    pub(in crate::admin) fn number(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Failure> {
        let (from, to) = (range.start(), range.end());
        let parse = |text: &str| {
            let number = text.parse().ok().filter(|number| range.contains(number));
            number.ok_or_else(|| Failure::bad_request(format!("{name} must be from {from} to {to}")))
        };
        self.text(name).map(parse).transpose()
    }

    /// The pattern of Client Identifiers `client_id`; `None`: it is not there.
    pub(in crate::admin) fn client_pattern(&self) -> Result<Option<ClientPattern>, Failure> {
        match self.text("client_id") {
            Some(pattern) if pattern.len() > PATTERN_BYTES_MAX => {
                Err(Failure::bad_request(format!("client_id must have at most {PATTERN_BYTES_MAX} bytes")))
            }
            pattern => Ok(pattern.map(ClientPattern::new)),
        }
    }

    /// The greatest number of entries of the page: `limit`, from 1 to 1,000, by default 100.
    pub(in crate::admin) fn limit(&self) -> Result<usize, Failure> {
        let limit = self.number("limit", 1..=PAGE_MAX as u64)?.and_then(|limit| usize::try_from(limit).ok());
        Ok(limit.unwrap_or(LIMIT_DEFAULT))
    }

    /// Where the page begins: `cursor`, by default the beginning of the list.
    pub(in crate::admin) fn cursor<C: FromStr + Default>(&self) -> Result<C, Failure> {
        let parse = |text: &str| text.parse().map_err(|_| Failure::bad_request("the cursor is invalid"));
        self.text("cursor").map(parse).transpose().map(Option::unwrap_or_default)
    }
}

fn decoded(text: &str) -> Result<String, Failure> {
    let decoded = percent_decode_str(text).decode_utf8();
    Ok(decoded.map_err(|_| Failure::bad_request("a parameter is not UTF-8 text"))?.into_owned())
}

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Self::parse(parts.uri.query().unwrap_or_default())
    }
}

/// A JSON body, whatever the Content-Type says.
#[derive(Debug)]
pub(in crate::admin) struct Body<T>(pub(in crate::admin) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            match rejection.into_response().status() {
                StatusCode::PAYLOAD_TOO_LARGE => Failure::too_large("the body is too large"),
                _ => Failure::bad_request("the body ended early"),
            }
        })?;
        let wrong =
            |error: serde_json::Error| Failure::bad_request(format!("the body is not as it should be: {error}"));
        serde_json::from_slice(&bytes).map(Self).map_err(wrong)
    }
}

/// Where the next page begins in a list that the shards have. Shards are listed in order, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::admin) struct ShardCursor {
    pub(in crate::admin) shard: u16,
    pub(in crate::admin) from: u64,
}

impl FromStr for ShardCursor {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let parse = || {
            let (shard, from) = text.split_once('-')?;
            Some(Self { shard: shard.parse().ok()?, from: from.parse().ok()? })
        };
        parse().ok_or_else(|| Failure::bad_request("the cursor is invalid"))
    }
}

impl fmt::Display for ShardCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.shard, self.from)
    }
}

/// Entries of a page without `limit`.
const LIMIT_DEFAULT: usize = 100;
/// As in `log.clients`: the time of a test grows with it.
const PATTERN_BYTES_MAX: usize = 256;
/// No route has as many.
const PARAMETERS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cursor_parses_back_and_other_texts_are_refused() {
        let cursor = ShardCursor { shard: 3, from: u64::MAX };
        assert_eq!(cursor.to_string().parse::<ShardCursor>().unwrap(), cursor);
        for text in ["", "-", "1", "1-", "-1", "1--1", "70000-1", "a-b", "1-1-1"] {
            assert!(text.parse::<ShardCursor>().is_err(), "{text}");
        }
    }

    #[test]
    fn limit_and_cursor_are_bounded() {
        let of = |query: &str| {
            let parameters = Parameters::parse(query)?;
            Ok::<_, Failure>((parameters.limit()?, parameters.cursor::<ShardCursor>()?))
        };
        assert_eq!(of("").unwrap(), (LIMIT_DEFAULT, ShardCursor::default()));
        assert_eq!(of("limit=7&cursor=1-2").unwrap(), (7, ShardCursor { shard: 1, from: 2 }));
        for query in ["limit=0", "limit=1001", "limit=-1", "limit", "cursor=x", "limit=1&limit=1", "limit=1&lim%69t=2"]
        {
            assert!(of(query).is_err(), "{query}");
        }
    }

    #[test]
    fn values_are_percent_decoded_and_a_plus_sign_is_itself() {
        let parameters = Parameters::parse("filter=a/+/%23&x=%C3%A9%20&flag=true&empty").unwrap();
        assert_eq!(parameters.text("filter"), Some("a/+/#"));
        assert_eq!(parameters.text("x"), Some("é "));
        assert_eq!(parameters.flag("flag"), Ok(Some(true)));
        assert_eq!(parameters.flag("other"), Ok(None));
        assert!(parameters.flag("x").is_err() && parameters.number("x", 0..=1).is_err());
        assert_eq!(parameters.text("empty"), Some(""));
        let pattern =
            |bytes: usize| Parameters::parse(&format!("client_id={}", "a".repeat(bytes))).unwrap().client_pattern();
        assert_eq!((pattern(256).is_ok(), pattern(257).is_err()), (true, true));
        assert!(Parameters::parse("a=%FF").is_err());
    }

    proptest! {
        #[test]
        fn no_query_causes_a_panic_and_names_are_told_apart(query: String) {
            if let Ok(parameters) = Parameters::parse(&query) {
                let mut names: Vec<_> = parameters.names().collect();
                names.sort_unstable();
                prop_assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
            }
        }
    }
}
