//! The two versions of the standard.

use std::fmt;

/// A version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// MQTT 3.1.1.
    V3,
    /// MQTT 5.0.
    V5,
}

impl Version {
    /// Both, in the order of reports.
    pub const ALL: [Self; 2] = [Self::V3, Self::V5];

    /// The name in the standard's title.
    pub const fn name(self) -> &'static str {
        self.pick("3.1.1", "5.0")
    }

    /// The Protocol Version (3.1.1: Protocol Level) in CONNECT.
    pub const fn level(self) -> u8 {
        self.pick(4, 5)
    }

    /// Whether it is 5.0.
    pub const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }

    /// The first in 3.1.1, the second in 5.0.
    pub const fn pick<T: Copy>(self, v3: T, v5: T) -> T {
        match self {
            Self::V3 => v3,
            Self::V5 => v5,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
