use super::reader::Reader;

/// Where a copy stands: what it keeps with its log.
///
/// Layout: version (1 byte: 1), cluster (16 bytes), then position, last, epoch and next of the reader (8 bytes each), all in little-endian order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The random number of the cluster whose log it is.
    pub(super) cluster: u128,
    /// What it has read, of which every batch is whole.
    pub(super) reader: Reader,
}

impl Place {
    /// Its bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let Reader { position, last, epoch, next } = self.reader;
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.cluster.to_le_bytes());
        for field in [position, last, epoch, next] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    /// Decodes what [`encode`](Self::encode) returned. `None`: a later version wrote it, or it is not a place.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&VERSION, bytes) = bytes.split_first()? else { return None };
        let (cluster, bytes) = bytes.split_first_chunk::<16>()?;
        let (fields, rest) = bytes.as_chunks::<8>();
        let (&[position, last, epoch, next], []) = (fields, rest) else { return None };
        let fields = [position, last, epoch, next].map(u64::from_le_bytes);
        // Another node may have sent it.
        let [position, last, epoch, next] =
            Some(fields).filter(|fields| fields.iter().all(|field| *field < FIELD_MAX))?;
        Some(Self { cluster: u128::from_le_bytes(*cluster), reader: Reader { position, last, epoch, next } })
    }
}

const VERSION: u8 = 1;

/// No log comes near it: a million commits in each second take 292,000 years.
const FIELD_MAX: u64 = 1 << 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_a_round_trip_and_no_other_length_is_one() {
        let place = Place { cluster: 1 << 100, reader: Reader { position: 9, last: 8, epoch: 3, next: 5 } };
        let bytes = place.encode();
        assert_eq!(Place::decode(&bytes), Some(place));
        for length in 0..bytes.len() {
            assert_eq!(Place::decode(&bytes[..length]), None);
        }
        assert_eq!(Place::decode(&[bytes.as_slice(), &[0]].concat()), None);
        assert_eq!(Place::decode(&[&[2], &bytes[1..]].concat()), None, "a later version");
        let reader = Reader { next: u64::MAX, ..place.reader };
        assert_eq!(Place::decode(&Place { reader, ..place }.encode()), None, "it cannot be counted on from there");
    }
}
