use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::Admin;
use super::problem::{Problem, unreadable};
use super::value::duration;

/// Traces of messages for an OpenTelemetry collector: `[telemetry]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// The collector: `http://host:4318`. Default: there are no traces.
    pub endpoint: Option<String>,
    /// The part of the messages of which traces are made, if their publishers have not begun a trace.
    pub sampling_ratio: SamplingRatio,
    /// File with further headers of the requests, each on a line: `Name: value`.
    pub headers_file: Option<PathBuf>,
    /// The time for one request.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// The name of the broker in traces.
    pub service: String,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            // By default the broker sends no data about messages to other machines.
            endpoint: None,
            // Enough to see where time is spent, and too little to be felt.
            sampling_ratio: SamplingRatio(10_000),
            // A collector next to the broker needs none.
            headers_file: None,
            // The default of the OpenTelemetry SDKs. Nothing but later spans waits.
            timeout: Duration::from_secs(10),
            // It is what the spans are about.
            service: "oncemq".to_owned(),
        }
    }
}

impl Telemetry {
    /// Checks what the types do not express.
    pub(super) fn problems(&self, admin: &Admin) -> Vec<Problem> {
        let (timeout_min, timeout_max) = (Duration::from_millis(100), Duration::from_secs(60));
        let mut problems = Vec::new();
        if let Some(endpoint) = &self.endpoint {
            if !cfg!(feature = "otlp") {
                problems.push(Problem::new("telemetry.endpoint", "needs a build with the feature otlp"));
            }
            if let Err(text) = TraceUrl::of(endpoint) {
                problems.push(Problem::new("telemetry.endpoint", text));
            }
            if admin.journey_steps_max == 0 {
                problems.push(Problem::new("telemetry.endpoint", "needs admin.journey_steps_max above 0"));
            }
        }
        if !(timeout_min..=timeout_max).contains(&self.timeout) {
            problems.push(Problem::new("telemetry.timeout", "must be from \"100ms\" to \"1m\""));
        }
        if !(1..=NAME_MAX).contains(&self.service.len()) {
            problems.push(Problem::new("telemetry.service", "must have from 1 byte to 255 bytes"));
        }
        if let Some(path) = &self.headers_file {
            let of_content = || read_headers(path).err().map(|text| Problem::new("telemetry.headers_file", &text));
            problems.extend(unreadable("telemetry.headers_file", path).or_else(of_content));
        }
        problems
    }

    /// The further headers of the requests.
    ///
    /// # Errors
    /// The file can't be read, or a line is no header: the text says which.
    pub fn headers(&self) -> Result<Vec<(String, String)>, String> {
        self.headers_file.as_deref().map_or_else(|| Ok(Vec::new()), read_headers)
    }
}

/// Where spans are sent: the parts of `http://authority/path`, with `/v1/traces` at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceUrl {
    /// `host:port`.
    pub authority: String,
    /// The path of the request.
    pub path: String,
}

impl TraceUrl {
    /// The place for spans at a collector.
    ///
    /// # Errors
    /// It is no such URL: the text is a predicate about it.
    pub fn of(endpoint: &str) -> Result<Self, &'static str> {
        const SHAPE: &str = "must be like \"http://127.0.0.1:4318\", without user, query and fragment";
        let rest = endpoint.strip_prefix("http://").ok_or(if endpoint.starts_with("https://") {
            "must begin with http://: use a collector on this machine, which can send by HTTPS"
        } else {
            SHAPE
        })?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%/+:".contains(&byte);
        if !path.bytes().all(is_plain) {
            return Err(SHAPE);
        }
        let after_address = authority.rfind(']').map_or(0, |end| end + 1);
        let (host, port) = match authority.get(after_address..).and_then(|rest| rest.rfind(':')) {
            Some(colon) => authority.split_at(after_address + colon),
            None => (authority, ":4318"),
        };
        let port = port.trim_start_matches(':').parse::<u16>().ok().filter(|port| *port > 0).ok_or(SHAPE)?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(is_name),
        };
        if !is_host {
            return Err(SHAPE);
        }
        Ok(Self { authority: format!("{host}:{port}"), path: format!("{}/v1/traces", path.trim_end_matches('/')) })
    }
}

