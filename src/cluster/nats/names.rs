use crate::config::Cluster;

/// The names of streams and subjects of a cluster.
#[derive(Debug)]
pub(super) struct Names {
    /// The stream of the tail.
    pub(super) tail: String,
    /// The subject of commits.
    pub(super) commits: String,
    /// The subject of epoch entries.
    pub(super) epochs: String,
    /// The stream of the signs of life.
    pub(super) nodes: String,
    /// What their subjects begin with; the name of the node follows.
    pub(super) node_prefix: String,
    /// What the subjects of questions begin with; the name of the node follows.
    pub(super) ask_prefix: String,
    /// What the subjects of frames begin with; the name of the receiver and that of the sender follow.
    pub(super) link_prefix: String,
    /// This node.
    pub(super) node: String,
}

impl Names {
    pub(super) fn of(config: &Cluster) -> Self {
        let name = &config.name;
        Self {
            tail: format!("ONCEMQ_{name}_0"),
            commits: format!("oncemq.{name}.0.c"),
            epochs: format!("oncemq.{name}.0.epoch"),
            nodes: format!("ONCEMQ_{name}_NODES"),
            node_prefix: format!("oncemq.{name}.node."),
            ask_prefix: format!("oncemq.{name}.ask."),
            link_prefix: format!("oncemq.{name}.link."),
            node: config.node.clone().unwrap_or_default(),
        }
    }
}
