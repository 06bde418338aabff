use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problem::{Problem, unreadable};
use super::service_url::ServiceUrl;
use super::telemetry::read_headers;
use super::value::{duration, size};
use crate::codec::Qos;
use crate::private_address::is_private;
use crate::topic::Filter;

/// Messages that are sent on to a service outside of MQTT: one `[[sinks]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// Its name, by which its Session is found again.
    pub name: String,
    /// The kind of service.
    #[serde(rename = "type")]
    pub kind: SinkKind,
    /// Topic Filters of the messages.
    pub filters: Vec<String>,
    /// The QoS of its subscriptions: 0, 1 or 2.
    #[serde(default = "default_qos", with = "super::mqtt::qos")]
    pub qos: Qos,
    /// Where requests are sent.
    #[serde(default)]
    pub url: Option<String>,
    /// File with the URL, if the URL is a secret.
    #[serde(default)]
    pub url_file: Option<PathBuf>,
    /// Whether `http` is permitted to other machines.
    #[serde(default)]
    pub allow_plain: bool,
    /// Whether the host may have an address that is not public.
    #[serde(default)]
    pub allow_private_addresses: bool,
    /// PEM file with the authorities that may certify the service; by default those of the operating system.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// PEM file with the certificate by which the service knows the broker.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// PEM file with the private key of the certificate.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// File with further headers of the requests, each on a line: `Name: value`.
    #[serde(default)]
    pub headers_file: Option<PathBuf>,
    /// File with the secret that signs the requests.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// Which messages wait for each other.
    #[serde(default)]
    pub order: SinkOrder,
    /// The messages of one request; above 1, the body is a list.
    #[serde(default = "default_batch_max")]
    pub batch_max: NonZeroU16,
    /// The bytes of topics, payloads and properties in one request with several messages.
    #[serde(default = "default_batch_bytes_max", with = "size")]
    pub batch_bytes_max: u32,
    /// How long a message waits for others of its request.
    #[serde(default = "default_batch_wait", with = "duration")]
    pub batch_wait: Duration,
    /// The requests under way at the same time.
    #[serde(default = "default_requests_max")]
    pub requests_max: NonZeroU16,
    /// The messages that the sink has taken from its Session and not acknowledged.
    #[serde(default = "default_inflight_max")]
    pub inflight_max: NonZeroU16,
    /// The time for one request.
    #[serde(default = "default_timeout", with = "duration")]
    pub timeout: Duration,
    /// The pause after the first failure of a request; each further one is twice as long.
    #[serde(default = "default_retry_min", with = "duration")]
    pub retry_min: Duration,
    /// The longest pause.
    #[serde(default = "default_retry_max", with = "duration")]
    pub retry_max: Duration,
    /// How often a request is tried again before its messages become dead letters.
    #[serde(default = "default_retries_max")]
    pub retries_max: u32,
    /// The user whose access rules apply; by default the name of the sink.
    #[serde(default)]
    pub user: Option<String>,
}

/// The kind of service that a sink sends messages to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SinkKind {
    /// An endpoint for HTTP requests.
    Webhook,
}

/// Which messages of a sink wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SinkOrder {
    /// Those of the same topic.
    #[default] // as clients are used to from MQTT
    Topic,
    /// None of them.
    None,
    /// All of them.
    All,
}

const fn default_qos() -> Qos {
    Qos::AtLeastOnce // a service can't take part in the handshake of QoS 2
}

const fn default_batch_max() -> NonZeroU16 {
    NonZeroU16::MIN // what every receiver can read
}

const fn default_batch_bytes_max() -> u32 {
    1 << 20 // less than the limit of a body in common servers, such as 1 MiB of nginx, with Base64 and names
}

const fn default_batch_wait() -> Duration {
    Duration::from_millis(50) // not felt, and enough to fill a request of a busy topic
}

const fn default_requests_max() -> NonZeroU16 {
    NonZeroU16::MIN.saturating_add(7) // a small service is not overrun
}

const fn default_inflight_max() -> NonZeroU16 {
    NonZeroU16::MIN.saturating_add(99) // other topics go on while one waits
}

const fn default_timeout() -> Duration {
    Duration::from_secs(10) // as of other webhooks
}

const fn default_retry_min() -> Duration {
    Duration::from_secs(1) // a service that restarts is back in seconds
}

const fn default_retry_max() -> Duration {
    Duration::from_secs(300) // it is noticed within minutes that a service is back
}

const fn default_retries_max() -> u32 {
    10 // ten minutes or more
}

