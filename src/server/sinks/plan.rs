//! What a sink does: its settings with what its files have.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use axum::http::Uri;
use tokio_rustls::rustls::RootCertStore;

use crate::config::{self, Config, ServiceUrl, SinkOrder};
use crate::http_client::{HttpClient, Reach, Resolver, Trust, read_authorities, system_authorities};
use crate::rewrite::{RewriteAction, RewriteRules, Whose};
use crate::server::own_client::Kind;
use crate::sink::{Order, Settings};
use crate::topic::TopicName;

/// The settings of a sink, and the contents of its files. Two that are equal do the same.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) settings: config::Sink,
    pub(super) url: ServiceUrl,
    headers: Vec<(String, String)>,
    pub(super) secret: Option<Vec<u8>>,
    authorities: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    pub(super) dead_letter_topic: Option<TopicName>,
    /// The filters of its Session: those of the settings, as the rules for topics replace them.
    pub(super) filters: Vec<String>,
}

/// Nothing of the files, and of the URL what its host is.
impl fmt::Debug for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Plan").field("name", &self.settings.name).finish_non_exhaustive()
    }
}

impl Plan {
    /// Reads the files.
    ///
    /// # Errors
    /// One can't be read or used: the text says which and why, and has nothing of its contents.
    pub(super) fn read(settings: &config::Sink, config: &Config) -> Result<Self, String> {
        let of = |setting: &'static str| move |reason: String| format!("{setting} {reason}");
        let url_setting = if settings.url.is_some() { "url" } else { "url_file" };
        let bytes = |setting: &'static str, path: &Path, read: fn(&Path) -> std::io::Result<Vec<u8>>| {
            read(path).map_err(|error| format!("{setting} cannot be read: {}: {error}", path.display()))
        };
        let authorities = settings.ca.as_deref().map(|path| bytes("ca", path, read_authorities)).transpose()?;
        let identity = match (&settings.certificate, &settings.key) {
            (Some(certificate), Some(key)) => {
                Some((bytes("certificate", certificate, read_pem)?, bytes("key", key, read_pem)?))
            }
            (Some(_) | None, _) => None,
        };
        Ok(Self {
            settings: settings.clone(),
            url: settings.target().map_err(of(url_setting))?,
            headers: settings.headers().map_err(of("headers_file"))?,
            secret: settings.secret().map_err(of("secret_file"))?,
            authorities,
            identity,
            dead_letter_topic: config
                .mqtt
                .dead_letter_topic
                .as_deref()
                .and_then(|topic| TopicName::try_from(topic).ok()),
            filters: filters(settings, config),
        })
    }

    /// Sends its requests. `system` are the authorities of the operating system, once a sink has needed them.
    ///
    /// # Errors
    /// A file can't be used: the text says which.
    pub(super) fn client(&self, system: &mut Option<Arc<RootCertStore>>) -> Result<HttpClient, String> {
        if system.is_none() && self.authorities.is_none() && self.url.is_encrypted {
            *system = Some(system_authorities().map_err(|error| error.to_string())?);
        }
        let trust = match (&self.authorities, system) {
            (None, Some(system)) if self.url.is_encrypted => Trust::Shared(system),
            (authorities, _) => Trust::of(authorities.as_deref(), self.url.is_encrypted),
        };
        let identity = self.identity.as_ref().map(|(certificate, key)| (&**certificate, &**key));
        let reach = if self.settings.allow_private_addresses { Reach::Anywhere } else { Reach::Public };
        let bounds = (self.settings.timeout, usize::from(self.settings.requests_max.get()));
        let resolver = Resolver::with_threads(reach, RESOLVERS_MAX);
        let client = HttpClient::with_resolver((trust, identity), &self.headers, bounds, resolver);
        client.map_err(|error| error.to_string())
    }

    /// What the rules of the requests need.
    pub(super) fn machine_settings(&self) -> Settings {
        let settings = &self.settings;
        Settings {
            order: match settings.order {
                SinkOrder::Topic => Order::Topic,
                SinkOrder::None => Order::None,
                SinkOrder::All => Order::All,
            },
            batch_max: usize::from(settings.batch_max.get()),
            batch_bytes_max: settings.batch_bytes_max as usize,
            batch_wait: if settings.batch_max.get() > 1 { settings.batch_wait } else { Default::default() },
            requests_max: usize::from(settings.requests_max.get()),
            unacknowledged_max: usize::from(settings.inflight_max.get()),
            retry_min: settings.retry_min,
            retry_max: settings.retry_max,
            retries_max: settings.retries_max,
            dead_letter_topic: self.dead_letter_topic.clone(),
        }
    }

    /// Scheme, host and port of its requests, for people: the path may be a secret.
    pub(super) fn endpoint(&self) -> Arc<str> {
        endpoint(&self.url.uri).into()
    }
}

fn filters(settings: &config::Sink, config: &Config) -> Vec<String> {
    let rules = RewriteRules::new(config.topic_rewrite.iter().filter_map(|rule| rule.compile().ok()));
    let client_id = Kind::Sink.client_id(&settings.name);
    let whose = Whose { client_id: client_id.as_str(), user: Some(settings.user_name()) };
    // A filter without a valid replacement is refused when the sink subscribes.
    let replaced = |filter: &String| rules.replace(RewriteAction::Subscribe, filter, whose).ok().flatten();
    settings.filters.iter().map(|filter| replaced(filter).unwrap_or_else(|| filter.clone())).collect()
}

fn endpoint(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    format!("{}://{authority}", uri.scheme_str().unwrap_or_default())
}

/// The PEM text of a certificate or a key.
fn read_pem(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut pem = Vec::new();
    File::open(path)?.take(PEM_BYTES_MAX).read_to_end(&mut pem)?;
    Ok(pem)
}

/// Look-ups of the name of a sink at the same time: a name server that does not answer concerns one sink.
const RESOLVERS_MAX: usize = 2;
/// A chain of a few certificates.
const PEM_BYTES_MAX: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_see_has_neither_the_path_nor_the_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, "a-secret-of-16-bytes").unwrap();
        let text = format!(
            "name = 'a'\ntype = 'webhook'\nfilters = ['a']\nurl = 'https://hooks.example.org:8443/T0/geheim?key=geheim'\nsecret_file = '{}'",
            path.display()
        );
        let plan = Plan::read(&toml::from_str(&text).unwrap(), &Config::default()).unwrap();
        assert_eq!(&*plan.endpoint(), "https://hooks.example.org:8443");
        assert_eq!(format!("{plan:?}"), "Plan { name: \"a\", .. }");
        assert_eq!(plan.secret.as_deref(), Some(&b"a-secret-of-16-bytes"[..]));
    }
}
