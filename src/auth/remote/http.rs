//! A service of the operator, asked with HTTP: JSON in the request and in the answer.
//!
//! What a client has sent is only in the body of a request, as JSON: never in its URL or in a header.

mod answer;
mod question;

use std::hash::RandomState;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{StatusCode, Uri};
use bytes::Bytes;
use futures_util::FutureExt;
use serde::Serialize;

use super::super::error::AuthError;
use super::super::provider::Request;
use super::backend::{Asking, Backend, BackendFault, Grant, Reply};
use super::service::{REQUESTS_MAX, Service, TIMEOUT};
use crate::config::{self, ServiceUrl, read_headers};
use crate::http_client::{HttpClient, RequestError, Trust, read_authorities};
use question::{AuthorizeQuestion, Question};

/// The service of a provider of the kind `http`. See [`Service::new`].
pub(in crate::auth) fn http_service(
    settings: &config::Provider,
    fingerprints: (&RandomState, Option<&Arc<Service>>),
) -> Result<Arc<Service>, AuthError> {
    let fail = |cause: String| AuthError::Service { provider: settings.label().to_owned(), cause };
    let url = |text: &str| ServiceUrl::of(text).map_err(|cause| fail(format!("the URL {cause}")));
    // The validation of the configuration has found one.
    let authenticate = url(settings.url.as_deref().unwrap_or_default())?;
    let authorize = settings.authorize_url.as_deref().map(url).transpose()?;
    let is_encrypted = authenticate.is_encrypted || authorize.as_ref().is_some_and(|url| url.is_encrypted);
    let idle_max = settings.requests_max.map_or(REQUESTS_MAX, |max| usize::from(max.get())).min(IDLE_MAX);
    let bounds = (settings.timeout.unwrap_or(TIMEOUT), idle_max);
    let (client, material) = client(settings, is_encrypted, bounds)?;
    let backend = HttpBackend { client, authenticate: authenticate.uri, authorize: authorize.map(|url| url.uri) };
    Ok(Service::new(settings, Box::new(backend), material, fingerprints))
}

/// What a client is made of: its further headers, and the authorities that it trusts.
pub(in crate::auth) type Material = (Vec<(String, String)>, Option<Vec<u8>>);

/// The client of a provider with its files. `bounds`: see [`HttpClient::new`].
pub(in crate::auth) fn client(
    settings: &config::Provider,
    is_encrypted: bool,
    bounds: (Duration, usize),
) -> Result<(HttpClient, Material), AuthError> {
    let fail = |cause: String| AuthError::Service { provider: settings.label().to_owned(), cause };
    let headers = settings.headers_file.as_deref().map_or_else(|| Ok(Vec::new()), read_headers).map_err(fail)?;
    let read =
        |path: &PathBuf| read_authorities(path).map_err(|source| AuthError::Unreadable { path: path.clone(), source });
    let ca = settings.ca.as_ref().map(read).transpose()?;
    let trust = Trust::of(ca.as_deref(), is_encrypted);
    let client = HttpClient::new(trust, &headers, bounds).map_err(|error| fail(error.to_string()))?;
    Ok((client, (headers, ca)))
}

/// Asks the service.
#[derive(Debug)]
struct HttpBackend {
    client: HttpClient,
    authenticate: Uri,
    authorize: Option<Uri>,
}

impl Backend for HttpBackend {
    fn ask<'a>(&'a self, request: &'a Request) -> Asking<'a> {
        async move {
            let reply = match self.post(&self.authenticate, &Question::of(request)).await? {
                (StatusCode::NO_CONTENT, _) => Some(Reply::Allow(Grant::default())),
                (_, body) => answer::judgement(&body)?,
            };
            match (reply, &self.authorize) {
                (Some(Reply::Allow(grant)), Some(uri)) => self.authorize(uri, grant, request).await.map(Some),
                (reply, _) => Ok(reply),
            }
        }
        .boxed()
    }
}

impl HttpBackend {
    /// Asks which topics an accepted client may use.
    async fn authorize(&self, uri: &Uri, grant: Grant, request: &Request) -> Result<Reply, BackendFault> {
        match self.post(uri, &AuthorizeQuestion::of(request, grant.user.as_deref())).await? {
            (StatusCode::NO_CONTENT, _) => Err(BackendFault::Invalid("authorize_url answers without acl".to_owned())),
            (_, body) => answer::authorization(&body, grant),
        }
    }

    /// The status, 200 or 204, and the body of an answer.
    async fn post(&self, uri: &Uri, question: &impl Serialize) -> Result<(StatusCode, Bytes), BackendFault> {
        let body = serde_json::to_vec(question).map_err(|error| BackendFault::Invalid(error.to_string()))?;
        let answer = self.client.post(uri, ("application/json", body.into()), ANSWER_BYTES_MAX).await;
        let answer = answer.map_err(|error| match error {
            RequestError::NotSent(_) | RequestError::Late => BackendFault::Unreachable(error.to_string()),
            RequestError::TooLarge(_) | RequestError::CutShort => BackendFault::Invalid(error.to_string()),
        })?;
        match answer.status {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok((answer.status, answer.body)),
            status if status.is_redirection() => {
                Err(BackendFault::Invalid(format!("it answers {status}, and no redirect is followed")))
            }
            status => Err(BackendFault::Invalid(format!("it answers {status}"))),
        }
    }
}

/// An answer with 1,024 topic filters has its place in it.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Connections that are kept for the next requests.
const IDLE_MAX: usize = 16;
