//! The HTTP client of the broker: requests to services that the operator names, with a bound for each answer.
//!
//! It follows no redirect, trusts the authorities of a file or of the operating system, and keeps a few connections for the next requests.

mod resolver;

use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::timeout;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::server_trust::{self, NameCheck, ServerVerifier, TrustError};

pub(crate) use resolver::{Reach, Resolver};

/// Sends requests. Each has to be polled within a tokio runtime, always the same one.
#[derive(Debug)]
pub(crate) struct HttpClient {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Body>,
    reach: Reach,
    headers: HeaderMap,
}

/// Which authorities may certify a server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trust<'a> {
    /// No server is encrypted.
    Nobody,
    /// Those of the operating system.
    System,
    /// Those of this PEM text.
    Only(&'a [u8]),
    /// These, which several clients share.
    Shared(&'a Arc<RootCertStore>),
}

impl<'a> Trust<'a> {
    /// For a server that `is_encrypted` or is not, with the PEM text of a file if one is named.
    pub(crate) fn of(authorities: Option<&'a [u8]>, is_encrypted: bool) -> Self {
        match authorities {
            Some(pem) => Self::Only(pem),
            None if is_encrypted => Self::System,
            None => Self::Nobody,
        }
    }
}

/// The PEM text of a file with authorities.
pub(crate) fn read_authorities(path: &Path) -> io::Result<Vec<u8>> {
    let mut pem = Vec::new();
    File::open(path)?.take(AUTHORITIES_BYTES_MAX).read_to_end(&mut pem)?;
    Ok(pem)
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("the file with trusted authorities: {0}")]
    Pem(#[from] pem::Error),
    #[error("the file with trusted authorities has no certificate")]
    Empty,
    #[error("the operating system has no trusted authorities: name a file with ca")]
    NoSystemAuthorities,
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the file with trusted authorities: {0}")]
    Trust(#[from] TrustError),
    #[error("a header has a name or a value that can't be sent")]
    Header,
    #[error("the certificate or its key: {0}")]
    Identity(pem::Error),
}

/// The PEM texts of a certificate with its chain, and of its private key, by which servers know the broker.
pub(crate) type Identity<'a> = Option<(&'a [u8], &'a [u8])>;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    #[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "they matter to the export of traces alone"))]
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is no answer. No text has a part of the request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("{0}")]
    NotSent(String),
    #[error("no answer in time")]
    Late,
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    #[error("the answer is cut short")]
    CutShort,
}

impl HttpClient {
    /// A client that sends these headers with each request, and keeps at most `idle_max` connections for later ones.
    pub(crate) fn new(
        trust: Trust<'_>,
        headers: &[(String, String)],
        (connect_timeout, idle_max): (Duration, usize),
    ) -> Result<Self, ClientError> {
        Self::with_resolver((trust, None), headers, (connect_timeout, idle_max), Resolver::new(Reach::Anywhere))
    }

