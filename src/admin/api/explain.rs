//! `/acl/explain`: whether a client may do something, and by which rule.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::failure::Failure;
use super::json::Json;
use super::parameters::Body;
use super::state::ApiState;
use super::table::Routes;
use super::topics::{ANY_SHARD, ask, filter_of, topic_of};
use crate::broker::{ExplainRequest, ExplainedAction, Explanation, TopicAnswer, TopicQuery};
use crate::codec::ClientId;

pub(super) fn viewer_routes() -> Routes {
    Routes::new().add(__path_explain, explain)
}

/// A question about the rights of a client, which need not be connected.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Question {
    /// The user name that it sends; `null`: none.
    user: Option<String>,
    client_id: String,
    /// The name of the listener where it connects; `null`: one without rules and providers of its own.
    listener: Option<String>,
    action: Action,
    /// The Topic Name; to subscribe, the Topic Filter.
    topic: String,
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Action {
    Publish,
    Subscribe,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Explanation)]
struct ExplanationJson {
    allowed: bool,
    /// The name of the ACL file, if a rule of it decides.
    file: Option<String>,
    /// The line of the rule.
    line: Option<usize>,
    /// The rule as it stands there.
    rule: Option<String>,
    /// The reason, with the placeholders of the rule replaced.
    reason: String,
}

/// Whether a client may publish or subscribe, and why, by the rules in force. It is decided as for a client.
#[utoipa::path(
    post, path = "/acl/explain", request_body = Question,
    responses((status = 200, description = "The decision", body = ExplanationJson))
)]
async fn explain(
    State(state): State<ApiState>,
    Body(question): Body<Question>,
) -> Result<Json<ExplanationJson>, Failure> {
    let Question { user, client_id, listener, action, topic } = question;
    let action = match action {
        Action::Publish => ExplainedAction::Publish(topic_of(&topic)?),
        Action::Subscribe => ExplainedAction::Subscribe(filter_of(&topic)?),
    };
    let request = ExplainRequest { client_id: ClientId(client_id.into()), user, listener, action, standing: None };
    let answer = ask(&state, ANY_SHARD, TopicQuery::Explain(Box::new(request))).await?;
    let TopicAnswer::Explained(explanation) = answer else { return Err(Failure::unexpected_answer()) };
    let Explanation { is_allowed: allowed, rule, reason } = explanation;
    let rule = rule.as_deref();
    Ok(Json(ExplanationJson {
        allowed,
        file: rule.map(|rule| rule.file.to_string()),
        line: rule.map(|rule| rule.line),
        rule: rule.map(|rule| rule.text.to_string()),
        reason,
    }))
}
