//! The header of every payload, by which a receiver identifies the message.

/// Identifies a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Distinguishes this run from leftovers of earlier runs.
    pub(crate) run: u32,
    /// The number of the stream: of the publisher, or of one of its topics.
    pub(crate) stream: u32,
    /// The position of the message in the stream, from 0.
    pub(crate) sequence: u64,
    /// When it was sent, in nanoseconds on the run's clock.
    pub(crate) sent_ns: u64,
}

impl Stamp {
    /// Its length in bytes.
    pub(crate) const LEN: usize = 24;

    /// Appends the stamp to a payload.
    pub(crate) fn encode(&self, output: &mut Vec<u8>) {
        output.extend_from_slice(&self.run.to_be_bytes());
        output.extend_from_slice(&self.stream.to_be_bytes());
        output.extend_from_slice(&self.sequence.to_be_bytes());
        output.extend_from_slice(&self.sent_ns.to_be_bytes());
    }

    /// Decodes the stamp of a payload that is long enough.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let (run, rest) = payload.split_first_chunk()?;
        let (stream, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (sent_ns, _) = rest.split_first_chunk()?;
        Some(Self {
            run: u32::from_be_bytes(*run),
            stream: u32::from_be_bytes(*stream),
            sequence: u64::from_be_bytes(*sequence),
            sent_ns: u64::from_be_bytes(*sent_ns),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_a_round_trip_and_a_short_payload_has_none() {
        let stamp = Stamp { run: 1, stream: 0x0203_0405, sequence: u64::MAX - 1, sent_ns: 77 };
        let mut bytes = Vec::new();
        stamp.encode(&mut bytes);
        assert_eq!(bytes.len(), Stamp::LEN);
        assert_eq!(Stamp::decode(&bytes), Some(stamp));
        assert_eq!(Stamp::decode(&bytes[1..]), None);
    }
}
