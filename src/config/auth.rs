use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problem::{Problem, unreadable};
use super::service_url::ServiceUrl;
use super::telemetry::read_headers;
use super::value::optional_duration;

/// One way to authenticate clients: one `[[auth]]`. They are asked in the order of the file.
///
/// Each kind has settings of its own; [`Config::problems`](super::Config::problems) names those of another kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// What it verifies.
    #[serde(rename = "type")]
    pub kind: ProviderKind,
    /// Its name, which is a part of the owner of the sessions of its users; by default that of its kind.
    #[serde(default)]
    pub name: Option<String>,
    /// `password-file`: the file; by default `security.password_file`. `scram`: the file with the credentials.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// `jwt`: file with the secret of HS256, HS384 and HS512. A line end after it is not a part of it.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// `jwt`: file with the public key of RS256, ES256 or EdDSA, PEM.
    #[serde(default)]
    pub public_key_file: Option<PathBuf>,
    /// `jwt`: where the public keys of the issuer are fetched, a JSON Web Key Set.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// `jwt`: after which time the keys are fetched again; by default 10 min.
    #[serde(default, with = "optional_duration")]
    pub jwks_refresh: Option<Duration>,
    /// `jwt`: the algorithms that are accepted; by default HS256 for a secret, and that of the public key.
    #[serde(default)]
    pub algorithms: Option<Vec<TokenAlgorithm>>,
    /// `jwt`: the field of CONNECT with the token; by default the password.
    #[serde(default)]
    pub from: Option<TokenFrom>,
    /// `jwt`: the claim with the user name; by default `sub`.
    #[serde(default)]
    pub user_claim: Option<String>,
    /// `jwt`: claims that a token must have, with their values; `%u` stands for the User Name of CONNECT, `%c` for the Client Identifier.
    #[serde(default)]
    pub required_claims: Option<BTreeMap<String, String>>,
    /// `jwt`: whether a token must have `exp`; by default it must.
    #[serde(default)]
    pub require_exp: Option<bool>,
    /// `jwt`: how much the clock of the issuer may differ; by default not at all.
    #[serde(default, with = "optional_duration")]
    pub leeway: Option<Duration>,
    /// `jwt`: the claim with the topics of the client; by default `acl`. If it is empty, the ACL file always decides.
    #[serde(default)]
    pub acl_claim: Option<String>,
    /// `postgresql`: file with the password of the role. A line end after it is not a part of it.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// `postgresql`: whether the connection is encrypted; by default it is, unless the server is on this machine.
    #[serde(default)]
    pub tls: Option<bool>,
    /// `postgresql`: the query for the password of a client, with `${username}` and other placeholders.
    #[serde(default)]
    pub query: Option<String>,
    /// `postgresql`: the query for the topics of a client; without it, the ACL file decides.
    #[serde(default)]
    pub acl_query: Option<String>,
    /// `postgresql`: how many connections to the server there are at most; by default 4.
    #[serde(default)]
    pub connections_max: Option<NonZeroU16>,
    /// `http`: where clients are judged, `http://…` or `https://…`. `postgresql`: the server, the role and the database,
    /// `postgresql://role@host:5432/database`.
    #[serde(default)]
    pub url: Option<String>,
    /// `http`: where the topics of an accepted client are asked for; by default the answer of `url` has them, or the ACL file decides.
    #[serde(default)]
    pub authorize_url: Option<String>,
    /// `http`, and `jwt` with `jwks_url`: file with further headers of the requests, each on a line: `Name: value`.
    #[serde(default)]
    pub headers_file: Option<PathBuf>,
    /// `http`, `postgresql`, and `jwt` with `jwks_url`: PEM file with the authorities that may certify the service; by default those of the
    /// operating system.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Types that ask a service: the time for an answer, with the time that a request waits for its turn; by default 5 s.
    #[serde(default, with = "optional_duration")]
    pub timeout: Option<Duration>,
    /// Types that ask a service: how many requests are under way at once; by default 64.
    #[serde(default)]
    pub requests_max: Option<NonZeroU16>,
    /// Types that ask a service: how long a client that it has accepted is accepted again without asking; by default not at all.
    #[serde(default, with = "optional_duration")]
    pub cache: Option<Duration>,
}

