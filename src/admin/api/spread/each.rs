use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream::{StreamExt as _, iter};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::missing::MissingCellJson;
use super::place::Away;
use super::{BODY_BYTES_MAX, CellsApi, REQUEST_TIME};
use crate::admin::api::failure::Failure;
use crate::routing::CellId;
use crate::server::CellPlace;

/// The answer of a cell, or why there is none.
pub(super) type Answered = Result<(StatusCode, Value), Away>;

impl CellsApi {
    /// Asks all cells, several at a time, and returns their answers in the order of the cells.
    pub(super) async fn ask_each(
        &self,
        request: impl Fn(CellId) -> Result<Request, Failure>,
    ) -> Result<Vec<(CellId, Answered)>, Failure> {
        let until = Instant::now() + REQUEST_TIME;
        let cells = (0..=u8::MAX).take(self.cells.count().into()).map(CellId);
        let requests: Vec<_> = cells.map(|cell| Ok((cell, request(cell)?))).collect::<Result<_, Failure>>()?;
        let answers = requests.into_iter().map(async |(cell, request)| {
            let answer = async { json_of(self.ask(cell, request).await?).await };
            let in_time = timeout_at(until, answer).await;
            (cell, in_time.unwrap_or_else(|_| Err(Away::Fails("it does not answer in time".to_owned()))))
        });
        Ok(iter(answers).buffered(ASKED_AT_A_TIME).collect().await)
    }

    /// Why the answer of a cell is missing.
    pub(super) fn missing(&self, cell: CellId, away: &Away) -> MissingCellJson {
        match self.cells.place_of(cell) {
            CellPlace::Node(node) => MissingCellJson::new(cell, Some(&node), away),
            CellPlace::Here(_) | CellPlace::Unknown => MissingCellJson::new(cell, None, away),
        }
    }
}

/// The code and the body of a response.
pub(super) async fn json_of(response: Response) -> Answered {
    let code = response.status();
    let body = to_bytes(response.into_body(), BODY_BYTES_MAX).await.map_err(|error| Away::Fails(error.to_string()))?;
    Ok((code, serde_json::from_slice(&body).map_err(|error| Away::Fails(error.to_string()))?))
}

/// What the body of a failure says.
pub(super) fn error_of(answer: &Value) -> String {
    answer.get("error").and_then(Value::as_str).unwrap_or("it gives no reason").to_owned()
}

/// Less than what another node answers at a time.
const ASKED_AT_A_TIME: usize = 8;