impl Sink {
    /// Checks what the types do not express. `key` is the path of this sink, such as `sinks[0]`.
    fn problems(&self, key: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem = |setting: &str, text: &str| problems.push(Problem::new(&format!("{key}.{setting}"), text));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !(1..=NAME_MAX).contains(&self.name.len()) || !self.name.bytes().all(is_name) {
            problem("name", "must have 1 to 64 letters, digits, _ and -");
        }
        if self.user.as_ref().is_some_and(|user| !(1..=USER_BYTES_MAX).contains(&user.len())) {
            problem("user", "must have from 1 byte to 1,024 bytes");
        }
        if !(1..=FILTERS_MAX).contains(&self.filters.len()) {
            problem("filters", "must be from 1 to 64 topic filters");
        }
        for text in &self.filters {
            let filter = Filter::new(text.as_str().into());
            if !filter.is_ok_and(|filter| filter.share.is_none() && text.len() <= FILTER_BYTES_MAX) {
                problem(
                    "filters",
                    &format!("has {text:?}, which is no topic filter of at most 1,024 bytes without $share"),
                );
            }
        }
        match (&self.url, &self.url_file) {
            (Some(text), None) => self.check_url(text, |text| problem("url", text)),
            (None, Some(_)) => {}
            (None, None) => problem("url", "is missing: it is where requests are sent"),
            (Some(_), Some(_)) => problem("url_file", "can't be set with url"),
        }
        if self.certificate.is_some() != self.key.is_some() {
            problem("certificate", "must be set together with key");
        }
        self.check_ranges(&mut problem);
        problems.extend(self.file_problems(key));
        problems
    }

    fn check_ranges(&self, problem: &mut impl FnMut(&str, &str)) {
        let is_between = |value: Duration, least: u64, most: u64| {
            (Duration::from_millis(least)..=Duration::from_millis(most)).contains(&value)
        };
        if self.batch_max.get() > BATCH_MAX {
            problem("batch_max", "must be at most 1,000");
        }
        if !(BATCH_BYTES_MIN..=BATCH_BYTES_MAX).contains(&self.batch_bytes_max) {
            problem("batch_bytes_max", "must be from \"1KiB\" to \"16MiB\"");
        }
        if !is_between(self.batch_wait, 0, 60_000) {
            problem("batch_wait", "must be at most \"1m\"");
        }
        if self.requests_max.get() > REQUESTS_MAX {
            problem("requests_max", "must be at most 256");
        }
        if self.inflight_max.get() > INFLIGHT_MAX {
            problem("inflight_max", "must be at most 10,000");
        }
        if self.inflight_max < self.batch_max {
            problem("inflight_max", "must be at least batch_max, or no request would have so many messages");
        }
        if !is_between(self.timeout, 100, 300_000) {
            problem("timeout", "must be from \"100ms\" to \"5m\"");
        }
        if !is_between(self.retry_min, 10, 3_600_000) {
            problem("retry_min", "must be from \"10ms\" to \"1h\"");
        }
        if self.retry_max < self.retry_min || !is_between(self.retry_max, 10, 86_400_000) {
            problem("retry_max", "must be from retry_min to \"24h\"");
        }
    }

    /// Tells `problem` why a URL can't be used.
    fn check_url(&self, text: &str, mut problem: impl FnMut(&str)) {
        let url = match ServiceUrl::of(text) {
            Ok(url) => url,
            Err(reason) => return problem(reason),
        };
        if !url.is_encrypted && !url.is_local && !self.allow_plain {
            problem(
                "is http: everybody on the way could read and change the messages; use https, or set allow_plain = true",
            );
        }
        let host = url.uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let is_inside = url.is_local || host.parse::<IpAddr>().is_ok_and(is_private);
        if is_inside && !self.allow_private_addresses {
            problem("is not the address of a public machine: if that is intended, set allow_private_addresses = true");
        }
    }

    fn file_problems(&self, key: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let files = [("ca", &self.ca), ("certificate", &self.certificate), ("key", &self.key)];
        for (setting, path) in files {
            problems.extend(path.as_deref().and_then(|path| unreadable(&format!("{key}.{setting}"), path)));
        }
        for (setting, path, read) in [
            ("headers_file", &self.headers_file, self.headers().map(drop)),
            ("secret_file", &self.secret_file, self.secret().map(drop)),
            ("url_file", &self.url_file, self.target().map(drop)),
        ] {
            let Some(path) = path else { continue };
            let setting = format!("{key}.{setting}");
            let of_content = || read.err().map(|text| Problem::new(&setting, &text));
            problems.extend(unreadable(&setting, path).or_else(of_content));
        }
        problems
    }

