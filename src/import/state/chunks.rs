//! The layouts of the chunks of mosquitto.db, in versions 2 to 6.
//!
//! Versions 5 and 6 write structures of C as they are in memory: numbers of 8 bytes in the order of the machine, others in network order, and
//! padding at the end. Versions 2 to 4 write field by field.

use super::contents::{ClientMessage, Content, Session, State};
use super::fields::Fields;

/// A client, and its user name as it is in the file, which may be that of another client.
pub(super) struct StoredClient<'a> {
    pub(super) id: &'a [u8],
    pub(super) user: &'a [u8],
    pub(super) session: Session,
}

/// A message to or from a client. Its client and its identifiers have no places yet.
pub(super) struct StoredClientMessage<'a> {
    pub(super) client_id: &'a [u8],
    pub(super) message: ClientMessage,
    pub(super) subscription_ids: Vec<u32>,
}

pub(super) struct StoredSubscription<'a> {
    pub(super) client_id: &'a [u8],
    pub(super) filter: &'a [u8],
    pub(super) options: u8,
    pub(super) identifier: u32,
}

/// Whether this version has structures, and long headers.
pub(super) const fn has_structures(version: u32) -> bool {
    version >= 5
}

/// Whether the file was saved at the end of mosquitto, and the size of the numbers of messages, in bytes.
pub(super) fn configuration(version: u32, mut fields: Fields<'_>) -> Option<(bool, u8)> {
    if has_structures(version) {
        fields.native_u64()?;
    }
    Some((fields.u8()? != 0, fields.u8()?))
}

/// The number and the expiry time at the start of a message.
pub(super) fn message_head(version: u32, mut fields: Fields<'_>) -> Option<(u64, i64)> {
    let store_id = fields.native_u64()?;
    Some((store_id, if has_structures(version) { fields.native_i64()? } else { 0 }))
}

/// A whole message.
pub(super) fn content(version: u32, mut fields: Fields<'_>) -> Option<Content> {
    let fields = &mut fields;
    fields.native_u64()?;
    if has_structures(version) {
        fields.native_i64()?;
        let payload = usize::try_from(fields.u32()?).ok()?;
        fields.u16()?; // Packet Identifier of the publisher
        let [source_id, source_user, topic] = [fields.u16()?, fields.u16()?, fields.u16()?].map(usize::from);
        fields.u16()?; // port
        let qos = fields.u8()?;
        let retain = fields.u8()? != 0;
        let mut text = |length| fields.take(length).map(<[u8]>::to_vec);
        let (source_id, source_user, topic, payload) =
            (text(source_id)?, text(source_user)?, text(topic)?, text(payload)?);
        let properties = properties(fields)?.to_vec();
        return Some(Content { topic, payload, properties, source_id, source_user, qos, retain });
    }
    let source_id = fields.string()?.to_vec();
    let mut source_user = Vec::new();
    if version == 4 {
        source_user = fields.string()?.to_vec();
        fields.u16()?; // port
    }
    fields.u16()?; // Packet Identifier of the publisher
    fields.u16()?; // of no use
    let topic = fields.string()?.to_vec();
    let qos = fields.u8()?;
    let retain = fields.u8()? != 0;
    let payload = usize::try_from(fields.u32()?).ok()?;
    let payload = fields.take(payload)?.to_vec();
    let properties = Vec::new();
    let content = Content { topic, payload, properties, source_id, source_user, qos, retain };
    fields.0.is_empty().then_some(content)
}

/// Properties behind their length, which end the chunk.
fn properties<'a>(fields: &mut Fields<'a>) -> Option<&'a [u8]> {
    if fields.0.is_empty() {
        return Some(&[]);
    }
    let length = usize::try_from(fields.variable()?).ok()?;
    let properties = fields.take(length)?;
    fields.0.is_empty().then_some(properties)
}

