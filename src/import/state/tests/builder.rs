//! Writes files as the versions of mosquitto do. It shares no code with the reader.

/// The versions of the format.
pub(super) const VERSIONS: [u32; 5] = [2, 3, 4, 5, 6];

/// A file.
#[derive(Debug, Clone)]
pub(super) struct Db {
    pub(super) version: u32,
    pub(super) bytes: Vec<u8>,
}

/// A message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) id: u64,
    pub(super) topic: &'a [u8],
    pub(super) payload: &'a [u8],
    pub(super) qos: u8,
    pub(super) expires: i64,
    pub(super) user: &'a str,
    pub(super) properties: &'a [u8],
}

/// A message of a client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queued<'a> {
    pub(super) client: &'a str,
    pub(super) id: u64,
    pub(super) packet_id: u16,
    pub(super) qos: u8,
    pub(super) state: u8,
    pub(super) dup: u8,
    pub(super) incoming: bool,
}

/// A client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client<'a> {
    pub(super) id: &'a str,
    pub(super) last: u16,
    pub(super) expiry: (i64, u32),
    pub(super) user: &'a str,
}

impl Default for Message<'_> {
    fn default() -> Self {
        Self { id: 1, topic: b"t", payload: b"p", qos: 1, expires: 0, user: "", properties: b"" }
    }
}

impl Default for Queued<'_> {
    fn default() -> Self {
        Self { client: "c", id: 1, packet_id: 1, qos: 1, state: 11, dup: 0, incoming: false }
    }
}

impl Default for Client<'_> {
    fn default() -> Self {
        Self { id: "c", last: 0, expiry: (0, u32::MAX), user: "" }
    }
}

fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    let length = u16::try_from(text.as_ref().len()).unwrap();
    [&length.to_be_bytes(), text.as_ref()].concat()
}

fn length(text: impl AsRef<[u8]>) -> [u8; 2] {
    u16::try_from(text.as_ref().len()).unwrap().to_be_bytes()
}

impl Db {
    pub(super) fn new(version: u32) -> Self {
        let bytes = [b"\0\xB5\0mosquitto db\0\0\0\0" as &[u8], &version.to_be_bytes()].concat();
        let mut db = Self { version, bytes };
        match db.is_new() {
            true => db.chunk(1, &[&9_u64.to_le_bytes()[..], &[1, 8, 0, 0, 0, 0, 0, 0]].concat()),
            false => db.chunk(1, &[&[1, 8][..], &9_u64.to_le_bytes()].concat()),
        }
        db
    }

    fn is_new(&self) -> bool {
        self.version >= 5
    }

    pub(super) fn chunk(&mut self, kind: u8, body: &[u8]) {
        let header: &[u8] = if self.is_new() { &[0, 0, 0, kind] } else { &[0, kind] };
        self.bytes.extend_from_slice(header);
        self.bytes.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        self.bytes.extend_from_slice(body);
    }

    pub(super) fn message(&mut self, message: Message<'_>) -> &mut Self {
        let Message { id, topic, payload, qos, expires, user, properties } = message;
        let payload_length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let (source, packet_id) = ("source", 5_u16.to_be_bytes());
        let body = if self.is_new() {
            let lengths = [length(source), length(user), length(topic), 1_883_u16.to_be_bytes()].concat();
            let head = [&id.to_le_bytes()[..], &expires.to_le_bytes(), &payload_length, &packet_id, &lengths].concat();
            [&head, &[qos, 0][..], source.as_bytes(), user.as_bytes(), topic, payload, properties].concat()
        } else {
            let user = if self.version == 4 { [string(user), vec![0, 0]].concat() } else { Vec::new() };
            let head = [&id.to_le_bytes()[..], &string(source), &user, &packet_id, &[0, 0], &string(topic)].concat();
            [&head, &[qos, 0][..], &payload_length, payload].concat()
        };
        self.chunk(2, &body);
        self
    }

    pub(super) fn client(&mut self, Client { id, last, expiry, user }: Client<'_>) -> &mut Self {
        let last = last.to_be_bytes();
        let body = match self.version {
            2 => [&string(id), &last[..]].concat(),
            3 | 4 => [&string(id), &last[..], &1_795_955_000_u64.to_le_bytes()].concat(),
            version => {
                let head = [&expiry.0.to_le_bytes()[..], &expiry.1.to_be_bytes(), &last, &length(id)].concat();
                match version {
                    5 => [&head, id.as_bytes()].concat(),
                    _ => [&head, &[7, 0x5B][..], &length(user), &[0; 4], id.as_bytes(), user.as_bytes()].concat(),
                }
            }
        };
        self.chunk(6, &body);
        self
    }

    pub(super) fn queued(&mut self, queued: Queued<'_>) -> &mut Self {
        let Queued { client, id, packet_id, qos, state, dup, incoming } = queued;
        let (id, packet_id, direction) = (id.to_le_bytes(), packet_id.to_be_bytes(), u8::from(!incoming));
        let body = if self.is_new() {
            [&id[..], &packet_id, &length(client), &[qos, state, dup, direction], client.as_bytes()].concat()
        } else {
            [&string(client), &id[..], &packet_id, &[qos, 0, direction, state, dup]].concat()
        };
        self.chunk(3, &body);
        self
    }

    pub(super) fn subscription(&mut self, client: &str, filter: &[u8], options: u8) -> &mut Self {
        let body = if self.is_new() {
            let head = [&0_u32.to_be_bytes()[..], &length(client), &length(filter)].concat();
            [&head, &[options & 3, options & 0xFC, 0, 0][..], client.as_bytes(), filter].concat()
        } else {
            [&string(client), &string(filter)[..], &[options & 3]].concat()
        };
        self.chunk(5, &body);
        self
    }

    pub(super) fn retained(&mut self, id: u64) -> &mut Self {
        self.chunk(4, &id.to_le_bytes());
        self
    }
}
