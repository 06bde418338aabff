use super::*;
use crate::codec::{Ack, ReasonCode, ServerPacket};

fn puback(number: u16) -> ServerPacket {
    ServerPacket::Puback(Ack::new(id(number), ReasonCode::Success))
}

fn answered(number: u16, wait: Option<u64>) -> Event {
    let (packet_id, qos, reason_code) = (id(number), Qos::AtLeastOnce, ReasonCode::Success);
    Event::Answered { packet_id, qos, reason_code, wait: wait.map(Ticket), duplicate: false }
}

#[test]
fn a_response_waits_for_its_ticket_and_the_end_of_its_hold_and_those_behind_it_with_it() {
    let mut session = Session::new(limits(), 1);
    handle(&mut session, connected(5, None));
    for (number, wait) in [(1, Some(1)), (2, Some(2)), (3, None), (4, Some(5))] {
        assert_eq!(handle(&mut session, answered(number, wait)), []);
        if number == 2 {
            handle(&mut session, Event::HoldLast(7));
        }
    }
    handle(&mut session, Event::HoldLast(9));
    let sends = |numbers: &[u16]| numbers.iter().map(|number| Action::Send(puback(*number))).collect::<Vec<_>>();
    assert_eq!(handle(&mut session, Event::Persisted(Ticket(1))), sends(&[1]));
    assert_eq!(handle(&mut session, Event::HoldEnded(6)), []);
    assert_eq!(handle(&mut session, Event::Persisted(Ticket(2))), []);
    assert_eq!(handle(&mut session, Event::HoldEnded(7)), sends(&[2, 3]));
    assert_eq!(handle(&mut session, Event::HoldEnded(9)), []);
    assert_eq!(handle(&mut session, Event::Persisted(Ticket(5))), sends(&[4]));
    // Nothing is held any more.
    assert_eq!(handle(&mut session, answered(5, Some(4))), sends(&[5]));
    handle(&mut session, Event::HoldLast(10));
    assert_eq!(handle(&mut session, answered(6, Some(6))), []);
    assert_eq!(handle(&mut session, Event::Persisted(Ticket(6))), sends(&[6]));
}