/// What a provider verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderKind {
    /// User name and password, with a password file.
    PasswordFile,
    /// The certificate of a TLS client, at listeners with `identity_as_user_name`.
    Certificate,
    /// A JSON Web Token in the password or the user name.
    Jwt,
    /// A proof by SCRAM, with AUTH packets.
    Scram,
    /// User name and password, with a PostgreSQL database.
    #[serde(rename = "postgresql")]
    PostgreSql,
    /// What an HTTP service says.
    Http,
}

/// The field of CONNECT that has a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenFrom {
    /// The password.
    #[default]
    Password,
    /// The user name.
    Username,
}

/// An algorithm that signs tokens, by its name in the header of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TokenAlgorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// ECDSA with P-256 and SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

impl TokenAlgorithm {
    /// Whether it signs with a secret, and not with a private key.
    pub const fn is_symmetric(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }

    /// Its name in the header of a token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
        }
    }
}

impl ProviderKind {
    /// The name of a provider that has none. Sessions that were stored before there was `[[auth]]` belong to users of these names.
    pub const fn default_name(self) -> &'static str {
        match self {
            Self::PasswordFile => "password",
            Self::Certificate => "certificate",
            Self::Jwt => "jwt",
            Self::Scram => "scram",
            Self::PostgreSql => "postgresql",
            Self::Http => "http",
        }
    }
}

impl Provider {
    /// A provider with default settings.
    pub const fn new(kind: ProviderKind) -> Self {
        Self {
            kind,
            name: None,
            file: None,
            secret_file: None,
            public_key_file: None,
            jwks_url: None,
            jwks_refresh: None,
            algorithms: None,
            from: None,
            user_claim: None,
            required_claims: None,
            require_exp: None,
            leeway: None,
            acl_claim: None,
            url: None,
            password_file: None,
            tls: None,
            query: None,
            acl_query: None,
            connections_max: None,
            authorize_url: None,
            headers_file: None,
            ca: None,
            timeout: None,
            requests_max: None,
            cache: None,
        }
    }

    /// The same without what says how a service is asked, and not which one: a change of it concerns no client that is connected.
    pub fn without_tuning(&self) -> Self {
        Self {
            jwks_refresh: None,
            headers_file: None,
            password_file: None,
            ca: None,
            timeout: None,
            requests_max: None,
            cache: None,
            connections_max: None,
            ..self.clone()
        }
    }