/// The headers in a file, each on a line.
///
/// # Errors
/// The file can't be read, or a line is no header: the text says which.
pub fn read_headers(path: &Path) -> Result<Vec<(String, String)>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {}: {error}", path.display()))?;
    parse_headers(&text).map_err(|line| format!("line {line} of {} is no header such as Name: value", path.display()))
}

/// The headers in a file; or the number of the first line that is none, or one that the requests have already.
fn parse_headers(text: &str) -> Result<Vec<(String, String)>, usize> {
    let lines = text.lines().map(str::trim).zip(1..).filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    let header = |(line, number): (&str, usize)| {
        let (name, value) = line.split_once(':').ok_or(number)?;
        let (name, value) = (name.to_ascii_lowercase(), value.trim());
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_name = !name.is_empty() && name.bytes().all(is_token) && !OWN_HEADERS.contains(&&*name);
        let is_value = value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if is_name && is_value && number <= HEADERS_MAX { Ok((name, value.to_owned())) } else { Err(number) }
    };
    lines.map(header).collect()
}

/// A part of all, from 0 to 1 in steps of a millionth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamplingRatio(u32);

impl SamplingRatio {
    /// The number of sampled messages in a million, from 0 to 1,000,000.
    pub const fn per_million(self) -> u32 {
        self.0
    }

    fn of(ratio: f64) -> Option<Self> {
        let is_ratio = (0.0..=1.0).contains(&ratio);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 1")]
        is_ratio.then(|| Self((ratio * f64::from(MILLION)).round() as u32))
    }
}

impl Serialize for SamplingRatio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / f64::from(MILLION))
    }
}

impl<'de> Deserialize<'de> for SamplingRatio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RatioVisitor)
    }
}

struct RatioVisitor;

