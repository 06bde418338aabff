//! The settings of providers of the type `postgresql`.

mod database;
mod query;

pub use database::{Database, Place};
pub use query::{Placeholder, Query};

/// What a provider says about its database.
pub(super) struct Settings<'a> {
    pub(super) url: Option<&'a str>,
    pub(super) tls: Option<bool>,
    pub(super) has_ca: bool,
    pub(super) query: Option<&'a str>,
    pub(super) acl_query: Option<&'a str>,
    pub(super) connections_max: Option<u16>,
}

impl Settings<'_> {
    /// Checks what the types do not express.
    pub(super) fn check(&self, problem: &mut impl FnMut(&str, &str)) {
        match self.url.map(Database::parse) {
            None => problem("url", "is missing: it names the server, the role and the database"),
            Some(Err(text)) => problem("url", text),
            Some(Ok(database)) => self.check_encryption(&database, problem),
        }
        match self.query.map(Query::parse) {
            None => problem("query", "is missing: it gives the password of a client"),
            Some(Err(text)) => problem("query", &text),
            Some(Ok(_)) => {}
        }
        if let Some(Err(text)) = self.acl_query.map(Query::parse) {
            problem("acl_query", &text);
        }
        if self.connections_max.is_some_and(|max| max > CONNECTIONS_MAX) {
            problem("connections_max", "must be at most 64: each is a process of the server");
        }
    }

    fn check_encryption(&self, database: &Database, problem: &mut impl FnMut(&str, &str)) {
        let is_encrypted = database.is_encrypted(self.tls, self.has_ca);
        if self.tls == Some(true) && !is_encrypted {
            problem("tls", "can't be true for a Unix socket");
        }
        if self.has_ca && !is_encrypted {
            problem("ca", "has no effect: the connection is not encrypted");
        }
    }
}

const CONNECTIONS_MAX: u16 = 64;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::super::{Config, Provider, ProviderKind};

    fn provider() -> Provider {
        Provider {
            url: Some("postgresql://mqtt@127.0.0.1/iot".to_owned()),
            query: Some("SELECT password_hash FROM u WHERE name = ${username}".to_owned()),
            ..Provider::new(ProviderKind::PostgreSql)
        }
    }

    fn keys(provider: Provider) -> Vec<String> {
        let config = Config { auth: vec![provider], ..Config::default() };
        config.problems().into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn a_provider_needs_a_server_and_a_query() {
        assert_eq!(keys(provider()), [""; 0]);
        assert_eq!(keys(Provider::new(ProviderKind::PostgreSql)), ["auth[0].url", "auth[0].query"]);
        let unquoted = Some("SELECT 1 WHERE a = '${username}'".to_owned());
        assert_eq!(keys(Provider { query: unquoted.clone(), ..provider() }), ["auth[0].query"]);
        assert_eq!(keys(Provider { acl_query: unquoted, ..provider() }), ["auth[0].acl_query"]);
        assert_eq!(keys(Provider { connections_max: NonZeroU16::new(65), ..provider() }), ["auth[0].connections_max"]);
        assert_eq!(keys(Provider { kind: ProviderKind::Certificate, ..provider() }), ["auth[0].query", "auth[0].url"]);
        assert_eq!(
            keys(Provider { password_file: Some("/does/not/exist".into()), ..provider() }),
            ["auth[0].password_file"]
        );
    }

    #[test]
    fn authorities_and_encryption_do_not_contradict_each_other() {
        let file = std::env::current_exe().unwrap();
        let far = || Provider { url: Some("postgresql://mqtt@db.example.com/iot".to_owned()), ..provider() };
        let socket = || Provider { url: Some("postgresql://mqtt@%2Frun/iot".to_owned()), ..provider() };
        for good in [
            far(),
            Provider { ca: Some(file.clone()), ..far() },
            Provider { tls: Some(false), ..far() },
            Provider { tls: Some(true), ..provider() },
            Provider { ca: Some(file.clone()), ..provider() },
            socket(),
        ] {
            assert_eq!(keys(good.clone()), [""; 0], "{good:?}");
        }
        assert_eq!(keys(Provider { tls: Some(false), ca: Some(file.clone()), ..far() }), ["auth[0].ca"]);
        assert_eq!(keys(Provider { tls: Some(true), ..socket() }), ["auth[0].tls"]);
        assert_eq!(keys(Provider { ca: Some(file), ..socket() }), ["auth[0].ca"]);
    }
}
