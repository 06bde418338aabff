//! How long clients cannot publish when the owner dies.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::nodes::Cluster;
use crate::clock;
use crate::packet::{self, Protocol, QoS, Retain, SessionKind};

/// What dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    /// The owner.
    Node,
    /// The owner, and the server of NATS with the same name.
    Machine,
}

/// Ends the owner, and returns the time until a client has a PUBACK of another node. Then all is as it was before.
pub(super) fn die(cluster: &mut Cluster, death: Death) -> Result<Duration> {
    let addresses = cluster.addresses();
    let Some(owner) = cluster.owner() else { bail!("no node serves clients, or two say that they do") };
    if death == Death::Machine {
        cluster.kill_server(owner)?;
    }
    cluster.kill_node(owner)?;
    let died = clock::now();
    let published = wait_for_puback(&addresses, died)?;
    cluster.mend()?;
    Ok(published - died)
}

/// Tries one node after the other until one acknowledges.
fn wait_for_puback(addresses: &[SocketAddr], since: Instant) -> Result<Instant> {
    while clock::now() - since < PATIENCE {
        if addresses.iter().any(|address| publish(*address).is_some()) {
            return Ok(clock::now());
        }
        thread::sleep(PAUSE);
    }
    bail!("no node acknowledges a message in {} s", PATIENCE.as_secs())
}

/// Publishes a message at QoS 1; `None` if the node does not acknowledge it.
fn publish(address: SocketAddr) -> Option<()> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX).ok()?;
    stream.set_read_timeout(Some(ANSWER_MAX)).ok()?;
    let mut output = Vec::new();
    packet::encode_connect(&mut output, "bench-death", SessionKind::Clean, Protocol::V311);
    stream.write_all(&output).ok()?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).ok()?;
    if answer != [0x20, 2, 0, 0] {
        return None;
    }
    let payload = b"message";
    let mut output = packet::publish_head("bench/death", QoS::AtLeastOnce, Retain::PassOn, payload.len(), &[]);
    output.extend_from_slice(&[0, 1]);
    output.extend_from_slice(payload);
    stream.write_all(&output).ok()?;
    stream.read_exact(&mut answer).ok()?;
    (answer == [0x40, 2, 0, 1]).then_some(())
}

/// Longer than a fail-over with an election of NATS.
const PATIENCE: Duration = Duration::from_secs(60);
const ANSWER_MAX: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);