/// A client with its session.
pub(super) fn client(version: u32, mut fields: Fields<'_>) -> Option<StoredClient<'_>> {
    let fields = &mut fields;
    if !has_structures(version) {
        let id = fields.string()?;
        let last_packet_id = fields.u16()?;
        // Version 2 has no time. The size of a time is that of the machine.
        let disconnected_at = match fields.0.len() {
            0 => 0,
            4 => i64::from(u32::from_le_bytes(fields.take(4)?.try_into().ok()?)),
            _ => fields.native_i64()?,
        };
        let session = Session { last_packet_id, disconnected_at, expiry_interval: u32::MAX, ..Session::default() };
        return fields.0.is_empty().then_some(StoredClient { id, user: &[], session });
    }
    let expiry_time = fields.native_i64()?;
    let expiry_interval = fields.u32()?;
    let last_packet_id = fields.u16()?;
    let id = usize::from(fields.u16()?);
    let mut user = 0;
    if version == 6 {
        fields.u16()?; // port
        user = usize::from(fields.u16()?);
    }
    // The padding depends on the machine: what is in front of the texts, which end the chunk.
    let padding = fields.0.len().checked_sub(id + user)?;
    if padding > PADDING_MAX {
        return None;
    }
    fields.take(padding)?;
    let (id, user) = (fields.take(id)?, fields.take(user)?);
    let session = Session { last_packet_id, expiry_time, expiry_interval, ..Session::default() };
    Some(StoredClient { id, user, session })
}

/// A message to or from a client.
pub(super) fn client_message(version: u32, mut fields: Fields<'_>) -> Option<StoredClientMessage<'_>> {
    let fields = &mut fields;
    let (client_id, store_id, packet_id, qos, state, retain, dup, direction);
    let mut subscription_ids = Vec::new();
    if has_structures(version) {
        store_id = fields.native_u64()?;
        packet_id = fields.u16()?;
        let length = usize::from(fields.u16()?);
        (qos, state) = (fields.u8()?, fields.u8()?);
        let both = fields.u8()?;
        (retain, dup) = (both & 0xF0, both & 0x0F);
        direction = fields.u8()?;
        client_id = fields.take(length)?;
        let mut properties = Fields(properties(fields)?);
        while !properties.0.is_empty() {
            // mosquitto stores no other property with a message of a client.
            if properties.u8()? != SUBSCRIPTION_IDENTIFIER {
                return None;
            }
            subscription_ids.push(properties.variable()?);
        }
    } else {
        client_id = fields.string()?;
        (store_id, packet_id) = (fields.native_u64()?, fields.u16()?);
        (qos, retain, direction) = (fields.u8()?, fields.u8()?, fields.u8()?);
        (state, dup) = (fields.u8()?, fields.u8()?);
    }
    if !fields.0.is_empty() || qos > 2 {
        return None;
    }
    let flag = |is_set: bool, flag| if is_set { flag } else { 0 };
    let flags = flag(direction == 0, ClientMessage::INCOMING)
        | flag(retain != 0, ClientMessage::RETAIN)
        | flag(dup != 0, ClientMessage::DUP);
    let state = State::from_number(state);
    let message = ClientMessage { store_id, client: 0, subscription_ids: 0, packet_id, qos, state, flags };
    Some(StoredClientMessage { client_id, message, subscription_ids })
}

/// A subscription.
pub(super) fn subscription(version: u32, mut fields: Fields<'_>) -> Option<StoredSubscription<'_>> {
    let fields = &mut fields;
    if !has_structures(version) {
        let (client_id, filter, options) = (fields.string()?, fields.string()?, fields.u8()?);
        return fields.0.is_empty().then_some(StoredSubscription { client_id, filter, options, identifier: 0 });
    }
    let identifier = fields.u32()?;
    let [client_id, filter] = [fields.u16()?, fields.u16()?].map(usize::from);
    let (qos, options) = (fields.u8()?, fields.u8()?);
    let padding = fields.0.len().checked_sub(client_id + filter)?;
    if padding > PADDING_MAX {
        return None;
    }
    fields.take(padding)?;
    let (client_id, filter) = (fields.take(client_id)?, fields.take(filter)?);
    Some(StoredSubscription { client_id, filter, options: options | qos, identifier })
}

/// The number of a retained message.
pub(super) fn retained(mut fields: Fields<'_>) -> Option<u64> {
    let store_id = fields.native_u64()?;
    fields.0.is_empty().then_some(store_id)
}

/// The most bytes of padding behind a structure.
const PADDING_MAX: usize = 7;
const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