    /// The same, with what servers know the broker by, and with the addresses that it may connect to.
    pub(crate) fn with_resolver(
        (trust, identity): (Trust<'_>, Identity<'_>),
        headers: &[(String, String)],
        (connect_timeout, idle_max): (Duration, usize),
        resolver: Resolver,
    ) -> Result<Self, ClientError> {
        let reach = resolver.reach();
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(connect_timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls_config_as(trust, identity)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(idle_max)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(connector);
        Ok(Self { client, reach, headers: own_headers(headers)? })
    }

    /// Posts a body of this type, and reads an answer of the same type of at most `answer_max` bytes.
    pub(crate) async fn post(
        &self,
        uri: &Uri,
        (content_type, body): (&'static str, Bytes),
        answer_max: usize,
    ) -> Result<Answer, RequestError> {
        let request = || {
            let mut request = self.request(Method::POST, uri, (content_type, Body::from(body.clone())));
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            request
        };
        read(self.send(request).await?, answer_max).await
    }

    /// Posts JSON with these headers, and returns the status and the headers of the answer, if they come within this time. Its body is read up to
    /// [`REST_BYTES_MAX`] and for [`REST_TIME_MAX`], so that the connection can be used again, and is not kept.
    pub(crate) async fn deliver(
        &self,
        uri: &Uri,
        (headers, body): (HeaderMap, Bytes),
        within: Duration,
    ) -> Result<(StatusCode, HeaderMap), RequestError> {
        let request = || {
            let mut request = self.request(Method::POST, uri, ("application/json", Body::from(body.clone())));
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            request.headers_mut().extend(headers.clone());
            request
        };
        let sending = timeout(within, self.send(request)).await;
        let (head, rest) = sending.unwrap_or_else(|_| Err(RequestError::Late))?.into_parts();
        // What is longer, slower or broken ends the connection; the status has come.
        let _read_or_not = timeout(REST_TIME_MAX, to_bytes(Body::new(rest), REST_BYTES_MAX)).await;
        Ok((head.status, head.headers))
    }

    /// Gets an answer in JSON of at most `answer_max` bytes.
    pub(crate) async fn get(&self, uri: &Uri, answer_max: usize) -> Result<Answer, RequestError> {
        let request = || self.request(Method::GET, uri, ("application/json", Body::empty()));
        read(self.send(request).await?, answer_max).await
    }

    /// Sends a request; once more if that fails while it waits for the answer, because a server may close a connection that it has kept when
    /// the request is on its way.
    async fn send(&self, request: impl Fn() -> Request<Body>) -> Result<Response<Incoming>, RequestError> {
        let request = || {
            let request = request();
            self.reach
                .check_literal(request.uri())
                .map(|()| request)
                .map_err(|error| RequestError::NotSent(error.to_string()))
        };
        let first = match self.client.request(request()?).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        if first.is_connect() {
            return Err(RequestError::NotSent(causes(&first)));
        }
        self.client.request(request()?).await.map_err(|error| RequestError::NotSent(causes(&error)))
    }

    fn request(&self, method: Method, uri: &Uri, (accept, body): (&'static str, Body)) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().entry(ACCEPT).or_insert(HeaderValue::from_static(accept));
        request
    }
}

async fn read(response: Response<Incoming>, answer_max: usize) -> Result<Answer, RequestError> {
    let (head, body) = response.into_parts();
    let body = to_bytes(Body::new(body), answer_max).await.map_err(|error| {
        let mut cause = error.source();
        while let Some(error) = cause {
            if error.is::<hyper::Error>() {
                return RequestError::CutShort;
            }
            cause = error.source();
        }
        RequestError::TooLarge(answer_max)
    })?;
    Ok(Answer { status: head.status, headers: head.headers, body })
}

fn own_headers(further: &[(String, String)]) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("oncemq/", env!("CARGO_PKG_VERSION"))));
    for (name, text) in further {
        let name = HeaderName::try_from(name).map_err(|_| ClientError::Header)?;
        let mut value = HeaderValue::from_str(text).map_err(|_| ClientError::Header)?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

/// TLS with servers that these authorities certify.
pub(crate) fn tls_config(trust: Trust<'_>) -> Result<ClientConfig, ClientError> {
    tls_config_as(trust, None)
}

fn tls_config_as(trust: Trust<'_>, identity: Identity<'_>) -> Result<ClientConfig, ClientError> {
    let required = NameCheck::Required;
    let verifier = match trust {
        Trust::Nobody => ServerVerifier::of(Vec::new(), required)?,
        Trust::System => ServerVerifier::of_authorities(system_authorities()?, required)?,
        Trust::Only(pem) => {
            let trusted: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            let trusted = trusted?;
            if trusted.is_empty() {
                return Err(ClientError::Empty);
            }
            ServerVerifier::of(trusted, required)?
        }
        Trust::Shared(roots) => ServerVerifier::of_authorities(Arc::clone(roots), required)?,
    };
    let builder = server_trust::builder(Arc::new(verifier))?;
    let Some((certificates, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
    let key = PrivateKeyDer::from_pem_slice(key).map_err(ClientError::Identity)?;
    Ok(builder.with_client_auth_cert(chain.map_err(ClientError::Identity)?, key)?)
}

/// The authorities that the operating system trusts. To read them takes some milliseconds.
pub(crate) fn system_authorities() -> Result<Arc<RootCertStore>, ClientError> {
    server_trust::system_authorities().map_err(|_| ClientError::NoSystemAuthorities)
}

/// An error with what has caused it.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Shorter than common servers keep a connection without requests: Node.js closes it after 5 s.
const IDLE_MAX: Duration = Duration::from_secs(4);
/// The head of an answer, and what is read of its body at once.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Of the body of an answer of which the status alone matters.
const REST_BYTES_MAX: usize = 64 << 10;
const REST_TIME_MAX: Duration = Duration::from_secs(1);
/// The bundle of an operating system has a few hundred KiB.
const AUTHORITIES_BYTES_MAX: u64 = 4 << 20;
