use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::CellsApi;
use super::each::{Answered, error_of};
use super::missing::MissingCellJson;
use super::pages::part;
use super::place::Away;
use crate::admin::api::failure::Failure;
use crate::admin::api::json::Json;
use crate::admin::api::parameters::Parameters;
use crate::admin::caller::Caller;
use crate::routing::CellId;

/// Where the next page of a log of all cells begins: for each cell its cursor, if it has an entry in a page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct CellsCursor(BTreeMap<u8, String>);

impl FromStr for CellsCursor {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let parse = |part: &str| {
            let (cell, of_cell) = part.split_once(OF_CELL)?;
            Some((cell.parse().ok()?, of_cell.to_owned()))
        };
        let parsed: Option<_> = text.split(NEXT_CELL).map(parse).collect();
        parsed.map(Self).ok_or_else(|| Failure::bad_request("the cursor is invalid"))
    }
}

impl fmt::Display for CellsCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.0.iter().map(|(cell, of_cell)| format!("{cell}{OF_CELL}{of_cell}"));
        formatter.write_str(&parts.collect::<Vec<_>>().join(NEXT_CELL))
    }
}

impl CellsApi {
    /// The newest entries of the log `list` of all cells before the cursor, newest last.
    pub(super) async fn newest(
        &self,
        list: &'static str,
        (uri, caller): (Uri, Option<Caller>),
    ) -> Result<Response, Failure> {
        let parameters = Parameters::parse(uri.query().unwrap_or_default())?;
        let (limit, cursor) = (parameters.limit()?, parameters.cursor::<CellsCursor>()?);
        let of_cell = |CellId(cell)| cursor.0.get(&cell).map(String::as_str);
        let answers =
            self.ask_each(|cell| part((uri.path(), caller.as_ref()), &parameters, (limit, of_cell(cell)))).await?;
        let mut merging = Merging { list, limit, cursor: cursor.clone(), ..Merging::default() };
        for (cell, answer) in answers {
            if let Err(away) = merging.add(cell, answer)? {
                merging.missing.push(self.missing(cell, &away));
            }
        }
        Ok(Json(merging.finish()?).into_response())
    }
}

/// A page of a log, as it grows.
#[derive(Debug, Default)]
struct Merging {
    list: &'static str,
    /// The most entries.
    limit: usize,
    cursor: CellsCursor,
    /// The newest ones, with their times, the cells that have them, and the cursors of the pages before them.
    entries: Vec<(String, u8, String, Value)>,
    has_more: bool,
    left_out: u64,
    has_answer: bool,
    missing: Vec<MissingCellJson>,
}

impl Merging {
    /// Adds what a cell has.
    fn add(&mut self, CellId(cell): CellId, answer: Answered) -> Result<Result<(), Away>, Failure> {
        let mut answer = match answer {
            Err(away) => return Ok(Err(away)),
            Ok((code, answer)) if code.as_u16() == 400 => return Err(Failure::bad_request(error_of(&answer))),
            Ok((code, answer)) if !code.is_success() => return Ok(Err(Away::Fails(error_of(&answer)))),
            Ok((_, answer)) => answer,
        };
        let mut taken = |name: &str| match answer.get_mut(name).map(Value::take) {
            Some(Value::Array(values)) => values,
            _ => Vec::new(),
        };
        let (entries, places) = (taken(self.list), taken("places"));
        if entries.len() != places.len() {
            return Ok(Err(Away::Fails("it sent no places".to_owned())));
        }
        for (entry, place) in entries.into_iter().zip(places) {
            let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
            self.entries.push((text(entry.get("at")), cell, text(Some(&place)), entry));
        }
        // The texts of times have the same length, and the order within a cell stays.
        self.entries.sort_by(|one, other| one.0.cmp(&other.0));
        let older = self.entries.len().saturating_sub(self.limit);
        self.entries.drain(..older);
        self.has_answer = true;
        self.has_more |= older > 0 || answer.get("cursor").is_some_and(Value::is_string);
        self.left_out += answer.get("left_out").and_then(Value::as_u64).unwrap_or(0);
        Ok(Ok(()))
    }

