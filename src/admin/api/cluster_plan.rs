//! `/cluster/plan`: what would move if nodes left or came.

use std::collections::BTreeSet;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::failure::{ErrorJson, Failure};
use super::json::Json;
use super::parameters::Parameters;
use super::state::ApiState;
use super::table::Routes;
use crate::cluster::plan::{MoveCause, Plan, PlannedCell, PlannedMove, PlannedNode, Question};
use crate::cluster::{ClusterHandle, Status};

pub(super) fn routes() -> Routes {
    Routes::new().add(__path_plan, plan)
}

/// What would happen in a cluster.
#[derive(Serialize, ToSchema)]
#[schema(as = ClusterPlan)]
struct PlanJson {
    /// The node that was asked: all is as it sees it.
    node: String,
    /// The nodes that leave.
    without: BTreeSet<String>,
    /// The nodes that come.
    with: BTreeSet<String>,
    /// All nodes, those that come included.
    nodes: Vec<NodePlanJson>,
    /// The cells, in the order of their numbers; one if clients are not spread over cells.
    cells: Vec<CellPlanJson>,
    /// What moves, in this order; empty: nothing.
    moves: Vec<MoveJson>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ClusterPlanNode)]
struct NodePlanJson {
    node: String,
    /// The cells that it owns now.
    owned: usize,
    /// Those that it owns in the end.
    then: usize,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ClusterPlanCell)]
struct CellPlanJson {
    cell: usize,
    /// The node that serves it now; `null`: not known, or it changes just now.
    owner: Option<String>,
    /// The node that takes over if the owner dies now; `null`: no other one can.
    next: Option<String>,
    /// The node that serves it in the end; `null`: none can.
    then: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ClusterPlanMove)]
struct MoveJson {
    cell: usize,
    /// `null`: it has no owner.
    from: Option<String>,
    to: String,
    /// take-over: it has no owner then, and that node has the furthest copy; balance: that node owns at least two cells fewer.
    cause: &'static str,
}

/// What would move if nodes left and came, all at one time, without a change of anything: by the rules by which cells move, and as this node sees the
/// cluster now. Copies go on, so that when it happens another node may have the furthest one.
#[utoipa::path(
    get, path = "/cluster/plan",
    params(
        ("without" = Option<String>, Query, description = "Names of nodes that die or are drained, with commas between"),
        ("with" = Option<String>, Query, description = "Names of nodes that come, new or back, with commas between; each has copies of all cells"),
    ),
    responses(
        (status = 200, description = "What would move", body = PlanJson),
        (status = 400, description = "A node that is to leave is not known, or is to come, too", body = ErrorJson),
        (status = 404, description = "This broker is not part of a cluster", body = ErrorJson),
    )
)]
async fn plan(State(state): State<ApiState>, parameters: Parameters) -> Result<Json<PlanJson>, Failure> {
    let handles = state.cluster.as_ref().map_or(&state.cells[..], std::slice::from_ref);
    let cells: Vec<Status> = handles.iter().map(ClusterHandle::status).collect();
    let node = cells.first().map(|cell| cell.node.clone());
    let node = node.ok_or_else(|| Failure::not_found("this broker is not part of a cluster"))?;
    let question = Question { without: names(&parameters, "without")?, with: names(&parameters, "with")? };
    let plan = Plan::new(&cells, &question).map_err(|refusal| Failure::bad_request(refusal.to_string()))?;
    let Question { without, with } = question;
    Ok(Json(PlanJson {
        node,
        without,
        with,
        nodes: plan.nodes.into_iter().map(NodePlanJson::from).collect(),
        cells: plan.cells.into_iter().enumerate().map(CellPlanJson::from).collect(),
        moves: plan.moves.into_iter().map(MoveJson::from).collect(),
    }))
}

