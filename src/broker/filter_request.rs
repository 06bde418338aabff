use std::ops::Range;

use crate::broker::ids::ConnectionId;
use crate::codec::{ReasonCode, Subscribe, Unsubscribe};
use crate::session::Ticket;
use crate::topic::Filter;

/// A SUBSCRIBE or UNSUBSCRIBE packet, of which one part is handled in each event. It is answered after the last part.
#[derive(Debug)]
pub(super) struct FilterRequest {
    pub(super) connection: ConnectionId,
    pub(super) packet: FilterPacket,
    /// Those of the filters that were handled.
    pub(super) reason_codes: Vec<ReasonCode>,
    /// The last record of the parts.
    pub(super) wait: Option<Ticket>,
}

/// A packet with Topic Filters.
#[derive(Debug)]
pub(super) enum FilterPacket {
    Subscribe(Box<Subscribe>),
    Unsubscribe(Box<Unsubscribe>),
}

impl FilterRequest {
    pub(super) const fn new(connection: ConnectionId, packet: FilterPacket) -> Self {
        Self { connection, packet, reason_codes: Vec::new(), wait: None }
    }

    /// Whether all filters were handled.
    pub(super) fn is_complete(&self) -> bool {
        self.reason_codes.len() >= self.packet.len()
    }

    /// The filters to handle next: at most [`FILTERS_MAX`], and about [`FILTERS_BYTES_MAX`] bytes.
    pub(super) fn next_part(&self) -> Range<usize> {
        let start = self.reason_codes.len();
        let (mut end, mut bytes) = (start, 0);
        while end - start < FILTERS_MAX
            && bytes < FILTERS_BYTES_MAX
            && let Some(filter) = self.packet.filter(end)
        {
            bytes += filter.topic_filter.as_str().len();
            end += 1;
        }
        start..end
    }
}

impl FilterPacket {
    fn len(&self) -> usize {
        match self {
            Self::Subscribe(subscribe) => subscribe.subscriptions.len(),
            Self::Unsubscribe(unsubscribe) => unsubscribe.filters.len(),
        }
    }

    fn filter(&self, place: usize) -> Option<&Filter> {
        match self {
            Self::Subscribe(subscribe) => Some(&subscribe.subscriptions.get(place)?.filter),
            Self::Unsubscribe(unsubscribe) => unsubscribe.filters.get(place),
        }
    }
}

/// The greatest number of filters that are handled in one event. It takes about a millisecond.
pub(super) const FILTERS_MAX: usize = 1_024;
/// No further filter is handled in an event after this many bytes of filters.
const FILTERS_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{EncodedUserProperties, PacketId};

    fn request(filters: usize, length: usize) -> FilterRequest {
        let filter = Filter::new("f".repeat(length).into()).unwrap();
        let unsubscribe = Unsubscribe {
            packet_id: PacketId::new(1).unwrap(),
            user_properties: EncodedUserProperties::new(),
            filters: vec![filter; filters],
        };
        FilterRequest::new(ConnectionId { slot: 0, generation: 0 }, FilterPacket::Unsubscribe(Box::new(unsubscribe)))
    }

    #[test]
    fn parts_are_bounded_by_filters_and_bytes_and_cover_all() {
        for (filters, length, parts) in
            [(1, 1, 1), (1_024, 1, 1), (1_025, 1, 2), (10_000, 3, 10), (6, 65_535, 3), (6, 65_536 / 2, 3)]
        {
            let (mut request, mut count) = (request(filters, length), 0);
            while !request.is_complete() {
                let part = request.next_part();
                assert!(part.len() <= FILTERS_MAX && (part.len() - 1) * length < FILTERS_BYTES_MAX);
                assert_eq!(part.start, request.reason_codes.len());
                request.reason_codes.resize(part.end, ReasonCode::Success);
                count += 1;
            }
            assert!(count >= parts && count <= parts + 1, "{filters} filters of {length} bytes: {count} parts");
            assert_eq!(request.reason_codes.len(), filters);
        }
    }
}
