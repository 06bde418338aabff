use std::io::{self, Write as _};

use serde_json::Value;

use super::error::CliError;
use super::target::TargetArguments;
use super::value::{printable, text};
use crate::admin_client::{AdminClient, HINT, Streamed, percent_encoded};

/// `/api/v1` of a broker.
#[derive(Debug)]
pub(crate) struct Api {
    client: AdminClient,
}

/// Name and value of a parameter; without a value it is left out.
pub(super) type Parameter<'a> = (&'a str, Option<&'a str>);

/// Says on standard error which cells have not answered.
pub(super) fn tell_missing(answer: &Value) -> Result<(), CliError> {
    for missing in answer.get("missing_cells").and_then(Value::as_array).into_iter().flatten() {
        let [cell, reason] = ["/cell", "/reason"].map(|path| printable(&text(missing, path)));
        writeln!(io::stderr(), "what cell {cell} has is missing: {reason}")?;
    }
    Ok(())
}

impl Api {
    pub(crate) fn new(target: TargetArguments) -> Result<Self, CliError> {
        Ok(Self { client: target.client()? })
    }

    /// The answer to a GET.
    pub(super) fn get(&self, path: &str, parameters: &[Parameter<'_>]) -> Result<Value, CliError> {
        let path = format!("{path}{}", query(parameters));
        let text = self.send_text("GET", &path, "")?;
        serde_json::from_str(&text).map_err(|error| self.not_understood(&path, &error.to_string()))
    }

    /// The answer to a change; `null` if it has no body.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        parameters: &[Parameter<'_>],
        body: Option<&Value>,
    ) -> Result<Value, CliError> {
        let path = format!("{path}{}", query(parameters));
        let text = self.send_text(method, &path, &body.map(Value::to_string).unwrap_or_default())?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|error| self.not_understood(&path, &error.to_string()))
    }

    /// Passes the entries of all pages of a list to `take`, a page at a time, and returns the last page.
    pub(super) fn pages(
        &self,
        path: &str,
        key: &str,
        parameters: &[Parameter<'_>],
        take: &mut dyn FnMut(Vec<Value>) -> Result<(), CliError>,
    ) -> Result<Value, CliError> {
        let mut cursor = None;
        loop {
            let (entries, answer, next) = self.page(path, key, parameters, cursor.as_deref())?;
            take(entries)?;
            if next.is_none() {
                return Ok(answer);
            }
            cursor = next;
        }
    }

    /// The entries of the first pages of a list, and whether there are more.
    pub(super) fn first_pages(&self, path: &str, key: &str, count: usize) -> Result<(Vec<Value>, bool), CliError> {
        let mut all = Vec::new();
        let mut cursor = None;
        for _ in 0..count {
            let (entries, _, next) = self.page(path, key, &[], cursor.as_deref())?;
            all.extend(entries);
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        Ok((all, cursor.is_some()))
    }

    /// The entries of a page, the rest of the answer, and the cursor of the next page.
    fn page(
        &self,
        path: &str,
        key: &str,
        parameters: &[Parameter<'_>],
        cursor: Option<&str>,
    ) -> Result<(Vec<Value>, Value, Option<String>), CliError> {
        let page = [("limit", Some(PAGE)), ("cursor", cursor)];
        let (entries, answer) = self.single(path, key, &[parameters, &page].concat())?;
        let next = answer.get("cursor").and_then(Value::as_str).map(str::to_owned);
        if next.is_some() && next.as_deref() == cursor {
            return Err(self.not_understood(path, "the cursor does not advance"));
        }
        Ok((entries, answer, next))
    }

    /// The entries of a list, and the rest of the answer.
    pub(super) fn single(
        &self,
        path: &str,
        key: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<(Vec<Value>, Value), CliError> {
        let mut answer = self.get(path, parameters)?;
        tell_missing(&answer)?;
        match answer.get_mut(key).map(Value::take) {
            Some(Value::Array(entries)) => Ok((entries, answer)),
            _ => Err(self.not_understood(path, &format!("there is no list {key:?}"))),
        }
    }

    /// Passes each line of an endless answer to `take`, until the broker ends it.
    pub(super) fn lines(
        &self,
        path: &str,
        parameters: &[Parameter<'_>],
        take: &mut dyn FnMut(Value) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let path = format!("{PREFIX}{path}{}", query(parameters));
        let answer = self.client.stream(&format!("GET {path}")).map_err(|error| self.unreachable(&error))?;
        let mut lines = match answer {
            Streamed::Lines(lines) => lines,
            Streamed::Refused(code, text) => return Err(self.refused(code, &path, &text)),
        };
        while let Some(line) = lines.next().map_err(|error| self.unreachable(&error))? {
            take(serde_json::from_str(&line).map_err(|error| self.not_understood(&path, &error.to_string()))?)?;
        }
        Ok(())
    }

    fn send_text(&self, method: &str, path: &str, body: &str) -> Result<String, CliError> {
        let path = format!("{PREFIX}{path}");
        let headers = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let answer = self.client.request(&format!("{method} {path}"), headers, body);
        let (code, text) = answer.map_err(|error| self.unreachable(&error))?;
        if (200..300).contains(&code) { Ok(text) } else { Err(self.refused(code, &path, &text)) }
    }

    fn unreachable(&self, error: &io::Error) -> CliError {
        let place = self.client.url("").trim_end_matches(':').to_owned();
        let cause = match (self.client.socket(), error.kind()) {
            (Some(path), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                let directory = path.parent().unwrap_or(path).display().to_string();
                format!(
                    "{error}: no broker runs with the data directory {directory}; --data or --config names another, \
                     --admin a broker elsewhere"
                )
            }
            (Some(_), io::ErrorKind::PermissionDenied) => {
                format!(
                    "{error}: the socket is for the user that the broker runs as; use sudo -u, or --admin with --token"
                )
            }
            (None, _) => format!("{error} ({HINT})"),
            (Some(_), _) => error.to_string(),
        };
        CliError::Unreachable { place, cause }
    }

    fn refused(&self, code: u16, path: &str, text: &str) -> CliError {
        let said = serde_json::from_str::<Value>(text).ok();
        let said = said.as_ref().and_then(|answer| answer.get("error")?.as_str()).unwrap_or(text);
        let said = printable(said);
        let cause = match code {
            401 => format!("{said} (give a token with --token, see oncemq token)"),
            403 => format!("{said} (this needs a token with a higher role)"),
            400 | 404 | 409 | 413 => said,
            _ => format!("{} answered {code}: {said}", self.client.url(path)),
        };
        CliError::Refused { code, cause }
    }

    fn not_understood(&self, path: &str, cause: &str) -> CliError {
        CliError::NotUnderstood { place: self.client.url(&format!("{PREFIX}{path}")), cause: cause.to_owned() }
    }
}

/// The path of a client.
pub(crate) fn client_path(client_id: &str, rest: &str) -> String {
    format!("/clients/{}{rest}", percent_encoded(client_id))
}

fn query(parameters: &[Parameter<'_>]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| Some(format!("{name}={}", percent_encoded((*value)?))));
    let given: Vec<String> = given.collect();
    if given.is_empty() { String::new() } else { format!("?{}", given.join("&")) }
}

const PREFIX: &str = "/api/v1";
/// The largest page.
const PAGE: &str = "1000";
