//! Files of `[cluster]` that others can read or change.

use super::exposure::{READ, WRITE, open_to_others};
use super::{Config, Problem};

impl Config {
    /// What the files of the cluster show to others; empty if there is nothing to say.
    pub(super) fn cluster_exposures(&self) -> Vec<Problem> {
        let cluster = &self.cluster;
        let files = [
            ("cluster.ca", &cluster.ca, WRITE),
            ("cluster.certificate", &cluster.certificate, WRITE),
            ("cluster.key", &cluster.key, READ | WRITE),
            ("cluster.password_file", &cluster.password_file, READ | WRITE),
            ("cluster.credentials_file", &cluster.credentials_file, READ | WRITE),
            ("cluster.nkey_file", &cluster.nkey_file, READ | WRITE),
        ];
        let paths = files.into_iter().filter_map(|(key, path, permissions)| Some((key, path.as_ref()?, permissions)));
        paths.filter_map(|(key, path, permissions)| open_to_others(key, path, permissions)).collect()
    }
}