    /// The newest of all entries.
    fn finish(mut self) -> Result<Value, Failure> {
        if !self.has_answer {
            let reasons = self.missing.iter().map(MissingCellJson::text).collect::<Vec<_>>().join("; ");
            return Err(Failure::unavailable(format!("no cell answers: {reasons}")));
        }
        let has_more = self.has_more && !self.entries.is_empty();
        for (_, cell, place, _) in self.entries.iter().rev() {
            self.cursor.0.insert(*cell, place.clone());
        }
        let entries: Vec<Value> = self.entries.into_iter().map(|(_, _, _, entry)| entry).collect();
        let mut page = Map::new();
        page.insert(self.list.to_owned(), entries.into());
        page.insert("cursor".to_owned(), if has_more { self.cursor.to_string().into() } else { Value::Null });
        page.insert("left_out".to_owned(), self.left_out.into());
        if !self.missing.is_empty() {
            page.insert("missing_cells".to_owned(), json!(self.missing));
        }
        Ok(page.into())
    }
}

/// Neither is in the cursor of a cell.
const OF_CELL: char = '.';
const NEXT_CELL: &str = "_";

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    /// The answer of a cell with entries at these times, as `logs.rs` makes it.
    fn answer(times: &[u32], before: Option<&String>, limit: usize) -> Answered {
        let before = before.map_or(times.len(), |before| before.parse().unwrap());
        let from = before.saturating_sub(limit);
        let entries: Vec<_> = times[from..before].iter().map(|at| json!({ "at": format!("{at:03}") })).collect();
        let places: Vec<_> = (from..before).map(|place| place.to_string()).collect();
        let cursor = (from > 0).then(|| from.to_string());
        Ok((StatusCode::OK, json!({ "drops": entries, "cursor": cursor, "left_out": 2, "places": places })))
    }

    #[test]
    fn pages_of_a_log_of_all_cells_go_back_in_time_and_have_each_entry_once() {
        let cells: [&[u32]; 4] = [&[1, 4, 5, 9], &[], &[2, 3, 9, 10, 11], &[7, 7, 7]];
        for limit in 1..14 {
            let (mut all, mut cursor) = (Vec::new(), Some(CellsCursor::default()));
            while let Some(from) = cursor {
                let mut merging = Merging { list: "drops", limit, cursor: from.clone(), ..Merging::default() };
                for (cell, times) in (0..).zip(cells) {
                    merging.add(CellId(cell), answer(times, from.0.get(&cell), limit)).unwrap().unwrap();
                }
                let page = merging.finish().unwrap();
                let entries: Vec<_> = page["drops"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|entry| entry["at"].as_str().unwrap().to_owned())
                    .collect();
                assert!(entries.is_sorted() && entries.len() <= limit, "{page}");
                assert_eq!(page["left_out"], 8);
                assert!(page.get("missing_cells").is_none());
                all.splice(0..0, entries);
                cursor = page["cursor"].as_str().map(|cursor| cursor.parse().unwrap());
            }
            let expected = [1, 2, 3, 4, 5, 7, 7, 7, 9, 9, 10, 11].map(|at| format!("{at:03}"));
            assert_eq!(all, expected, "{limit}");
        }
    }

    #[test]
    fn a_cell_that_does_not_answer_is_missing_and_a_wrong_request_is_refused() {
        let mut merging = Merging { list: "drops", ..Merging::default() };
        let failed = |code, text: &str| Ok((code, json!({ "error": text })));
        let added = merging.add(CellId(0), failed(StatusCode::SERVICE_UNAVAILABLE, "busy"));
        assert_eq!(added, Ok(Err(Away::Fails("busy".to_owned()))));
        let without_places = Ok((StatusCode::OK, json!({ "drops": [1] })));
        assert!(merging.add(CellId(1), without_places).unwrap().is_err());
        let refused = merging.add(CellId(1), failed(StatusCode::BAD_REQUEST, "wrong"));
        assert_eq!(refused, Err(Failure::bad_request("wrong")));
        merging.missing.push(MissingCellJson::new(CellId(3), None, &Away::Nowhere));
        let none = merging.finish().unwrap_err();
        let words = "no cell answers: cell 3: it has no owner that this node knows of";
        assert_eq!(none, Failure::unavailable(words));
    }

    #[test]
    fn a_cursor_parses_back_and_others_are_refused() {
        let cursor = CellsCursor([(0, "x-7".to_owned()), (255, "1".to_owned())].into());
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", "_", "1", "256.1", "x.1", "1.1_"] {
            assert!(text.parse::<CellsCursor>().is_err(), "{text}");
        }
    }
}
