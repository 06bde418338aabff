//! The table of goals: limits of figures, of their ratios, and of their growth.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The content of `goals.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GoalTable {
    #[serde(default)]
    pub(crate) goal: Vec<Goal>,
    #[serde(default)]
    pub(crate) growth: Vec<Growth>,
    #[serde(default)]
    pub(crate) cluster: Vec<ClusterGoal>,
}

/// A limit of a figure of three nodes with a replicated log.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusterGoal {
    pub(crate) name: String,
    pub(crate) figure: String,
    /// The load; or `deaths`, or `machine-deaths`.
    pub(crate) scenario: String,
    /// Three unless it says otherwise.
    #[serde(default = "three")]
    pub(crate) nodes: usize,
    /// One unless it says otherwise.
    #[serde(default = "one")]
    pub(crate) cells: usize,
    /// The figure is divided by the one of a single broker under the same load.
    #[serde(default)]
    pub(crate) to_single: bool,
    pub(crate) at_most: Option<f64>,
    pub(crate) at_least: Option<f64>,
}

const fn three() -> usize {
    3
}

const fn one() -> usize {
    1
}

impl ClusterGoal {
    /// Whether the figure may have this value.
    pub(crate) fn allows(&self, value: f64) -> bool {
        self.at_most.is_none_or(|limit| value <= limit) && self.at_least.is_none_or(|limit| value >= limit)
    }
}

/// A limit of a figure, or of its ratio to a reference.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Goal {
    pub(crate) name: String,
    pub(crate) figure: String,
    pub(crate) broker: String,
    pub(crate) scenario: String,
    pub(crate) cores: Option<usize>,
    /// The reference that the figure is divided by.
    pub(crate) to: Option<Reference>,
    pub(crate) at_most: Option<f64>,
    pub(crate) at_least: Option<f64>,
}

/// A reference. Fields that are not set have the value of the goal.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Reference {
    /// The smallest figure of several brokers.
    BestOf(Vec<String>),
    /// Another run.
    Run { broker: Option<String>, scenario: Option<String>, figure: Option<String>, cores: Option<usize> },
    /// The sync time of the disk.
    DiskSync,
}

/// A figure at three sizes, and limits of its growth.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Growth {
    pub(crate) name: String,
    /// What the sizes count.
    pub(crate) of: String,
    pub(crate) figure: String,
    pub(crate) broker: String,
    /// The scenario, in which `{n}` stands for the size, and `{NUMBER/n}` for the number divided by the size.
    pub(crate) scenario: String,
    pub(crate) sizes: [u64; 3],
    /// The limit of the ratio of the figure at each larger size to the figure at the first.
    pub(crate) at_most: f64,
    /// The limit of the figure itself, at each size.
    pub(crate) figure_at_most: Option<f64>,
    /// Brokers that run the same sizes, for comparison.
    #[serde(default)]
    pub(crate) peers: Vec<String>,
}

impl GoalTable {
    /// Reads the table.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        toml::from_str(&text).with_context(|| file.display().to_string())
    }
}
