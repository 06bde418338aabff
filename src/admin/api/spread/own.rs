use std::collections::{BTreeSet, HashMap};

use axum::response::{IntoResponse as _, Response};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::missing::MissingCellJson;
use super::pages::Page;
use super::{CellsApi, get};
use crate::admin::api::failure::Failure;
use crate::admin::api::json::Json;
use crate::admin::caller::Caller;
use crate::server::{CellPlace, OwnClientKind};

impl CellsApi {
    /// All bridges or sinks of the configuration, in its order. Each cell that has some is asked for its own.
    pub(super) async fn all_own(
        &self,
        kind: OwnClientKind,
        (path, caller): (&str, Option<&Caller>),
    ) -> Result<Response, Failure> {
        let in_force = self.state.reloader.in_force();
        let (list, names): (_, Vec<&str>) = match kind {
            OwnClientKind::Bridge => ("bridges", in_force.config.bridges.iter().map(|bridge| &*bridge.name).collect()),
            OwnClientKind::Sink => ("sinks", in_force.config.sinks.iter().map(|sink| &*sink.name).collect()),
        };
        if names.is_empty() {
            return Ok(Json(json!({ list: [] })).into_response());
        }
        let cells: BTreeSet<_> = names.iter().map(|name| kind.cell(name, self.cells.count())).collect();
        let asked = cells.into_iter().map(async |cell| {
            let request = get(path, caller)?;
            Ok::<_, Failure>((cell, self.ask_part(cell, request).await))
        });
        let mut page = Page::new(list);
        for answered in join_all(asked).await {
            let (cell, answer) = answered?;
            match answer {
                Ok(answer) => drop(page.add(answer?)?),
                Err(away) => {
                    let node = if let CellPlace::Node(node) = self.cells.place_of(cell) { Some(node) } else { None };
                    page.missing.push(MissingCellJson::new(cell, node.as_deref(), &away));
                }
            }
        }
        let places: HashMap<&str, usize> = names.into_iter().enumerate().map(|(place, name)| (name, place)).collect();
        let place = |entry: &Value| entry["name"].as_str().and_then(|name| places.get(name)).copied();
        page.entries.sort_by_key(|entry| place(entry).unwrap_or(usize::MAX));
        page.finish([])
    }
}