impl Visitor<'_> for RatioVisitor {
    type Value = SamplingRatio;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number from 0 to 1")
    }

    fn visit_f64<E: de::Error>(self, ratio: f64) -> Result<SamplingRatio, E> {
        SamplingRatio::of(ratio).ok_or_else(|| E::invalid_value(de::Unexpected::Float(ratio), &self))
    }

    fn visit_i64<E: de::Error>(self, ratio: i64) -> Result<SamplingRatio, E> {
        let whole = u8::try_from(ratio).ok().and_then(|ratio| SamplingRatio::of(f64::from(ratio)));
        whole.ok_or_else(|| E::invalid_value(de::Unexpected::Signed(ratio), &self))
    }

    fn visit_u64<E: de::Error>(self, ratio: u64) -> Result<SamplingRatio, E> {
        let whole = u8::try_from(ratio).ok().and_then(|ratio| SamplingRatio::of(f64::from(ratio)));
        whole.ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(ratio), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<SamplingRatio, E> {
        let ratio = text.trim().parse().ok().and_then(SamplingRatio::of);
        ratio.ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

const MILLION: u32 = 1_000_000;
/// The greatest length of the name of the broker in traces, in bytes.
const NAME_MAX: usize = 255;
/// The lines of a file of headers.
const HEADERS_MAX: usize = 64;
/// What the requests say themselves.
const OWN_HEADERS: [&str; 7] =
    ["host", "connection", "content-type", "content-length", "content-encoding", "transfer-encoding", "user-agent"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(telemetry: &Telemetry) -> Vec<String> {
        telemetry.problems(&Admin::default()).into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn an_endpoint_is_a_url_without_tls() {
        let of = |endpoint| TraceUrl::of(endpoint).map(|url| format!("{} {}", url.authority, url.path));
        assert_eq!(of("http://127.0.0.1:4318").unwrap(), "127.0.0.1:4318 /v1/traces");
        assert_eq!(of("http://collector").unwrap(), "collector:4318 /v1/traces");
        assert_eq!(of("http://collector:80/a/b/").unwrap(), "collector:80 /a/b/v1/traces");
        assert_eq!(of("http://[::1]:4318/").unwrap(), "[::1]:4318 /v1/traces");
        assert_eq!(of("http://[::1]").unwrap(), "[::1]:4318 /v1/traces");
        for wrong in [
            "",
            "collector:4318",
            "https://collector:4318",
            "http://",
            "http://:4318",
            "http://a:b",
            "http://a:0",
            "http://a:70000",
            "http://a@b:1",
            "http://a/?b",
            "http://a/b#c",
            "http://a\r\nb",
            "http://[::1",
            "http://[::g]:1",
            "http://a /b",
        ] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_can_not_be_used_is_a_problem() {
        assert_eq!(keys(&Telemetry::default()), [""; 0]);
        let good = Telemetry { endpoint: Some("http://127.0.0.1:4318".to_owned()), ..Telemetry::default() };
        let wrong = Telemetry {
            endpoint: Some("https://a".to_owned()),
            timeout: Duration::from_millis(99),
            service: String::new(),
            headers_file: Some("/does/not/exist".into()),
            ..good.clone()
        };
        let expected = ["telemetry.endpoint", "telemetry.timeout", "telemetry.service", "telemetry.headers_file"];
        let keys = |telemetry: &Telemetry| {
            let mut keys = keys(telemetry);
            keys.dedup();
            keys
        };
        assert_eq!(keys(&wrong), expected);
        let without_steps = Admin { journey_steps_max: 0, ..Admin::default() };
        assert!(good.problems(&without_steps).iter().any(|problem| problem.text.contains("journey_steps_max")));
        #[cfg(feature = "otlp")]
        assert_eq!(keys(&good), [""; 0]);
        #[cfg(not(feature = "otlp"))]
        assert_eq!(keys(&good), ["telemetry.endpoint"]);
    }

    #[test]
    fn headers_are_lines() {
        let parsed =
            parse_headers("# token\nAuthorization: Bearer a:b=\n\n X-Tenant :7\n".replace(" :", ":").as_str()).unwrap();
        assert_eq!(
            parsed,
            [("authorization".to_owned(), "Bearer a:b=".to_owned()), ("x-tenant".to_owned(), "7".to_owned())]
        );
        for (wrong, line) in [("a", 1), ("\n: a", 2), ("a b: c", 1), ("a: \u{7}", 1), ("Host: a", 1), ("a: ü", 1)] {
            assert_eq!(parse_headers(wrong), Err(line), "{wrong:?}");
        }
        assert_eq!(parse_headers(&"a: b\n".repeat(65)), Err(65));
    }

    #[test]
    fn a_ratio_is_a_number_from_0_to_1() {
        let of = |text: &str| toml::from_str::<Telemetry>(&format!("sampling_ratio = {text}"));
        for (text, per_million) in [("0", 0), ("1", MILLION), ("0.01", 10_000), ("1e-6", 1), ("\"0.5\"", 500_000)] {
            assert_eq!(of(text).unwrap().sampling_ratio.per_million(), per_million, "{text}");
        }
        for wrong in ["-1", "2", "1.1", "nan", "\"x\"", "true"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_ratio_survives_a_round_trip(per_million in 0..=MILLION) {
            let telemetry = Telemetry { sampling_ratio: SamplingRatio(per_million), ..Telemetry::default() };
            prop_assert_eq!(toml::from_str::<Telemetry>(&toml::to_string(&telemetry).unwrap()).unwrap(), telemetry);
        }

        #[test]
        fn no_text_causes_a_panic(text: String, url in "http://[a-z\\[\\]:/0-9]{0,20}") {
            let _ = (TraceUrl::of(&text), TraceUrl::of(&url), parse_headers(&text));
        }
    }
}
