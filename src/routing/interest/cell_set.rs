use siphasher::sip::SipHasher13;

use crate::routing::of_filter::OfFilter;

/// The number of a cell; a cluster has at most 256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellId(pub u8);

impl CellId {
    /// The one of `cells` cells, of 1 to 256, that has the Session of this Client Identifier. It is the same in all builds and on all platforms, and with the
    /// logs of the cells for ever.
    pub fn of_client(client_id: &str, cells: u16) -> Self {
        let hash = SipHasher13::new_with_key(b"OnceMQ cell of a").hash(client_id.as_bytes());
        Self(u8::try_from(hash % u64::from(cells.clamp(1, 256))).unwrap_or_default())
    }
}

/// Some of the cells of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CellSet([u64; 4]);

impl CellSet {
    /// Adds a cell. Returns whether it was not there.
    pub fn insert(&mut self, cell: CellId) -> bool {
        let (word, bit) = self.place(cell);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Removes a cell. Returns whether it was there.
    pub fn remove(&mut self, cell: CellId) -> bool {
        let (word, bit) = self.place(cell);
        let was_there = *word & bit != 0;
        *word &= !bit;
        was_there
    }

    /// Adds the cells of another set.
    pub fn add(&mut self, other: &Self) {
        for (word, others) in self.0.iter_mut().zip(other.0) {
            *word |= others;
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// The cells, ascending.
    pub fn iter(&self) -> impl Iterator<Item = CellId> + use<> {
        let Self(words) = *self;
        (0..=u8::MAX).filter(move |cell| bit_of(*cell) & word_of(&words, *cell) != 0).map(CellId)
    }

    fn place(&mut self, CellId(cell): CellId) -> (&mut u64, u64) {
        let [a, b, c, d] = &mut self.0;
        let word = match cell / 64 {
            0 => a,
            1 => b,
            2 => c,
            _ => d,
        };
        (word, bit_of(cell))
    }
}

impl OfFilter for CellSet {
    fn is_unused(&self) -> bool {
        self.is_empty()
    }
}

const fn bit_of(cell: u8) -> u64 {
    1 << (cell % 64)
}

const fn word_of(words: &[u64; 4], cell: u8) -> u64 {
    let [a, b, c, d] = *words;
    match cell / 64 {
        0 => a,
        1 => b,
        2 => c,
        _ => d,
    }
}
