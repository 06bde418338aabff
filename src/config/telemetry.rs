use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::Scheme;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::Admin;
use super::problem::{Problem, unreadable};
use super::service_url::ServiceUrl;
use super::value::duration;

/// Traces of messages for an OpenTelemetry collector: `[telemetry]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// The collector: `http://host:4318` or `https://host`. Default: there are no traces.
    pub endpoint: Option<String>,
    /// The part of the messages of which traces are made, if their publishers have not begun a trace.
    pub sampling_ratio: SamplingRatio,
    /// File with further headers of the requests, each on a line: `Name: value`.
    pub headers_file: Option<PathBuf>,
    /// PEM file with the authorities that may certify the collector; by default those of the operating system.
    pub ca: Option<PathBuf>,
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
            // A collector of a service has a certificate that every system trusts.
            ca: None,
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
            if let Err(text) = traces_url(endpoint) {
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
        problems.extend(self.ca.as_deref().and_then(|path| unreadable("telemetry.ca", path)));
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

/// The place for spans at a collector: the endpoint with `/v1/traces` at its end. Without a port, `http` is port 4318 and `https` port 443.
///
/// # Errors
/// It is no such URL: the text is a predicate about it.
pub fn traces_url(endpoint: &str) -> Result<ServiceUrl, &'static str> {
    const SHAPE: &str = "must be like \"https://otel.example.com:4318\", without user, query and fragment";
    let url = ServiceUrl::of(endpoint).map_err(|_| SHAPE)?;
    let authority = url.uri.authority().filter(|_| url.uri.query().is_none()).ok_or(SHAPE)?;
    let port = authority.port_u16().unwrap_or(if url.is_encrypted { 443 } else { 4318 });
    let uri = Uri::builder()
        .scheme(if url.is_encrypted { Scheme::HTTPS } else { Scheme::HTTP })
        .authority(format!("{}:{port}", authority.host()))
        .path_and_query(format!("{}/v1/traces", url.uri.path().trim_end_matches('/')));
    Ok(ServiceUrl { uri: uri.build().map_err(|_| SHAPE)?, ..url })
}

/// The headers in a file, each on a line.
///
/// # Errors
/// The file can't be read, or a line is no header: the text says which. Or there is no header.
pub fn read_headers(path: &Path) -> Result<Vec<(String, String)>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {}: {error}", path.display()))?;
    match parse_headers(&text) {
        Ok(headers) if headers.is_empty() => Err(format!("has no header: {}", path.display())),
        Ok(headers) => Ok(headers),
        Err(line) => Err(format!("line {line} of {} is no header such as Name: value", path.display())),
    }
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
    fn an_endpoint_is_a_url() {
        let of = |endpoint| traces_url(endpoint).map(|url| url.uri.to_string());
        assert_eq!(of("http://127.0.0.1:4318").unwrap(), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(of("http://collector").unwrap(), "http://collector:4318/v1/traces");
        assert_eq!(of("http://collector:80/a/b/").unwrap(), "http://collector:80/a/b/v1/traces");
        assert_eq!(of("http://[::1]:4318/").unwrap(), "http://[::1]:4318/v1/traces");
        assert_eq!(of("http://[::1]").unwrap(), "http://[::1]:4318/v1/traces");
        assert_eq!(of("https://collector/otlp").unwrap(), "https://collector:443/otlp/v1/traces");
        assert_eq!(of("https://collector:4318").unwrap(), "https://collector:4318/v1/traces");
        assert!(traces_url("https://collector").unwrap().is_encrypted);
        assert!(!traces_url("http://collector").unwrap().is_encrypted);
        for wrong in [
            "",
            "collector:4318",
            "ftp://collector:4318",
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
            endpoint: Some("https://a/?b".to_owned()),
            timeout: Duration::from_millis(99),
            service: String::new(),
            headers_file: Some("/does/not/exist".into()),
            ca: Some("/does/not/exist".into()),
            ..good.clone()
        };
        let expected =
            ["telemetry.endpoint", "telemetry.timeout", "telemetry.service", "telemetry.headers_file", "telemetry.ca"];
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
    fn a_file_without_a_header_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("headers");
        for (text, is_good) in [("", false), ("\n# Authorization: Bearer x\n", false), ("a: b", true)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read_headers(&path).is_ok(), is_good, "{text:?}");
        }
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
            let _ = (traces_url(&text), traces_url(&url), parse_headers(&text));
        }
    }
}
