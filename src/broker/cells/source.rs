//! What one cell tells another about a retained message: its place in the order of all changes, and who has published it. It is in User Properties before
//! those of the message.

use std::sync::Arc;

use bytestring::ByteString;

use crate::broker::owner::Owner;
use crate::broker::publish::publisher::Publisher;
use crate::codec::{ClientId, MessageId, MessageProperties, MessageProperty};
use crate::topic::MountPoint;

/// A retained message of another cell.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Retained {
    /// Its place in the order of all changes of retained messages.
    pub(super) id: MessageId,
    pub(super) client_id: Option<ClientId>,
    pub(super) owner: Option<Owner>,
    /// Those of the message.
    pub(super) properties: MessageProperties,
}

/// The properties that say who has published a message. The identity comes before them.
pub(super) fn source_of(publisher: &Publisher) -> MessageProperties {
    let owner = publisher.owner.as_ref();
    let mut told: Vec<(&'static str, ByteString)> = Vec::new();
    told.extend(publisher.client_id.as_ref().map(|client_id| (CLIENT_ID, client_id.as_str().into())));
    told.extend(owner.and_then(Owner::user).map(|user| (USER, (&**user).into())));
    told.extend(owner.and_then(Owner::provider).map(|provider| (PROVIDER, provider.into())));
    told.extend(owner.and_then(Owner::mount_point).map(|mount_point| (MOUNT_POINT, mount_point.as_str().into())));
    told.push((END, ByteString::new()));
    MessageProperties::from_properties(told.into_iter().map(|(name, value)| property(name, value)))
}

impl Retained {
    /// Takes what was told from the properties of a message. `None`: they are not those of a retained message of another cell.
    pub(super) fn take(properties: &MessageProperties) -> Option<Self> {
        let mut all = properties.iter();
        let mut next = || {
            let MessageProperty::UserProperty(name, value) = all.next()? else { return None };
            Some((name, value))
        };
        let (name, value) = next()?;
        let id = value.parse().ok().filter(|_| &*name == MESSAGE_ID)?;
        let (mut client_id, mut user, mut provider, mut mount_point) = (None, None, None, None);
        loop {
            let (name, value) = next()?;
            match &*name {
                CLIENT_ID => client_id = Some(ClientId::from(&*value)),
                USER => user = Some(Arc::from(&*value)),
                PROVIDER => provider = Some(value),
                MOUNT_POINT => mount_point = Some(MountPoint::new(&value).ok()?),
                END => break,
                _ => return None,
            }
        }
        let owner = client_id.is_some().then(|| Owner::from_stored(user, provider.as_deref(), mount_point));
        Some(Self { id, client_id, owner, properties: MessageProperties::from_properties(all) })
    }
}

fn property(name: &'static str, value: ByteString) -> MessageProperty {
    MessageProperty::UserProperty(name.into(), value)
}

/// The name of the User Property with the identity, which each message may have.
const MESSAGE_ID: &str = "message-id";
const CLIENT_ID: &str = "client-id";
const USER: &str = "user";
const PROVIDER: &str = "provider";
const MOUNT_POINT: &str = "mount-point";
const END: &str = "end";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::broker::owner::VerifiedUser;

    fn owner() -> impl Strategy<Value = Option<Owner>> {
        let verified = |provider: String, name: String| VerifiedUser { provider: provider.into(), name: name.into() };
        let user =
            ("[a-z]{1,5}", "[a-zä]{0,5}").prop_map(move |(provider, name)| Owner::of(Some(verified(provider, name))));
        let owner = prop_oneof![Just(Owner::Anonymous), user, Just(Owner::named("old".into()))];
        let below = prop::sample::select(vec![None, Some("m/")]);
        let owner = (owner, below)
            .prop_map(|(owner, below)| owner.below(below.and_then(|below| MountPoint::new(below).ok()).as_ref()));
        prop::option::of(owner)
    }

    proptest! {
        #[test]
        fn what_is_told_is_taken_and_the_message_has_its_own_properties(
            (run, number) in any::<(u64, u64)>(),
            client_id in "[a-z]{0,5}",
            owner in owner(),
            own in prop::collection::vec(("[a-z-]{0,9}", "[a-z]{0,3}"), 0..3),
        ) {
            let client_id = owner.is_some().then(|| ClientId::from(client_id.as_str()));
            let publisher = Publisher { client_id: client_id.clone(), owner: owner.clone(), ..Publisher::broker() };
            let own = own.into_iter().map(|(name, value)| MessageProperty::UserProperty(name.into(), value.into()));
            let own = MessageProperties::from_properties(own);
            let id = MessageId { run, number };
            let identity = property(MESSAGE_ID, id.to_string().into());
            let told = source_of(&publisher);
            let all = [identity].into_iter().chain(told.iter()).chain(own.iter());
            let expected = Retained { id, client_id, owner, properties: own.clone() };
            prop_assert_eq!(Retained::take(&MessageProperties::from_properties(all)), Some(expected));
            prop_assert!(Retained::take(&own).is_none());
        }
    }
}
