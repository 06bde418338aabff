use std::borrow::Cow;
use std::fmt;

use axum::http::StatusCode;
use axum::http::header::WWW_AUTHENTICATE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::json::Json;
use crate::server::QueryError;

/// Why a request is not carried out: the code of the response, and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::admin) struct Failure {
    code: StatusCode,
    text: Cow<'static, str>,
}

/// The body of each response with a code from 400 on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(super) struct ErrorJson {
    /// What is wrong, for people.
    error: String,
}

impl ErrorJson {
    pub(super) const fn new(error: String) -> Self {
        Self { error }
    }
}

impl Failure {
    /// 400: the request can't be right.
    pub(in crate::admin) fn bad_request(text: impl Into<Cow<'static, str>>) -> Self {
        Self { code: StatusCode::BAD_REQUEST, text: text.into() }
    }

    /// 401: the request has no valid token or certificate.
    pub(in crate::admin) fn unauthorized(text: impl Into<Cow<'static, str>>) -> Self {
        Self { code: StatusCode::UNAUTHORIZED, text: text.into() }
    }

    /// 403: the caller may not.
    pub(in crate::admin) fn forbidden(text: impl Into<Cow<'static, str>>) -> Self {
        Self { code: StatusCode::FORBIDDEN, text: text.into() }
    }

    /// 404: there is no such thing.
    pub(in crate::admin) fn not_found(text: impl Into<Cow<'static, str>>) -> Self {
        Self { code: StatusCode::NOT_FOUND, text: text.into() }
    }

    /// 409: the state of the thing does not permit it.
    pub(in crate::admin) fn conflict(text: impl Into<Cow<'static, str>>) -> Self {
        Self { code: StatusCode::CONFLICT, text: text.into() }
    }

    /// 413: the body is too large.
    pub(in crate::admin) fn too_large(text: impl Into<Cow<'static, str>>) -> Self {
        Self { code: StatusCode::PAYLOAD_TOO_LARGE, text: text.into() }
    }

    /// 503: not now; the same request may succeed later.
    pub(in crate::admin) fn unavailable(text: impl Into<Cow<'static, str>>) -> Self {
        Self { code: StatusCode::SERVICE_UNAVAILABLE, text: text.into() }
    }

    /// 500: a mistake of the broker.
    pub(in crate::admin) fn internal(text: impl Into<Cow<'static, str>>) -> Self {
        Self { code: StatusCode::INTERNAL_SERVER_ERROR, text: text.into() }
    }

    /// A shard sent an answer to another question.
    pub(in crate::admin) fn unexpected_answer() -> Self {
        Self::internal("a shard sent an answer of the wrong type")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self { code, text } = self;
        let body = Json(ErrorJson::new(text.into_owned()));
        match code {
            StatusCode::UNAUTHORIZED => (code, [(WWW_AUTHENTICATE, "Bearer")], body).into_response(),
            _ => (code, body).into_response(),
        }
    }
}