fn names(parameters: &Parameters, name: &str) -> Result<BTreeSet<String>, Failure> {
    let names = parameters.text(name).unwrap_or_default();
    let names: BTreeSet<String> = names.split(',').filter(|node| !node.is_empty()).map(str::to_owned).collect();
    if names.len() > NODES_MAX {
        return Err(Failure::bad_request(format!("{name} has more than {NODES_MAX} nodes")));
    }
    Ok(names)
}

impl From<PlannedNode> for NodePlanJson {
    fn from(PlannedNode { node, owned, then }: PlannedNode) -> Self {
        Self { node, owned, then }
    }
}

impl From<(usize, PlannedCell)> for CellPlanJson {
    fn from((cell, PlannedCell { owner, next, then }): (usize, PlannedCell)) -> Self {
        Self { cell, owner, next, then }
    }
}

impl From<PlannedMove> for MoveJson {
    fn from(PlannedMove { cell, from, to, cause }: PlannedMove) -> Self {
        let cause = match cause {
            MoveCause::TakeOver => "take-over",
            MoveCause::Balance => "balance",
        };
        Self { cell, from, to, cause }
    }
}

/// A cluster has no more.
const NODES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::admin::api::tests::Api;
    use crate::cluster::{ClusterHandle, Member, Owner, Role, Status};

    fn status(owner: &str) -> Status {
        let mut status = Status::new("c".to_owned(), "a".to_owned(), "a.example:1883".to_owned());
        status.role = if owner == "a" { Role::Owner } else { Role::Standby };
        status.owner = Some(Owner { node: owner.to_owned(), advertise: None });
        let member = |node: &str| Member {
            node: node.to_owned(),
            is_able: node != owner,
            is_alive: true,
            sequence: 90,
            ..Member::default()
        };
        status.members = vec![member("b"), member("c")];
        status
    }

    #[test]
    fn a_plan_says_what_moves_and_changes_nothing() {
        let (handles, mut controls): (Vec<_>, Vec<_>) =
            ["a", "b", "c"].map(|owner| ClusterHandle::new(status(owner))).into_iter().unzip();
        let api = Api::with(|_| (), |parts| parts.cells = handles);
        let answer = api.local("GET /api/v1/cluster/plan?without=c&with=d,e", "").json();
        let moves = json!([{ "cell": 2, "from": "c", "to": "b", "cause": "take-over" },
            { "cell": 1, "from": "b", "to": "d", "cause": "balance" }]);
        assert_eq!((&answer["node"], &answer["moves"]), (&json!("a"), &moves));
        assert_eq!(answer["cells"][1], json!({ "cell": 1, "owner": "b", "next": "c", "then": "d" }));
        assert_eq!(answer["nodes"][1], json!({ "node": "b", "owned": 1, "then": 1 }));
        let nothing = api.local("GET /api/v1/cluster/plan", "").json();
        assert_eq!((&nothing["moves"], &nothing["without"]), (&json!([]), &json!([])));
        assert!(controls.iter_mut().all(|control| control.try_next().is_none()));
        let many: Vec<String> = (0..65).map(|node| format!("n{node}")).collect();
        for (question, words) in [
            ("without=x", "there is no node x"),
            ("without=b&with=b", "node b cannot leave and come"),
            (&*format!("with={}", many.join(",")), "with has more than 64 nodes"),
        ] {
            let answer = api.local(&format!("GET /api/v1/cluster/plan?{question}"), "");
            assert_eq!((answer.code, &answer.json()["error"]), (400, &words.into()), "{question}");
        }
    }

    #[test]
    fn a_cluster_without_cells_says_who_takes_over() {
        let (handle, _control) = ClusterHandle::new(status("a"));
        let api = Api::with(|_| (), |parts| parts.cluster = Some(handle));
        let answer = api.local("GET /api/v1/cluster/plan?without=a", "").json();
        assert_eq!(answer["cells"], json!([{ "cell": 0, "owner": "a", "next": "b", "then": "b" }]));
        assert_eq!(Api::start().local("GET /api/v1/cluster/plan", "").code, 404);
    }
}
