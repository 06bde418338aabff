//! One run of the broker, or of a standby, with its admin listener.

use oncemq::admin::{self, BrokerHandles};
use oncemq::cluster::ClusterHandle;
use oncemq::config::{Arguments, Loaded};
use oncemq::server::{Ended, Server, Start};

/// Runs the broker until it ends or hands over. `cells`: the nodes of all cells, or that of a cluster without cells, if there is one. `started` is called before it serves.
pub(crate) fn run(
    loaded: Loaded,
    arguments: &Arguments,
    start: Start,
    (mut cells, started): (Vec<ClusterHandle>, impl FnOnce(&Server)),
) -> anyhow::Result<Ended> {
    let (config, front_of) = (loaded.config.clone(), start.front_of.clone());
    let (admin, durability, data) = (config.admin.clone(), config.server.durability, config.server.data.clone());
    let mut server = Server::start_with(config, start)?.reloading(arguments.clone(), loaded);
    let (status, shared, store) = (server.status(), server.shared(), server.store());
    let (queries, traces, bans, reloader) = (server.queries(), server.traces(), server.bans(), server.reloader());
    let nodes = server.node_streams();
    let cluster = if cells.len() == 1 { cells.pop() } else { None };
    let handles = BrokerHandles {
        status,
        shared,
        durability,
        store,
        queries,
        traces,
        bans,
        reloader,
        cluster,
        cells,
        front_of,
        nodes,
        data,
    };
    let mut admin = admin::start(&admin, server.take_admin_sockets(), handles)?;
    if let Some(admin) = &mut admin {
        admin.pass_sockets(&mut server);
    }
    started(&server);
    Ok(server.run_with(admin)?)
}
