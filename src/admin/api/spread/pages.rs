use std::sync::Arc;

use axum::extract::Request;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};

use super::cursor::CellCursor;
use super::each::{error_of, json_of};
use super::missing::MissingCellJson;
use super::place::Away;
use super::{CellsApi, REQUEST_TIME, get};
use crate::admin::api::failure::Failure;
use crate::admin::api::json::Json;
use crate::admin::api::parameters::Parameters;
use crate::admin::caller::Caller;
use crate::routing::CellId;
use crate::server::CellPlace;

/// A page of a list of all cells, as it grows.
pub(super) struct Page {
    list: &'static str,
    /// What the cells that have answered say beside the entries; `None`: none has.
    object: Option<Map<String, Value>>,
    pub(super) entries: Vec<Value>,
    pub(super) missing: Vec<MissingCellJson>,
}

impl CellsApi {
    /// A page of the list `list`: cell by cell, and in each in the order of the cell.
    pub(super) async fn page(
        &self,
        list: &'static str,
        (uri, caller): (Uri, Option<Caller>),
    ) -> Result<Response, Failure> {
        let parameters = Parameters::parse(uri.query().unwrap_or_default())?;
        let (limit, mut cursor) = (parameters.limit()?, parameters.cursor::<CellCursor>()?);
        let mut silent = Vec::new();
        let until = Instant::now() + REQUEST_TIME;
        let mut page = Page::new(list);
        while page.entries.len() < limit && cursor.cell < self.cells.count() {
            let Ok(cell) = u8::try_from(cursor.cell).map(CellId) else { break };
            let node = match self.cells.place_of(cell) {
                CellPlace::Node(node) => Some(node),
                CellPlace::Here(_) | CellPlace::Unknown => None,
            };
            let of_cell = (limit - page.entries.len(), cursor.of_cell.as_deref());
            let part = part((uri.path(), caller.as_ref()), &parameters, of_cell)?;
            let asked = async {
                match node.as_ref().filter(|node| silent.contains(*node)) {
                    // One wait for it is enough.
                    Some(node) => Err(Away::Silent(Arc::clone(node))),
                    None => self.ask_part(cell, part).await,
                }
            };
            let next = match timeout_at(until, asked).await {
                // The next page begins with it.
                Err(_) if page.object.is_some() => break,
                Err(_) => return Err(Failure::unavailable(format!("cell {} does not answer in time", cell.0))),
                Ok(Ok(answer)) => page.add(answer?)?,
                Ok(Err(away)) => {
                    page.missing.push(MissingCellJson::new(cell, node.as_deref(), &away));
                    if let Away::Silent(node) = away {
                        silent.push(node);
                    }
                    None
                }
            };
            cursor = match next {
                Some(of_cell) => CellCursor { of_cell: Some(of_cell), ..cursor },
                None => CellCursor { cell: cursor.cell + 1, of_cell: None },
            };
        }
        let has_more = cursor.cell < self.cells.count();
        let cursor = has_more.then(|| cursor.to_string());
        page.finish([("cursor", cursor.map_or(Value::Null, Value::String))])
    }

    /// The part of a page that a cell has. `Err(Failure)`: the cell says that the request can't be right.
    pub(super) async fn ask_part(&self, cell: CellId, request: Request) -> Result<Result<Value, Failure>, Away> {
        let (code, answer) = json_of(self.ask(cell, request).await?).await?;
        match code.as_u16() {
            200 => Ok(Ok(answer)),
            400 => Ok(Err(Failure::bad_request(error_of(&answer)))),
            _ => Err(Away::Fails(error_of(&answer))),
        }
    }
}

impl Page {
    pub(super) const fn new(list: &'static str) -> Self {
        Self { list, object: None, entries: Vec::new(), missing: Vec::new() }
    }

    /// Adds the part of a cell. Returns where the next one begins.
    pub(super) fn add(&mut self, answer: Value) -> Result<Option<String>, Failure> {
        let Value::Object(mut answer) = answer else { return Err(Failure::internal("a cell sent no object")) };
        let Some(Value::Array(entries)) = answer.remove(self.list) else {
            return Err(Failure::internal("a cell sent no list"));
        };
        self.entries.extend(entries);
        let next = match answer.remove("cursor") {
            Some(Value::String(cursor)) => Some(cursor),
            _ => None,
        };
        let object = self.object.get_or_insert_default();
        for (name, value) in answer {
            // What is so in one cell is so.
            if object.get(&name) != Some(&Value::Bool(true)) {
                object.insert(name, value);
            }
        }
        Ok(next)
    }

    /// The answer to the request, which has `more`, too.
    pub(super) fn finish(self, more: impl IntoIterator<Item = (&'static str, Value)>) -> Result<Response, Failure> {
        let Self { list, object, entries, missing } = self;
        let Some(mut object) = object else {
            let reasons = missing.iter().map(MissingCellJson::text).collect::<Vec<_>>().join("; ");
            return Err(Failure::unavailable(format!("no cell answers: {reasons}")));
        };
        object.insert(list.to_owned(), entries.into());
        object.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        if !missing.is_empty() {
            let missing = serde_json::to_value(missing).map_err(|error| Failure::internal(error.to_string()))?;
            object.insert("missing_cells".to_owned(), missing);
        }
        Ok(Json(Value::Object(object)).into_response())
    }
}

/// The request to one cell for its part of a page: at most `limit` entries from `cursor` on.
pub(super) fn part(
    (path, caller): (&str, Option<&Caller>),
    parameters: &Parameters,
    (limit, cursor): (usize, Option<&str>),
) -> Result<Request, Failure> {
    let mut query = format!("limit={limit}");
    let cursor = cursor.map(|cursor| ("cursor", cursor));
    let others = parameters.names().filter(|name| !["limit", "cursor"].contains(name));
    let others = others.filter_map(|name| Some((name, parameters.text(name)?)));
    for (name, value) in others.chain(cursor) {
        let [name, value] = [name, value].map(|text| utf8_percent_encode(text, NON_ALPHANUMERIC));
        query.push_str(&format!("&{name}={value}"));
    }
    get(&format!("{path}?{query}"), caller)
}
