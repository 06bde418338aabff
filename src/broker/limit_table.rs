//! The limits of the Sessions of a shard: those of all clients, and those of single users.

use std::sync::Arc;

use crate::broker::settings::Settings;
use crate::routing::LimitsClass;
use crate::session::Limits;

/// One set of limits for each class, which the Sessions of the class share.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::broker) struct LimitTable {
    general: Arc<Limits>,
    /// Those of the Sessions of links to other cells.
    link: Arc<Limits>,
    /// By the index of the class.
    exceptions: Vec<Arc<Limits>>,
}

impl LimitTable {
    /// The limits of the settings, each changed by `adapt`.
    pub(in crate::broker) fn new(settings: &Settings, adapt: impl Fn(Limits) -> Limits) -> Self {
        let limits = |class| Arc::new(adapt(settings.session_limits(class)));
        let exceptions = settings.user_limits.classes().map(limits).collect();
        Self { general: limits(LimitsClass::GENERAL), link: limits(LimitsClass::LINK), exceptions }
    }

    /// The limits of a class.
    pub(in crate::broker) fn of(&self, class: LimitsClass) -> &Arc<Limits> {
        if class == LimitsClass::LINK {
            return &self.link;
        }
        class.index().and_then(|index| self.exceptions.get(index)).unwrap_or(&self.general)
    }
}
