//! Begins the measurements of latencies: see [`samples`](crate::server::shard::samples).

use std::sync::Arc;
use std::time::Duration;

use super::Driver;
use crate::broker::ConnectionId;
use crate::codec::Publish;
use crate::server::shard::samples::Unacknowledged;
use crate::timestamp::Stamp;

impl Driver {
    /// Notes when a connection was accepted.
    pub(in crate::server) fn set_accepted(&mut self, connection: ConnectionId, accepted_at: Duration) {
        if let Some(entry) = self.connections.get_mut(connection) {
            entry.samples.get_or_insert_default().accepted_at = Some(accepted_at);
        }
    }

    /// Measures the latencies of a PUBLISH that was read, if it is in the sample.
    #[inline]
    pub(in crate::server) fn sample_publish(&mut self, connection: ConnectionId, publish: &mut Publish) {
        if self.sampler.wants_publish(self.reading.now) {
            self.measure_publish(connection, publish);
        }
    }

    #[cold]
    fn measure_publish(&mut self, connection: ConnectionId, publish: &mut Publish) {
        let received = self.reading.elapsed;
        if let Some(message) = Arc::get_mut(&mut publish.message) {
            message.received = Stamp::new(received);
        }
        let Some(packet_id) = publish.packet_id else { return };
        if let Some(entry) = self.connections.get_mut(connection) {
            let measured = Unacknowledged { packet_id, qos: publish.qos, received };
            entry.samples.get_or_insert_default().unacknowledged.get_or_insert(measured);
        }
    }

    #[cold]
    pub(super) fn measure_turn(&mut self) {
        let turn = self.clock.read().elapsed.saturating_sub(self.reading.elapsed);
        self.traffic.latencies.turn.record(turn);
    }
}