    /// Its name, or that of its kind.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(self.kind.default_name())
    }

    /// Checks what the types do not express. `key` is the path of this provider, such as `auth[0]`; `password_file` is
    /// `security.password_file`.
    pub(super) fn problems(&self, key: &str, password_file: bool) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem = |setting: &str, text: &str| problems.push(Problem::new(&format!("{key}.{setting}"), text));
        if self.name.as_deref().is_some_and(|name| !is_name(name)) {
            problem("name", "must be 1 to 64 letters, digits, `-`, `_` or `.`, and not anonymous");
        }
        for (setting, text) in self.out_of_place() {
            problem(setting, &text);
        }
        if let Some(Err(text)) = self.headers_file.as_deref().filter(|path| path.is_file()).map(read_headers) {
            problem("headers_file", &text);
        }
        if self.timeout.is_some_and(|timeout| !(TIMEOUT_MIN..=TIMEOUT_MAX).contains(&timeout)) {
            problem("timeout", "must be from \"100ms\" to \"1m\"");
        }
        if self.cache.is_some_and(|cache| cache > CACHE_MAX) {
            problem("cache", "must be at most 24h: the service is not asked meanwhile");
        }
        match self.kind {
            ProviderKind::PasswordFile if self.file.is_none() && !password_file => {
                problem("file", "is missing: the provider has neither it nor security.password_file");
            }
            ProviderKind::Scram if self.file.is_none() => {
                problem("file", "is missing: it has the credentials of the users")
            }
            ProviderKind::PasswordFile | ProviderKind::Certificate | ProviderKind::Scram => {}
            ProviderKind::Jwt => self.token_problems(&mut problem),
            ProviderKind::PostgreSql => self.database_problems(&mut problem),
            ProviderKind::Http => self.http_problems(&mut problem),
        }
        let files = [
            ("file", &self.file),
            ("secret_file", &self.secret_file),
            ("public_key_file", &self.public_key_file),
            ("headers_file", &self.headers_file),
            ("password_file", &self.password_file),
            ("ca", &self.ca),
        ];
        let unreadable =
            |(setting, path): &(&str, &Option<PathBuf>)| unreadable(&format!("{key}.{setting}"), path.as_deref()?);
        problems.extend(files.iter().filter_map(unreadable));
        problems
    }

    /// Checks the settings of a provider of the kind `http`.
    fn http_problems(&self, problem: &mut impl FnMut(&str, &str)) {
        if self.url.is_none() {
            problem("url", "is missing: it is where clients are judged");
        }
        for (setting, url) in [("url", &self.url), ("authorize_url", &self.authorize_url)] {
            if let Some(Err(text)) = url.as_deref().map(ServiceUrl::of) {
                problem(setting, text);
            }
        }
    }

    /// Checks the settings of a key set.
    fn key_set_problems(&self, problem: &mut impl FnMut(&str, &str)) {
        match self.jwks_url.as_deref().map(ServiceUrl::of) {
            Some(Err(text)) => problem("jwks_url", text),
            Some(Ok(url)) if !url.is_encrypted && !url.is_local => {
                problem(
                    "jwks_url",
                    "must be https beyond this machine: who can change the answer on its way can make tokens",
                );
            }
            Some(Ok(_)) => {}
            None if self.jwks_refresh.is_some() => problem("jwks_refresh", "has no effect without jwks_url"),
            None => {}
        }
        if self.jwks_refresh.is_some_and(|refresh| !(REFRESH_MIN..=REFRESH_MAX).contains(&refresh)) {
            problem("jwks_refresh", "must be from \"10s\" to \"12h\"");
        }
    }

    /// Checks the settings of a provider of the kind `jwt`.
    fn token_problems(&self, problem: &mut impl FnMut(&str, &str)) {
        let keys = [
            ("secret_file", self.secret_file.is_some()),
            ("public_key_file", self.public_key_file.is_some()),
            ("jwks_url", self.jwks_url.is_some()),
        ];
        match keys.map(|(_, is_set)| is_set) {
            [false, false, false] => {
                problem("secret_file", "is missing: tokens need it, public_key_file or jwks_url to be verified");
            }
            [true, true, _] => problem("public_key_file", "can't be set with secret_file: use a provider for each key"),
            [true, _, true] | [_, true, true] => {
                problem("jwks_url", "can't be set with secret_file or public_key_file: use a provider for each key");
            }
            [true, false, false] | [false, true, false] | [false, false, true] => {}
        }
        self.key_set_problems(problem);
        let is_public = self.public_key_file.is_some() || self.jwks_url.is_some();
        if let Some(algorithms) = &self.algorithms {
            if algorithms.is_empty() {
                problem("algorithms", "must have at least one algorithm");
            }
            let wrong = algorithms.iter().find(|algorithm| algorithm.is_symmetric() == is_public);
            if let Some(wrong) = wrong.filter(|_| self.secret_file.is_some() != is_public) {
                let needs = if wrong.is_symmetric() { "secret_file" } else { "public_key_file or jwks_url" };
                problem("algorithms", &format!("has {}, which needs {needs}", wrong.name()));
            }
        }
        if self.user_claim.as_deref() == Some("") {
            problem("user_claim", "must be the name of a claim");
        }
        if self.leeway.is_some_and(|leeway| leeway > LEEWAY_MAX) {
            problem("leeway", "must be at most 1h");
        }
        let required = self.required_claims.iter().flatten();
        if self.from == Some(TokenFrom::Username) && required.map(|(_, value)| value).any(|value| value.contains("%u"))
        {
            problem("required_claims", "can't have %u: the user name is the token");
        }
    }
}

