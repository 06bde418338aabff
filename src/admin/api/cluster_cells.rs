//! The part of `/cluster` about several cells.

use super::cluster_json::{CellJson, ClusterJson, MemberJson};
use crate::cluster::{ClusterHandle, Command, CommandError, Member, Refusal, Status, merged};
use crate::server::Cells;

/// The cluster in terms of nodes, with its cells. `None`: there are none.
pub(super) fn of_cells(handles: &[ClusterHandle], here: Option<&Cells>) -> Option<ClusterJson> {
    let cells: Vec<Status> = handles.iter().map(ClusterHandle::status).collect();
    let mut all = merged(&cells)?;
    let lag = |member: &Member| MemberJson::new(&Member { sequence: 0, ..member.clone() }, all.lag(member));
    let members = all.members.iter().map(lag).collect();
    // Each cell has its own.
    (all.sequence, all.engine_latency) = (0, Default::default());
    all.end_trouble("");
    let mut answer = ClusterJson::from(all);
    answer.members = members;
    let cells = cells.iter().enumerate().map(|(cell, status)| CellJson::new(cell, status).with_links(here));
    answer.cells = cells.collect();
    Some(answer)
}

/// Asks the node of one cell, or those of all. Returns the nodes that are to serve the clients.
pub(super) async fn ask(
    handles: &[ClusterHandle],
    cell: Option<usize>,
    command: Command,
) -> Result<Option<String>, CommandError> {
    let refuse = |text: &str| Err(CommandError::Refused(Refusal::Other(text.to_owned())));
    if let Command::Move { .. } = command {
        return match cell.map(|cell| handles.get(cell)) {
            Some(Some(handle)) => handle.ask(command).await,
            Some(None) => refuse("there is no such cell"),
            None => refuse("name the cell that is to be moved"),
        };
    }
    let asked = futures_util::future::join_all(handles.iter().map(|handle| handle.ask(command.clone()))).await;
    let is_forgotten = matches!(command, Command::Forget { .. }) && asked.iter().any(Result::is_ok);
    let mut nodes = Vec::new();
    for answer in asked {
        match answer {
            // It has not come as far in this cell.
            Err(CommandError::Refused(Refusal::Unknown(_))) if is_forgotten => {}
            answer => nodes.extend(answer?),
        }
    }
    nodes.sort();
    nodes.dedup();
    Ok((!nodes.is_empty()).then(|| nodes.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admin::BrokerHandles;
    use crate::admin::api::tests::Api;
    use crate::admin::tests::handles;
    use crate::cluster::{ClusterControl, Owner, Role};
    use crate::routing::CellId;
    use crate::server::CellServer;

    fn status(role: Role, owner: &str) -> Status {
        let mut status = Status::new("c".to_owned(), "a".to_owned(), "a.example:1883".to_owned());
        (status.role, status.sequence, status.epoch) = (role, 100, 3);
        status.owner = Some(Owner { node: owner.to_owned(), advertise: None });
        let member = |node: &str, sequence| Member {
            node: node.to_owned(),
            role: Some(if node == owner { Role::Owner } else { Role::Standby }),
            is_able: node != owner,
            is_alive: true,
            sequence,
            ..Member::default()
        };
        status.members = vec![member("b", 90), member("c", 70)];
        status
    }

    fn api() -> (Api, Vec<ClusterControl>) {
        let cells = [status(Role::Owner, "a"), status(Role::Standby, "b")].map(ClusterHandle::new);
        let (handles, controls): (Vec<_>, Vec<_>) = cells.into_iter().unzip();
        (Api::with(|_| (), |parts| parts.cells = handles), controls)
    }

    #[test]
    fn each_cell_has_its_owner_and_each_node_is_there_once() {
        let (api, _controls) = api();
        let answer = api.local("GET /api/v1/cluster", "").json();
        let cells = answer["cells"].as_array().unwrap();
        let owners: Vec<_> = cells.iter().map(|cell| (cell["owner"].as_str(), cell["role"].as_str())).collect();
        assert_eq!(owners, [(Some("a"), Some("owner")), (Some("b"), Some("standby"))]);
        assert_eq!((&cells[0]["copies"], &cells[0]["lag"], &cells[0]["epoch"]), (&3.into(), &30.into(), &3.into()));
        let nodes: Vec<_> = answer["members"].as_array().unwrap().iter().map(|node| node["node"].as_str()).collect();
        assert_eq!(nodes, [Some("b"), Some("c")]);
        assert_eq!((&answer["members"][0]["role"], &answer["members"][0]["able"]), (&"owner".into(), &true.into()));
        assert_eq!((&answer["role"], &answer["sequence"]), (&"owner".into(), &0.into()));
        let lags: Vec<_> = answer["members"].as_array().unwrap().iter().map(|node| node["lag"].as_u64()).collect();
        assert_eq!(lags, [Some(20), Some(60)], "the sum over both cells");
    }

    #[test]
    fn a_cell_that_is_served_here_shows_its_connections() {
        let (nodes, _controls): (Vec<_>, Vec<_>) =
            [status(Role::Owner, "a"), status(Role::Standby, "b")].map(ClusterHandle::new).into_iter().unzip();
        let cells = Cells::new(2);
        cells.add_server(CellServer::unanswered(CellId(0), 2, handles().status));
        let parts = |parts: &mut BrokerHandles| (parts.cells, parts.front_of) = (nodes, Some(cells));
        let api = Api::with(|_| (), parts);
        let answer = api.local("GET /api/v1/cluster", "").json();
        let fields = |cell: usize| {
            let fields = ["accepts_clients", "links_up", "waiting_messages", "waiting_bytes", "links"];
            fields.map(|field| answer["cells"][cell][field].clone())
        };
        let link = json!({
            "cell": 1, "out": false, "in": false, "control": false, "waiting_messages": 0, "waiting_bytes": 0
        });
        assert_eq!(json!(fields(0)), json!([false, 0, 0, 0, [link]]));
        assert_eq!(json!(fields(1)), json!([null, null, null, null, []]));
        let metrics = api.local("GET /metrics", "").body;
        for line in [
            "oncemq_cluster_role{role=\"owner\"} 1",
            "oncemq_cluster_member_lag_entries{node=\"c\"} 60",
            "oncemq_cluster_cell_owned{cell=\"0\"} 1",
            "oncemq_cluster_cell_owned{cell=\"1\"} 0",
            "oncemq_cluster_cell_epoch{cell=\"1\"} 3",
            "oncemq_cluster_cell_lag_entries{cell=\"0\"} 30",
            "oncemq_cluster_cell_accepts_clients{cell=\"0\"} 0",
            "oncemq_cluster_cell_links_up{cell=\"0\"} 0",
            "oncemq_cluster_cell_links_down{cell=\"0\"} 1",
            "oncemq_cluster_cell_waiting_messages{cell=\"0\"} 0",
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line} in\n{metrics}");
        }
        assert!(!metrics.lines().any(|line| line.starts_with("oncemq_cluster_epoch ")), "each cell has its own");
    }

    #[test]
    fn one_cell_is_moved_and_a_node_is_drained_of_all() {
        let (api, controls) = api();
        let node = |mut control: ClusterControl, count: usize| {
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let next = || runtime.block_on(control.next()).unwrap().accept();
                std::iter::repeat_with(next).take(count).collect::<Vec<_>>()
            })
        };
        let threads: Vec<_> = controls.into_iter().zip([2, 1]).map(|(control, count)| node(control, count)).collect();
        for (question, words) in [
            ("POST /api/v1/cluster/move?to=b", "name the cell that is to be moved"),
            ("POST /api/v1/cluster/move?to=b&cell=2", "there is no such cell"),
            ("POST /api/v1/cluster/move?to=c&cell=1", "this node is standby, not the owner: that is b"),
        ] {
            let answer = api.local(question, "");
            assert_eq!((answer.code, &answer.json()["error"]), (409, &words.into()), "{question}");
        }
        assert_eq!(api.local("POST /api/v1/cluster/move?to=b&cell=0", "").json()["to"], "b");
        assert_eq!(api.local("POST /api/v1/cluster/drain", "").json()["to"], "b");
        let commands: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(commands, [vec![Command::Move { to: Some("b".to_owned()) }, Command::Drain], vec![Command::Drain]]);
    }
}
