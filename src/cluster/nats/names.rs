use crate::config::Cluster;

/// The names of streams and subjects of a cell of a cluster.
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
    /// What the subjects of frames begin with; the name of the receiver and that of the sender follow. It is the same for all cells.
    pub(super) link_prefix: String,
    /// This node.
    pub(super) node: String,
}

impl Names {
    /// The number of cells is fixed when a cluster is made. The tail of cell 0 has the same name whatever the number is, and the number in its metadata, so
    /// that nodes which do not agree about it meet there.
    ///
    /// The part behind the last `_` says what a stream is, so that one of another cluster has another name, although the name of a cluster can have `_`.
    pub(super) fn of(config: &Cluster, cell: u8) -> Self {
        let name = &config.name;
        let (nodes, tail_subjects, node_subjects) = match config.cells {
            0 | 1 => (format!("ONCEMQ_{name}_NODES"), format!("oncemq.{name}.0"), format!("oncemq.{name}")),
            _ => {
                let subjects = format!("oncemq.{name}.cell.{cell}");
                (format!("ONCEMQ_{name}_NODES{cell}"), subjects.clone(), subjects)
            }
        };
        Self {
            tail: format!("ONCEMQ_{name}_{cell}"),
            commits: format!("{tail_subjects}.c"),
            epochs: format!("{tail_subjects}.epoch"),
            nodes,
            node_prefix: format!("{node_subjects}.node."),
            ask_prefix: format!("{node_subjects}.ask."),
            link_prefix: format!("oncemq.{name}.link."),
            node: config.node.clone().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn names(name: &str, cells: u16, cell: u8) -> Names {
        Names::of(&Cluster { name: name.to_owned(), cells, ..Cluster::default() }, cell)
    }

    #[test]
    fn one_cell_has_the_names_that_it_always_had() {
        let Names { tail, commits, epochs, nodes, node_prefix, ask_prefix, link_prefix, .. } = names("a", 1, 0);
        assert_eq!((&*tail, &*commits, &*epochs), ("ONCEMQ_a_0", "oncemq.a.0.c", "oncemq.a.0.epoch"));
        assert_eq!((&*nodes, &*node_prefix), ("ONCEMQ_a_NODES", "oncemq.a.node."));
        assert_eq!((&*ask_prefix, &*link_prefix), ("oncemq.a.ask.", "oncemq.a.link."));
    }

    #[test]
    fn no_stream_and_no_subject_is_of_two_cells_but_that_frames_go_from_node_to_node() {
        let (mut streams, mut subjects) = (HashSet::new(), HashSet::new());
        for name in ["a", "a_0", "a_1", "a_NODES", "a_NODES1", "a_0_1", "cell", "a-0"] {
            let mut first = None;
            for cell in 0..12 {
                let Names { tail, commits, epochs, nodes, node_prefix, ask_prefix, link_prefix, .. } =
                    names(name, 12, cell);
                for stream in [tail, nodes] {
                    assert!(streams.insert(stream.clone()), "{stream}");
                }
                for subject in [commits, epochs, node_prefix, ask_prefix] {
                    assert!(subjects.insert(subject.clone()), "{subject}");
                }
                assert_eq!(*first.get_or_insert_with(|| link_prefix.clone()), link_prefix);
            }
            // A cluster of one cell with the same name: only the tail, at which they find out.
            let one = names(name, 1, 0);
            assert!(!streams.insert(one.tail) && streams.insert(one.nodes));
            for subject in [one.commits, one.epochs, one.node_prefix, one.ask_prefix] {
                assert!(subjects.insert(subject.clone()), "{subject}");
            }
        }
    }
}
