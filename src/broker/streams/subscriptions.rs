//! What subscriptions to streams have in common, alone and in groups.

use crate::broker::sessions::slot::SessionSlot;
use crate::broker::streams::cursors::StreamCursors;
use crate::broker::streams::groups::memberships::Memberships;
use crate::topic::{Filter, MountPoint, TopicFilter, Unmountable};

/// The number of subscriptions of a Session to streams, alone and in groups.
pub(in crate::broker) fn stream_subscriptions(entry: &SessionSlot) -> usize {
    let alone = entry.incidents.streams().map_or(0, StreamCursors::len);
    alone + entry.incidents.groups().map_or(0, Memberships::len)
}

/// The filter behind the name of a stream with the mount point of a client; without a filter, all topics below the mount point.
pub(in crate::broker) fn mounted_filter(
    mount_point: Option<&MountPoint>,
    filter: Option<&TopicFilter>,
) -> Result<Option<TopicFilter>, Unmountable> {
    let Some(mount_point) = mount_point else { return Ok(filter.cloned()) };
    let filter = filter.cloned().map_or_else(|| everything(mount_point), |filter| mount_point.filter(&filter.into()));
    filter.map(|filter| Some(filter.topic_filter))
}

fn everything(mount_point: &MountPoint) -> Result<Filter, Unmountable> {
    let filter = mount_point.text("#").map(TopicFilter::new)?;
    Ok(filter.map_or_else(|_| Filter::from(TopicFilter::reserved()), Filter::from))
}

/// The greatest number of subscriptions to streams of a Session: each holds a chunk, and is looked at after each packet of the client.
pub(in crate::broker) const STREAMS_PER_SESSION_MAX: usize = 64;
