use serde::{Deserialize, Serialize};

use super::mqtt::qos;
use crate::codec::Qos;

/// A version of MQTT: `"3.1"`, `"3.1.1"` or `"5.0"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AcceptedVersion {
    /// MQTT 3.1.
    #[serde(rename = "3.1")]
    V3_1,
    /// MQTT 3.1.1.
    #[serde(rename = "3.1.1")]
    V3_1_1,
    /// MQTT 5.0.
    #[serde(rename = "5.0")]
    V5,
}

/// A Maximum QoS: 0, 1 or 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MaximumQos(#[serde(with = "qos")] pub Qos);