    /// Where requests are sent: the URL in the configuration or in its file.
    ///
    /// # Errors
    /// The file can't be read, or the URL can't be used: a predicate without the URL.
    pub fn target(&self) -> Result<ServiceUrl, String> {
        let text = match (&self.url, &self.url_file) {
            (Some(url), _) => url.clone(),
            (None, Some(path)) => {
                let bytes = read_small(path)?;
                let line = first_line(&bytes);
                String::from_utf8(line.to_vec())
                    .map_err(|_| format!("has no URL: {}", path.display()))?
                    .trim()
                    .to_owned()
            }
            (None, None) => String::new(),
        };
        let mut reason = None;
        self.check_url(&text, |text| {
            let _first = reason.get_or_insert_with(|| text.to_owned());
        });
        match reason {
            Some(reason) => Err(reason),
            None => ServiceUrl::of(&text).map_err(str::to_owned),
        }
    }

    /// The further headers of the requests.
    ///
    /// # Errors
    /// The file can't be read, has no header, or a line that is none: the text says which.
    pub fn headers(&self) -> Result<Vec<(String, String)>, String> {
        self.headers_file.as_deref().map_or_else(|| Ok(Vec::new()), read_headers)
    }

    /// The secret that signs the requests: the bytes of its file without a line end.
    ///
    /// # Errors
    /// The file can't be read, or has less than 16 bytes or more than 4 KiB.
    pub fn secret(&self) -> Result<Option<Vec<u8>>, String> {
        let Some(path) = &self.secret_file else { return Ok(None) };
        let bytes = read_small(path)?;
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let secret = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if secret.len() < SECRET_BYTES_MIN {
            return Err(format!(
                "has {} bytes, and a secret needs {SECRET_BYTES_MIN}: {}",
                secret.len(),
                path.display()
            ));
        }
        Ok(Some(secret.to_vec()))
    }

    /// The user whose access rules apply.
    pub fn user_name(&self) -> &str {
        self.user.as_deref().unwrap_or(&self.name)
    }
}

/// Checks all sinks.
pub(super) fn problems(sinks: &[Sink]) -> Vec<Problem> {
    let mut problems = Vec::new();
    if sinks.len() > SINKS_MAX {
        problems.push(Problem::new("sinks", &format!("must be at most {SINKS_MAX}")));
    }
    let mut names = HashMap::new();
    for (index, sink) in sinks.iter().enumerate() {
        problems.extend(sink.problems(&format!("sinks[{index}]")));
        if let Some(first) = names.insert(&*sink.name, index) {
            let text = format!("is {}, which sinks[{first}].name already uses", sink.name);
            problems.push(Problem::new(&format!("sinks[{index}].name"), &text));
        }
    }
    problems
}

/// A file of a few bytes; more is an error, as is a name that isn't there.
fn read_small(path: &std::path::Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let fail = |error: std::io::Error| format!("cannot be read: {}: {error}", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("has more than {FILE_BYTES_MAX} bytes: {}", path.display()));
    }
    Ok(bytes)
}

fn first_line(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == b'\n').next().unwrap_or_default()
}

