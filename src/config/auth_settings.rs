use std::num::NonZeroU16;

use super::auth::{Provider, ProviderKind};
use super::postgresql;

impl Provider {
    /// The settings that have no effect, because they are of another type, with what to say about them.
    pub(super) fn out_of_place(&self) -> Vec<(&'static str, String)> {
        let of_one_type = [
            ("file", ProviderKind::PasswordFile, self.file.is_some() && self.kind != ProviderKind::Scram),
            ("secret_file", ProviderKind::Jwt, self.secret_file.is_some()),
            ("public_key_file", ProviderKind::Jwt, self.public_key_file.is_some()),
            ("jwks_url", ProviderKind::Jwt, self.jwks_url.is_some()),
            ("jwks_refresh", ProviderKind::Jwt, self.jwks_refresh.is_some()),
            ("algorithms", ProviderKind::Jwt, self.algorithms.is_some()),
            ("from", ProviderKind::Jwt, self.from.is_some()),
            ("user_claim", ProviderKind::Jwt, self.user_claim.is_some()),
            ("required_claims", ProviderKind::Jwt, self.required_claims.is_some()),
            ("require_exp", ProviderKind::Jwt, self.require_exp.is_some()),
            ("leeway", ProviderKind::Jwt, self.leeway.is_some()),
            ("acl_claim", ProviderKind::Jwt, self.acl_claim.is_some()),
            ("password_file", ProviderKind::PostgreSql, self.password_file.is_some()),
            ("tls", ProviderKind::PostgreSql, self.tls.is_some()),
            ("query", ProviderKind::PostgreSql, self.query.is_some()),
            ("acl_query", ProviderKind::PostgreSql, self.acl_query.is_some()),
            ("connections_max", ProviderKind::PostgreSql, self.connections_max.is_some()),
            ("authorize_url", ProviderKind::Http, self.authorize_url.is_some()),
            ("headers_file", ProviderKind::Http, self.headers_file.is_some() && self.jwks_url.is_none()),
        ];
        let of_services = [
            ("url", self.url.is_some()),
            ("ca", self.ca.is_some() && self.jwks_url.is_none()),
            ("timeout", self.timeout.is_some()),
            ("requests_max", self.requests_max.is_some()),
            ("cache", self.cache.is_some()),
        ];
        let of_another = of_one_type.into_iter().filter(|(_, kind, is_set)| *is_set && *kind != self.kind);
        let of_another = of_another.map(|(setting, kind, _)| {
            (setting, format!("has no effect: it is a setting of the type \"{}\"", kind.type_name()))
        });
        let of_services = of_services.into_iter().filter(|(_, is_set)| *is_set && !self.kind.asks_a_service());
        let of_services = of_services
            .map(|(setting, _)| (setting, "has no effect: it is a setting of types that ask a service".to_owned()));
        of_another.chain(of_services).collect()
    }

    /// Checks the settings of a provider of the kind `postgresql`.
    pub(super) fn database_problems(&self, problem: &mut impl FnMut(&str, &str)) {
        let settings = postgresql::Settings {
            url: self.url.as_deref(),
            tls: self.tls,
            has_ca: self.ca.is_some(),
            query: self.query.as_deref(),
            acl_query: self.acl_query.as_deref(),
            connections_max: self.connections_max.map(NonZeroU16::get),
        };
        settings.check(problem);
    }
}
