use std::fmt;

use siphasher::sip::SipHasher13;

/// The key of the [`Fingerprint`]s of a cluster: random, made together with the cluster, and kept with the number of its cells where all nodes read it. It never
/// changes: a node with another one would pass by what cells want.
///
/// It is secret, because clients choose Topic Filters: whoever knew it could make many with one fingerprint, which cost time and messages that nobody wants.
/// Fingerprints are in announcements, so the hash function is one with the same result in all builds and on all platforms: SipHash-1-3.
#[derive(Clone, Copy)]
pub struct InterestKey(SipHasher13);

impl InterestKey {
    /// From 16 random bytes that all nodes have.
    pub fn new(key: &[u8; 16]) -> Self {
        Self(SipHasher13::new_with_key(key))
    }

    /// A value by which nodes notice that they have different keys.
    pub fn check(&self) -> u64 {
        // No Topic Filter has this character. [MQTT-4.7.3-2]
        self.0.hash(b"\0")
    }

    pub(super) fn fingerprint(&self, text: &str) -> Fingerprint {
        let [a, b, c, d, .., x, y] = self.0.hash(text.as_bytes()).to_le_bytes();
        let x = u64::from(u16::from_le_bytes([x, y]));
        // `x (4 - x) / 3` for an `x` between 0 and 1.
        let [part, more, ..] = ((x * ((4 << 16) - x) / 3) >> (32 - PARTS_BITS)).to_le_bytes();
        Fingerprint { part: u16::from_le_bytes([part, more]), rest: u32::from_le_bytes([a, b, c, d]) }
    }
}

impl fmt::Debug for InterestKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("InterestKey")
    }
}

/// Stands for a Topic Filter without wildcards: 42 bits, which are the number of a part and 32 others.
///
/// Two filters have the same one with a probability of 2.4 × 10⁻¹³. So a topic that no cell wants is passed to one with a probability of 2.4 × 10⁻⁷ when a
/// million filters are known, and 2.4 × 10⁻⁵ when there are 100 million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint {
    /// Below [`PARTS`](Self::PARTS). The last parts have twice as many filters as the first, so that hash tables of theirs don't all grow at the same time.
    pub(super) part: u16,
    pub(super) rest: u32,
}

impl Fingerprint {
    pub(super) const PARTS: u16 = 1 << PARTS_BITS;

    pub(super) const FIRST: Self = Self { part: 0, rest: 0 };

    /// The length of [`to_bytes`](Self::to_bytes).
    pub const BYTES: usize = 6;

    /// For an announcement.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let ([a, b], [c, d, e, f]) = (self.part.to_le_bytes(), self.rest.to_le_bytes());
        [a, b, c, d, e, f]
    }

    /// From an announcement. `None`: it is none.
    pub fn from_bytes([a, b, c, d, e, f]: [u8; Self::BYTES]) -> Option<Self> {
        let fingerprint = Self { part: u16::from_le_bytes([a, b]), rest: u32::from_le_bytes([c, d, e, f]) };
        (fingerprint.part < Self::PARTS).then_some(fingerprint)
    }

    /// Above all of them.
    pub(super) const END: Self = Self { part: Self::PARTS, rest: 0 };

    /// The lowest one above it.
    pub(super) fn next(self) -> Self {
        let Self { part, rest } = self;
        rest.checked_add(1).map_or(Self { part: part.saturating_add(1), rest: 0 }, |rest| Self { part, rest })
    }
}

const PARTS_BITS: u32 = 10;