impl ProviderKind {
    /// Whether it asks a service on the network, so that it has the settings for that.
    pub const fn asks_a_service(self) -> bool {
        match self {
            Self::PasswordFile | Self::Certificate | Self::Jwt | Self::Scram => false,
            Self::Http | Self::PostgreSql => true,
        }
    }

    /// Its name in the configuration.
    pub(super) const fn type_name(self) -> &'static str {
        match self {
            Self::PasswordFile => "password-file",
            Self::Certificate => "certificate",
            Self::Jwt => "jwt",
            Self::Scram => "scram",
            Self::PostgreSql => "postgresql",
            Self::Http => "http",
        }
    }
}

/// Whether the text can be the name of a provider. It is stored with sessions, and shown in logs.
pub(super) fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain) && text != ANONYMOUS
}

/// A name is stored with each session of its users.
const NAME_BYTES_MAX: usize = 64;
/// The name of the provider of anonymous clients.
const ANONYMOUS: &str = "anonymous";
/// Clocks that differ by more are wrong.
const LEEWAY_MAX: Duration = Duration::from_secs(3_600);
/// Shorter ones fail now and then on a network that works, and longer ones make clients wait for CONNACK that give up.
const TIMEOUT_MIN: Duration = Duration::from_millis(100);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// A client that the service refuses by now is accepted for as long.
const CACHE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// More requests would be a load for the issuer, and with fewer the keys would be too old after two that failed.
const REFRESH_MIN: Duration = Duration::from_secs(10);
const REFRESH_MAX: Duration = Duration::from_secs(12 * 3_600);

#[cfg(test)]
mod tests {
    use super::super::{Config, Listener, Tls};
    use super::*;

    fn file() -> PathBuf {
        std::env::current_exe().unwrap()
    }

    fn jwt() -> Provider {
        Provider { secret_file: Some(file()), ..Provider::new(ProviderKind::Jwt) }
    }

