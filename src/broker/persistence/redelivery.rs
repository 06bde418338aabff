//! The stored state of a message that a client refused: the body of [`Record::Redelivery`](crate::broker::Record::Redelivery), or the part of
//! its key beside a message that is queued again.

use crate::broker::persistence::body::Body;
use crate::session::Redelivery;
use crate::timestamp::Timestamp;

/// Appends the state.
pub(in crate::broker) fn put_redelivery(to: &mut Vec<u8>, state: &Redelivery) {
    let Redelivery { attempts, reason_code, due, origin, topic } = *state;
    to.extend(u32::from(attempts).to_le_bytes());
    to.push(reason_code);
    for number in [due.0, origin, topic] {
        to.extend(number.to_le_bytes());
    }
}

/// Reads what [`put_redelivery`] has written.
pub(in crate::broker) fn read_redelivery(bytes: &[u8]) -> Option<Redelivery> {
    let body = &mut Body(bytes);
    let (attempts, reason_code) = (u16::try_from(body.u32()?).ok()?, body.u8()?);
    let (due, origin, topic) = (Timestamp(body.u64()?), body.u64()?, body.u64()?);
    body.0.is_empty().then_some(Redelivery { attempts, reason_code, due, origin, topic })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_the_format_and_a_cut_state_is_not_read() {
        let state = Redelivery { attempts: 2, reason_code: 0x97, due: Timestamp(0x0102), origin: 3, topic: 4 };
        let mut bytes = Vec::new();
        put_redelivery(&mut bytes, &state);
        let expected = [2, 0, 0, 0, 0x97, 2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(bytes, expected);
        assert_eq!(read_redelivery(&bytes), Some(state));
        for length in 0..bytes.len() {
            assert_eq!(read_redelivery(&bytes[..length]), None, "{length}");
        }
    }
}