/// Each has a task, connections and a Session.
const SINKS_MAX: usize = 256;
const NAME_MAX: usize = 64;
const USER_BYTES_MAX: usize = 1_024;
const FILTERS_MAX: usize = 64;
const FILTER_BYTES_MAX: usize = 1_024;
/// A receiver has to answer all messages of a request within its time.
const BATCH_MAX: u16 = 1_000;
const BATCH_BYTES_MIN: u32 = 1 << 10;
/// Each request under way has its body in memory.
const BATCH_BYTES_MAX: u32 = 16 << 20;
/// Each has a connection.
const REQUESTS_MAX: u16 = 256;
/// All of them are in memory.
const INFLIGHT_MAX: u16 = 10_000;
/// 128 bits.
const SECRET_BYTES_MIN: usize = 16;
/// Secrets and URLs are shorter.
const FILE_BYTES_MAX: u64 = 4 << 10;

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    const GOOD: &str = "name = 'alarms'\ntype = 'webhook'\nfilters = ['alarms/#']\n";

    fn sink(settings: &str) -> Sink {
        toml::from_str(&format!("{GOOD}{settings}")).unwrap()
    }

    fn keys(settings: &str) -> Vec<String> {
        problems(&[sink(settings)]).into_iter().map(|problem| problem.key).collect()
    }

    fn texts(settings: &str) -> String {
        problems(&[sink(settings)]).into_iter().map(|problem| problem.text + "\n").collect()
    }

    #[test]
    fn a_url_is_encrypted_or_said_to_be_plain_and_public_or_said_to_be_private() {
        assert_eq!(keys("url = 'https://example.org/hook'"), [""; 0]);
        assert_eq!(keys(""), ["sinks[0].url"]);
        assert_eq!(keys("url = 'ftp://example.org/hook'"), ["sinks[0].url"]);
        assert!(texts("url = 'https://user:geheim@example.org/'").contains("headers_file"));
        assert!(!texts("url = 'https://user:geheim@example.org/'").contains("geheim"));
        assert_eq!(keys("url = 'http://example.org/hook'"), ["sinks[0].url"]);
        assert_eq!(keys("url = 'http://example.org/hook'\nallow_plain = true"), [""; 0]);
        for inside in ["http://127.0.0.1:8080/", "http://localhost/", "https://10.0.0.1/", "https://[fe80::1]/"] {
            assert_eq!(keys(&format!("url = '{inside}'")), ["sinks[0].url"], "{inside}");
            assert_eq!(keys(&format!("url = '{inside}'\nallow_private_addresses = true")), [""; 0], "{inside}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_a_problem_of_its_setting() {
        let one = |setting: &str, value: &str| {
            let keys = keys(&format!("url = 'https://a/'\n{setting} = {value}"));
            assert_eq!(keys.first(), Some(&format!("sinks[0].{setting}")), "{value}");
        };
        one("batch_max", "1001");
        one("batch_bytes_max", "'1023'");
        one("batch_bytes_max", "'17MiB'");
        one("batch_wait", "'61s'");
        one("requests_max", "257");
        one("inflight_max", "10001");
        one("timeout", "'99ms'");
        one("timeout", "'301s'");
        one("retry_min", "'5ms'");
        one("retry_max", "'25h'");
        one("retry_max", "'500ms'");
        one("user", "''");
        one("certificate", "'/dev/null'");
        assert_eq!(keys("url = 'https://a/'\nbatch_max = 200"), ["sinks[0].inflight_max"]);
    }

    #[test]
    fn names_and_filters_are_checked() {
        let of = |name: &str, filters: &str| {
            let text =
                format!("[[sinks]]\nname = '{name}'\ntype = 'webhook'\nfilters = {filters}\nurl = 'https://a/'\n");
            let config: Config = toml::from_str(&text.repeat(2)).unwrap();
            let mut keys: Vec<String> = problems(&config.sinks[..1]).into_iter().map(|problem| problem.key).collect();
            keys.dedup();
            assert!(problems(&config.sinks).iter().any(|problem| problem.text.contains("already uses")));
            keys
        };
        assert_eq!(of("a_B-9", "['a/+', '#', '$SYS/x']"), [""; 0]);
        assert_eq!(of("", "['a']"), ["sinks[0].name"]);
        assert_eq!(of("a b", "['a']"), ["sinks[0].name"]);
        assert_eq!(of(&"a".repeat(65), "['a']"), ["sinks[0].name"]);
        assert_eq!(of("a", "[]"), ["sinks[0].filters"]);
        assert_eq!(of("a", "['a/#/b', 'a']"), ["sinks[0].filters"]);
        assert_eq!(of("a", "['$share/g/a']"), ["sinks[0].filters"]);
        let many = Config { sinks: vec![sink("url = 'https://a/'"); 257], ..Config::default() };
        assert!(many.problems().iter().any(|problem| problem.key == "sinks"));
    }

    #[test]
    fn files_without_what_they_are_for_are_a_problem() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        for (name, text) in [
            ("empty", ""),
            ("comment", "# nothing\n"),
            ("short", "0123456789\n"),
            ("secret", "0123456789abcdef\r\n"),
            ("url", "https://example.org/services/T0/B0\n"),
            ("inside", "https://10.0.0.1/T0\n"),
            ("headers", "Authorization: Bearer a\n"),
            ("large", &"x".repeat(4_097)),
        ] {
            std::fs::write(path(name), text).unwrap();
        }
        let of = |setting: &str, name: &str| keys(&format!("url = 'https://a/'\n{setting} = '{}'", path(name)));
        for wrong in ["empty", "comment", "missing"] {
            assert_eq!(of("headers_file", wrong), ["sinks[0].headers_file"], "{wrong}");
        }
        for wrong in ["empty", "short", "large", "missing"] {
            assert_eq!(of("secret_file", wrong), ["sinks[0].secret_file"], "{wrong}");
        }
        assert_eq!(of("headers_file", "headers"), [""; 0]);
        assert_eq!(of("secret_file", "secret"), [""; 0]);
        assert_eq!(
            sink(&format!("secret_file = '{}'", path("secret"))).secret().unwrap().unwrap(),
            b"0123456789abcdef"
        );
        let from_file = |name: &str| keys(&format!("url_file = '{}'", path(name)));
        assert_eq!(from_file("url"), [""; 0]);
        for wrong in ["empty", "inside", "large", "missing"] {
            assert_eq!(from_file(wrong), ["sinks[0].url_file"], "{wrong}");
        }
        assert_eq!(of("url_file", "url"), ["sinks[0].url_file"]);
        let target = sink(&format!("url_file = '{}'", path("url"))).target().unwrap();
        assert_eq!(target.uri.path(), "/services/T0/B0");
    }

    #[test]
    fn the_user_is_by_default_the_name() {
        assert_eq!(sink("").user_name(), "alarms");
        assert_eq!(sink("user = 'hooks'").user_name(), "hooks");
    }
}
