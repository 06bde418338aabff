use super::*;

fn sender(numbers: std::ops::Range<u64>) -> LinkSender {
    let mut sender = LinkSender::new(1, numbers);
    assert_eq!((sender.question(), sender.sendable().is_empty()), (None, true), "the epoch is not known");
    sender.epoch(5);
    sender
}

const fn answer(epoch: u64, next: u64, done: u64) -> LinkAnswer {
    LinkAnswer { epoch, incarnation: 1, next, done, lacks: false }
}

#[test]
fn a_sender_asks_first_and_goes_on_behind_what_the_receiver_has() {
    let mut sender = sender(4..9);
    assert_eq!(sender.question(), Some(LinkState { incarnation: 1, first: 4 }));
    assert_eq!((sender.question(), sender.sendable()), (None, 4..4));
    assert_eq!(sender.answer(answer(5, 7, 6)), 4..6);
    assert_eq!((sender.sendable(), sender.state().first), (7..9, 6));
    sender.sent(9);
    assert!(sender.sendable().is_empty() && sender.is_waiting());
    sender.stable(12);
    assert_eq!(sender.sendable(), 9..12);
    assert_eq!(sender.answer(answer(5, 12, 20)), 6..12, "no more than there is");
    assert!(!sender.is_waiting());
}

#[test]
fn answers_of_earlier_owners_and_of_other_incarnations_have_no_effect_and_a_later_owner_is_asked() {
    let mut sender = sender(1..9);
    sender.question();
    sender.answer(answer(5, 1, 1));
    sender.sent(5);
    sender.epoch(6);
    assert_eq!(sender.answer(answer(5, 5, 5)), 1..1);
    assert_eq!(sender.answer(LinkAnswer { incarnation: 2, ..answer(6, 5, 5) }), 1..1);
    assert!(sender.question().is_some() && sender.sendable().is_empty());
    assert_eq!((sender.answer(answer(7, 3, 2)), sender.sendable()), (1..2, 3..9));
    sender.epoch(0);
    assert!(
        sender.sendable().is_empty() && sender.answer(answer(7, 9, 9)).is_empty(),
        "the node does not know the owner"
    );
}

#[test]
fn at_most_sixteen_frames_are_on_their_way_and_what_is_missing_is_sent_again_once() {
    let mut sender = sender(1..100);
    sender.answer(answer(5, 1, 1));
    for end in 2.. {
        if sender.sendable().is_empty() {
            assert_eq!(end, 2 + LinkSender::FRAMES_MAX as u64);
            break;
        }
        sender.sent(end);
    }
    let lacks = LinkAnswer { lacks: true, ..answer(5, 4, 4) };
    sender.answer(lacks);
    assert_eq!(sender.sendable(), 4..100);
    sender.sent(20);
    sender.answer(lacks);
    assert_eq!(sender.sendable(), 20..100, "the frames behind the missing one say the same");
    sender.ask();
    sender.answer(answer(5, 4, 4));
    assert_eq!(sender.sendable(), 4..100, "it was lost again");
}

#[test]
fn a_receiver_accepts_each_number_once_and_in_order_and_confirms_what_is_stable() {
    let state = LinkState { incarnation: 1, first: 1 };
    let mut receiver = LinkReceiver::new(5, None);
    assert_eq!(receiver.frame(state, 2..4), (1..1, true));
    assert_eq!(receiver.frame(state, 1..4), (1..4, false));
    for has_record in [true, false, true] {
        receiver.accepted(has_record);
    }
    assert_eq!(receiver.frame(state, 2..4), (4..4, false), "a repeat");
    assert_eq!((receiver.answer(false).next, receiver.answer(false).done), (4, 1));
    receiver.stable(2);
    assert_eq!(receiver.answer(false).done, 3, "the second one needs no record");
    receiver.stable(4);
    assert_eq!(receiver.answer(false), answer(5, 4, 4));
    let position = receiver.position();
    // The last messages were confirmed without a record.
    let mut later = LinkReceiver::new(6, Some(LinkPosition { next: 3, ..position }));
    later.question(LinkState { first: 4, ..state });
    assert_eq!(later.frame(state, 4..5), (4..5, false));
}

#[test]
fn a_higher_incarnation_begins_anew_and_a_lower_one_is_passed_over() {
    let mut receiver = LinkReceiver::new(5, Some(LinkPosition { incarnation: 2, next: 9 }));
    assert_eq!(receiver.frame(LinkState { incarnation: 1, first: 1 }, 9..11), (9..9, false));
    assert_eq!(receiver.frame(LinkState { incarnation: 3, first: 1 }, 1..3), (1..3, false));
    receiver.accepted(true);
    assert_eq!(receiver.position(), LinkPosition { incarnation: 3, next: 2 });
}
