use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::each::error_of;
use super::missing::MissingCellJson;
use super::place::Away;
use super::{CellsApi, get};
use crate::admin::api::failure::Failure;
use crate::admin::api::json::Json;
use crate::admin::caller::Caller;

impl CellsApi {
    /// What all cells know about a message.
    pub(super) async fn message(&self, (uri, caller): (Uri, Option<Caller>)) -> Result<Response, Failure> {
        let (mut journey, mut missing) = (Merged::default(), Vec::new());
        for (cell, answer) in self.ask_each(|_| get(uri.path(), caller.as_ref())).await? {
            match answer {
                Err(away) => missing.push(self.missing(cell, &away)),
                Ok((code, answer)) => match code.as_u16() {
                    200 => journey.add(answer)?,
                    400 => return Err(Failure::bad_request(error_of(&answer))),
                    404 => journey.unknown = Some(error_of(&answer)),
                    _ => missing.push(self.missing(cell, &Away::Fails(error_of(&answer)))),
                },
            }
        }
        journey.finish(missing).map(|journey| Json(journey).into_response())
    }
}

/// What the cells know, as it grows.
#[derive(Debug, Default)]
struct Merged {
    /// `None`: none has known it yet.
    journey: Option<Map<String, Value>>,
    /// Why one does not know it.
    unknown: Option<String>,
}

impl Merged {
    /// Adds what a cell knows: what one of them knows is known, and the steps are in the order of time.
    fn add(&mut self, answer: Value) -> Result<(), Failure> {
        let Value::Object(mut other) = answer else { return Err(Failure::internal("a cell sent no object")) };
        let Some(journey) = &mut self.journey else {
            self.journey = Some(other);
            return Ok(());
        };
        for (name, known) in journey.iter_mut() {
            let Some(other) = other.get_mut(name).map(Value::take) else { continue };
            match (&mut *known, other) {
                (Value::Array(known), Value::Array(more)) => {
                    known.extend(more);
                    if name == "steps" {
                        let at = |step: &Value| step.get("at").and_then(Value::as_str).unwrap_or_default().to_owned();
                        known.sort_by_key(at);
                    }
                }
                (known @ Value::Null, other) => *known = other,
                (Value::Bool(known), Value::Bool(other)) if name == "complete" => *known &= other,
                (known @ Value::Number(_), Value::Number(other)) if name == "left_out" => {
                    *known = (known.as_u64().unwrap_or(0) + other.as_u64().unwrap_or(0)).into();
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn finish(self, missing: Vec<MissingCellJson>) -> Result<Value, Failure> {
        let reasons = || missing.iter().map(MissingCellJson::text).collect::<Vec<_>>().join("; ");
        match (self.journey, self.unknown) {
            (Some(mut journey), _) => {
                if !missing.is_empty() {
                    journey.insert("complete".to_owned(), false.into());
                    journey.insert("missing_cells".to_owned(), json!(missing));
                }
                Ok(journey.into())
            }
            (None, Some(unknown)) if missing.is_empty() => Err(Failure::not_found(unknown)),
            (None, _) => Err(Failure::unavailable(format!("what these cells know is missing: {}", reasons()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::CellId;

    #[test]
    fn what_any_cell_knows_is_known_and_all_steps_are_in_the_order_of_time() {
        let journey = |topic: Option<&str>, steps: &[u32], receivers: &[&str], complete: bool| {
            let steps: Vec<_> = steps.iter().map(|at| json!({ "at": at.to_string() })).collect();
            json!({
                "topic": topic, "qos": 1, "steps": steps, "receivers": receivers, "left_out": 2, "complete": complete,
            })
        };
        let mut merged = Merged { unknown: Some("unknown".to_owned()), ..Merged::default() };
        merged.add(journey(None, &[1, 5], &["b"], true)).unwrap();
        merged.add(journey(Some("a"), &[3], &["c"], true)).unwrap();
        let mut known = json!({
            "topic": "a", "qos": 1, "steps": [{ "at": "1" }, { "at": "3" }, { "at": "5" }], "receivers": ["b", "c"],
            "left_out": 4, "complete": true,
        });
        assert_eq!(merged.finish(Vec::new()).unwrap(), known);

        let missing = || vec![MissingCellJson::new(CellId(3), Some("b"), &Away::Silent("b".into()))];
        let mut merged = Merged::default();
        merged.add(known.clone()).unwrap();
        known["complete"] = false.into();
        known["missing_cells"] = json!([{ "cell": 3, "node": "b", "reason": "node b does not answer" }]);
        assert_eq!(merged.finish(missing()).unwrap(), known);

        let unknown = || Merged { unknown: Some("unknown".to_owned()), ..Merged::default() };
        assert_eq!(unknown().finish(Vec::new()), Err(Failure::not_found("unknown")));
        let words = "what these cells know is missing: cell 3: node b does not answer";
        assert_eq!(unknown().finish(missing()), Err(Failure::unavailable(words)));
    }
}