    fn keys(auth: Vec<Provider>) -> Vec<String> {
        let config = Config { auth, ..Config::default() };
        config.problems().into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn a_token_needs_exactly_one_key_and_algorithms_that_fit_it() {
        assert_eq!(keys(vec![jwt()]), [""; 0]);
        assert_eq!(keys(vec![Provider::new(ProviderKind::Jwt)]), ["auth[0].secret_file"]);
        assert_eq!(keys(vec![Provider { public_key_file: Some(file()), ..jwt() }]), ["auth[0].public_key_file"]);
        for (algorithms, expected) in [
            (vec![TokenAlgorithm::HS384, TokenAlgorithm::HS512], &[][..]),
            (vec![TokenAlgorithm::HS256, TokenAlgorithm::RS256], &["auth[0].algorithms"]),
            (vec![], &["auth[0].algorithms"]),
        ] {
            assert_eq!(keys(vec![Provider { algorithms: Some(algorithms), ..jwt() }]), expected);
        }
        let algorithms = Some(vec![TokenAlgorithm::HS256]);
        let public = Provider { secret_file: None, public_key_file: Some(file()), algorithms, ..jwt() };
        assert_eq!(keys(vec![public]), ["auth[0].algorithms"]);
    }

    #[test]
    fn settings_of_another_kind_and_unusable_values_are_problems() {
        let certificate = Provider { kind: ProviderKind::Certificate, ..jwt() };
        assert_eq!(keys(vec![certificate]), ["auth[0].secret_file"]);
        assert_eq!(keys(vec![Provider { file: Some(file()), ..jwt() }]), ["auth[0].file"]);
        assert_eq!(keys(vec![Provider::new(ProviderKind::PasswordFile)]), ["auth[0].file"]);
        assert_eq!(keys(vec![Provider { leeway: Some(LEEWAY_MAX * 2), ..jwt() }]), ["auth[0].leeway"]);
        assert_eq!(keys(vec![Provider { user_claim: Some(String::new()), ..jwt() }]), ["auth[0].user_claim"]);
        let required_claims = Some([("sub".to_owned(), "%u".to_owned())].into());
        assert_eq!(keys(vec![Provider { required_claims: required_claims.clone(), ..jwt() }]), [""; 0]);
        let by_name = Provider { from: Some(TokenFrom::Username), required_claims, ..jwt() };
        assert_eq!(keys(vec![by_name]), ["auth[0].required_claims"]);
        for name in ["", "a b", "anonymous", "a\n", "ä"] {
            assert_eq!(keys(vec![Provider { name: Some(name.to_owned()), ..jwt() }]), ["auth[0].name"], "{name:?}");
        }
        assert_eq!(keys(vec![Provider::new(ProviderKind::Scram)]), ["auth[0].file"]);
        let scram = Provider { file: Some(file()), ..Provider::new(ProviderKind::Scram) };
        assert_eq!(keys(vec![scram.clone()]), [""; 0]);
        assert_eq!(keys(vec![Provider { secret_file: Some(file()), ..scram }]), ["auth[0].secret_file"]);
        let missing = Provider { secret_file: Some("/does/not/exist".into()), ..jwt() };
        assert_eq!(keys(vec![missing]), ["auth[0].secret_file"]);
    }

    #[test]
    fn names_are_unique_and_those_of_listeners_exist() {
        assert_eq!(keys(vec![jwt(), jwt()]), ["auth[1].name"]);
        let named = Provider { name: Some("other".to_owned()), ..jwt() };
        assert_eq!(keys(vec![jwt(), named.clone()]), [""; 0]);
        let mut config = Config { auth: vec![jwt(), named], ..Config::default() };
        let mut problems = |names: &[&str]| {
            config.listeners[0].auth = Some(names.iter().map(|name| (*name).to_owned()).collect());
            config.problems()
        };
        for names in [&[][..], &["other"], &["other", "jwt"]] {
            assert_eq!(problems(names), [], "{names:?}");
        }
        for names in [&["others"][..], &["jwt", "jwt"]] {
            let [problem] = &problems(names)[..] else { panic!("{names:?}") };
            assert_eq!(problem.key, "listeners[0].auth");
        }
        assert!(problems(&["others"])[0].text.contains("did you mean other?"));
    }

    #[test]
    fn what_no_provider_reads_is_a_problem() {
        let mut config = Config { auth: vec![jwt()], ..Config::default() };
        config.security.password_file = Some(file());
        let found: Vec<_> = config.problems().into_iter().map(|problem| problem.key).collect();
        assert_eq!(found, ["security.password_file"]);
        config.auth.push(Provider::new(ProviderKind::PasswordFile));
        assert_eq!(config.problems(), []);
        let tls = Tls { identity_as_user_name: true, ..crate::config::listeners::test_tls(&file()) };
        let transport = crate::config::Transport::Tls;
        let listener = Listener { transport, tls: Some(tls), ..Listener::new("127.0.0.1:1".parse().unwrap()) };
        config.listeners = vec![listener];
        let found: Vec<_> = config.problems().into_iter().map(|problem| problem.key).collect();
        assert_eq!(found, ["listeners[0].tls.identity_as_user_name"]);
        config.auth.push(Provider::new(ProviderKind::Certificate));
        assert_eq!(config.problems(), []);
    }
}
