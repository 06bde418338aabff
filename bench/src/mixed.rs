//! The mixed load: a small fleet of devices and their backend.

use crate::packet::{QoS, SessionKind};
use crate::plan::{ReceiverPlan, StreamPlan};

/// The streams, the receivers, and the streams that each publisher sends in turn.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) streams: Vec<StreamPlan>,
    pub(crate) receivers: Vec<ReceiverPlan>,
    pub(crate) publishers: Vec<Vec<usize>>,
}

/// `devices` on a few sites.
/// Each device sends telemetry at QoS 0 to the dashboard of its site, and sometimes an event at QoS 1 to durable
/// workers with a Shared Subscription. Each device receives commands at QoS 2.
pub(crate) fn fleet(run: u32, devices: usize) -> Fleet {
    let topic = |device: usize, what: &str| format!("bench/{run:08x}/site{}/device{device}/{what}", device % SITES);
    let mut streams = Vec::new();
    let mut publishers = Vec::new();
    for device in 0..devices {
        let [telemetry, event] = [streams.len(), streams.len() + 1];
        streams.push(StreamPlan {
            topic: topic(device, "telemetry"),
            qos: QoS::AtMostOnce,
            audiences: vec![devices + device % SITES],
        });
        let workers = vec![devices + SITES];
        streams.push(StreamPlan { topic: topic(device, "event"), qos: QoS::AtLeastOnce, audiences: workers });
        let mut turns = vec![telemetry; TURNS];
        // Devices send their events in different turns.
        if let Some(turn) = turns.get_mut(device % TURNS) {
            *turn = event;
        }
        publishers.push(turns);
    }
    let commands = streams.len();
    for device in 0..devices {
        let audiences = vec![device];
        streams.push(StreamPlan { topic: topic(device, "command"), qos: QoS::ExactlyOnce, audiences });
    }
    let controllers = (devices / DEVICES_PER_CONTROLLER).max(1);
    publishers.extend((0..controllers).map(|controller| {
        let devices = (controller..devices).step_by(controllers);
        devices.map(|device| commands + device).collect()
    }));

    let mut receivers = Vec::new();
    receivers.extend((0..devices).map(|device| ReceiverPlan {
        filters: vec![topic(device, "command")],
        audience: device,
        qos: QoS::ExactlyOnce,
        session: SessionKind::Clean,
    }));
    receivers.extend((0..SITES).map(|site| ReceiverPlan {
        filters: vec![format!("bench/{run:08x}/site{site}/+/telemetry")],
        audience: devices + site,
        qos: QoS::AtMostOnce,
        session: SessionKind::Clean,
    }));
    receivers.extend((0..WORKERS).map(|_| ReceiverPlan {
        filters: vec![format!("$share/workers/bench/{run:08x}/+/+/event")],
        audience: devices + SITES,
        qos: QoS::AtLeastOnce,
        session: SessionKind::Durable,
    }));
    Fleet { streams, receivers, publishers }
}

const SITES: usize = 10;
const WORKERS: usize = 4;
/// One message out of this many of a device is an event.
const TURNS: usize = 8;
/// Chosen so that a few percent of the messages are commands.
const DEVICES_PER_CONTROLLER: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_has_a_publisher_and_a_subscribed_audience() {
        let fleet = fleet(7, 50);
        let mut published: Vec<_> = fleet.publishers.concat();
        published.sort_unstable();
        published.dedup();
        assert_eq!(published, (0..fleet.streams.len()).collect::<Vec<_>>());
        for stream in &fleet.streams {
            let device = stream.topic.split('/').nth(3).unwrap();
            let what = stream.topic.split('/').nth(4).unwrap();
            let site = stream.topic.split('/').nth(2).unwrap();
            for audience in &stream.audiences {
                let members: Vec<_> = fleet.receivers.iter().filter(|r| r.audience == *audience).collect();
                assert_eq!(members.len(), if what == "event" { WORKERS } else { 1 });
                let filter = &members[0].filters[0];
                assert!(filter.ends_with(what), "{filter} {}", stream.topic);
                assert!(what != "telemetry" || filter.contains(&format!("/{site}/")));
                assert!(what != "command" || filter.contains(&format!("/{device}/")));
                assert_eq!(members[0].qos, stream.qos);
            }
        }
    }
}
