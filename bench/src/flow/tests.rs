use super::*;
use crate::packet::Frame;
use crate::plan::{self, StreamPlan};

fn plan(pace: Pace, window: usize, qos: QoS, subscribers: usize) -> Plan {
    let (mut streams, mut receivers) = plan::fan_out(7, 1, subscribers);
    streams.iter_mut().for_each(|stream| stream.qos = qos);
    receivers.iter_mut().for_each(|receiver| receiver.qos = qos);
    Plan {
        receipts: false,
        run: 7,
        protocol: Protocol::V311,
        batch: 1,
        refuses: false,
        retain: Retain::PassOn,
        payload_len: 30,
        pace,
        window,
        publishers: plan::distribute(streams.len(), 1),
        streams,
        receivers,
    }
}

fn flow(pace: Pace, window: usize, qos: QoS, subscribers: usize) -> Flow {
    let mut flow = Flow::new(&plan(pace, window, qos, subscribers)).unwrap();
    flow.remaining = u64::MAX;
    flow
}

fn topic_of_its_own(number: usize) -> StreamPlan {
    StreamPlan { topic: number.to_string(), qos: QoS::AtLeastOnce, audiences: vec![0] }
}

/// The packets that the publisher sends now.
fn sent(flow: &mut Flow) -> Vec<Vec<u8>> {
    let mut output = Vec::new();
    flow.publish(0, &mut output).unwrap();
    let mut rest = output.as_slice();
    let mut frames = Vec::new();
    while let Some(frame) = Frame::split(rest).unwrap() {
        frames.push(frame.bytes.to_vec());
        rest = &rest[frame.bytes.len()..];
    }
    frames
}

/// Passes a frame to a receiver and returns its response.
fn receive(flow: &mut Flow, receiver: usize, frame: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    let packet = Frame::split(frame).unwrap().unwrap().decode(Protocol::V311).unwrap();
    flow.on_packet(Role::Receiver(receiver), packet, &mut output).unwrap();
    output
}

#[test]
fn a_publisher_continues_when_a_message_has_arrived_at_all_receivers() {
    let mut flow = flow(Pace::EachDelivered, 2, QoS::AtMostOnce, 2);
    let frames = sent(&mut flow);
    assert_eq!(frames.len(), 2);
    receive(&mut flow, 0, &frames[0]);
    assert_eq!(sent(&mut flow).len(), 0);
    receive(&mut flow, 1, &frames[0]);
    assert_eq!(sent(&mut flow).len(), 1);
}

#[test]
fn a_burst_waits_for_the_whole_previous_burst() {
    let mut flow = flow(Pace::AllDelivered, 2, QoS::AtMostOnce, 1);
    let frames = sent(&mut flow);
    receive(&mut flow, 0, &frames[0]);
    assert_eq!(sent(&mut flow).len(), 0);
    receive(&mut flow, 0, &frames[1]);
    assert_eq!(sent(&mut flow).len(), 2);
}

#[test]
fn a_delivered_message_stays_in_flight_until_it_is_acknowledged() {
    let mut flow = flow(Pace::EachDelivered, 1, QoS::AtLeastOnce, 1);
    let frames = sent(&mut flow);
    assert_eq!(receive(&mut flow, 0, &frames[0]), [0x40, 2, 0, 1]);
    assert_eq!(sent(&mut flow).len(), 0);
    flow.on_packet(Role::Publisher(0), Packet::Puback(1), &mut Vec::new()).unwrap();
    assert_eq!(sent(&mut flow).len(), 1);
}

#[test]
fn an_unexpected_acknowledgement_is_an_error() {
    let mut flow = flow(Pace::EachDelivered, 1, QoS::AtLeastOnce, 1);
    assert!(flow.on_packet(Role::Publisher(0), Packet::Puback(1), &mut Vec::new()).is_err());
}

#[test]
fn mqtt311_4_3_3_a_repeated_qos_2_publish_before_its_pubrel_counts_once() {
    let mut flow = flow(Pace::EachDelivered, 1, QoS::ExactlyOnce, 1);
    let frames = sent(&mut flow);
    for _ in 0..2 {
        assert_eq!(receive(&mut flow, 0, &frames[0]), [0x50, 2, 0, 1]);
    }
    assert_eq!(receive(&mut flow, 0, &[0x62, 2, 0, 1]), [0x70, 2, 0, 1]);
    assert_eq!((flow.counts.delivered, flow.counts.unreleased), (1, 0));
    assert_eq!(flow.tally(), Tally::default());
    receive(&mut flow, 0, &frames[0]);
    assert_eq!(flow.tally().duplicated, 1);
}

#[test]
fn an_altered_message_is_unexpected() {
    let mut flow = flow(Pace::EachDelivered, 1, QoS::AtMostOnce, 1);
    let frame = sent(&mut flow).remove(0);
    let payload_at = frame.len() - 30;
    // RETAIN set, another topic, another run, no such stream, a sequence not yet sent, the filler's end.
    let places = [0, payload_at - 1, payload_at, payload_at + 4, payload_at + 8, frame.len() - 1];
    for (count, place) in (1..).zip(places) {
        let mut changed = frame.clone();
        changed[place] ^= 1;
        receive(&mut flow, 0, &changed);
        assert_eq!(flow.tally(), Tally { lost: 1, unexpected: count, ..Tally::default() }, "byte {place}");
    }
    receive(&mut flow, 0, &frame);
    assert_eq!(flow.tally().lost, 0);
}

#[test]
fn a_publisher_takes_its_topics_in_turn_and_stops_at_the_last_message() {
    let mut plan = plan(Pace::Acknowledged, 10, QoS::AtLeastOnce, 1);
    plan.streams = (0..3).map(topic_of_its_own).collect();
    plan.publishers = plan::distribute(3, 1);
    let mut flow = Flow::new(&plan).unwrap();
    flow.remaining = 3;
    let topics: Vec<_> = sent(&mut flow).iter().map(|frame| frame[4]).collect();
    assert_eq!(topics, b"012");
    assert_eq!(sent(&mut flow).len(), 0);
    assert_eq!(flow.tally().lost, 3);
}

#[test]
fn a_late_message_is_stamped_with_its_due_time() {
    let mut flow = flow(Pace::Scheduled { interval_ns: 1_000_000 }, 1, QoS::AtMostOnce, 1);
    let mut output = Vec::new();
    assert_eq!(flow.next_due(), Some(0));
    flow.publish_due(1_000_000, &mut output).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(10));
    let mut late = 0;
    while flow.next_due().is_some() {
        flow.publish_due(1_000_000, &mut output).unwrap();
        late += 1;
    }
    assert!(late >= 9, "{late}");
    let mut sent_ns = Vec::new();
    let mut rest = output.as_slice();
    while let Some(frame) = Frame::split(rest).unwrap() {
        let stamp = Stamp::decode(&frame.bytes[frame.bytes.len() - 30..]).unwrap();
        sent_ns.push(stamp.sent_ns);
        rest = &rest[frame.bytes.len()..];
    }
    assert!(sent_ns.windows(2).all(|pair| pair[1] - pair[0] == 1_000_000), "{sent_ns:?}");
}

#[test]
fn a_batch_is_sent_when_the_window_has_room_for_all_of_it() {
    let plan = Plan { batch: 3, protocol: Protocol::V5, ..plan(Pace::Acknowledged, 1, QoS::AtLeastOnce, 1) };
    let mut flow = Flow::new(&Plan { window: 4, ..plan }).unwrap();
    flow.remaining = 5;
    let frames = sent(&mut flow);
    assert_eq!((frames.len(), flow.counts.published, flow.counts.unacknowledged), (1, 3, 1));
    let Packet::Publish(batch) = Frame::split(&frames[0]).unwrap().unwrap().decode(Protocol::V5).unwrap() else {
        panic!("no PUBLISH");
    };
    assert_eq!(batch.topic, b"$batch");
    let mut rest = batch.payload;
    while let Some(frame) = Frame::split(rest).unwrap() {
        let mut output = Vec::new();
        flow.on_packet(Role::Receiver(0), frame.decode(Protocol::V5).unwrap(), &mut output).unwrap();
        rest = &rest[frame.bytes.len()..];
    }
    assert_eq!((flow.counts.delivered, flow.tally()), (3, Tally::default()));
    // The last two are a batch, too.
    flow.publish(0, &mut Vec::new()).unwrap();
    assert_eq!((flow.counts.published, flow.counts.unacknowledged), (5, 2));
}

#[test]
fn a_message_is_refused_when_it_comes_for_the_first_time() {
    let plan = Plan { refuses: true, protocol: Protocol::V5, ..plan(Pace::Acknowledged, 2, QoS::AtLeastOnce, 1) };
    let mut flow = Flow::new(&plan).unwrap();
    flow.remaining = 2;
    let frames = sent(&mut flow);
    let mut answers = Vec::new();
    for frame in frames.iter().chain(&frames) {
        let packet = Frame::split(frame).unwrap().unwrap().decode(Protocol::V5).unwrap();
        let before = answers.len();
        flow.on_packet(Role::Receiver(0), packet, &mut answers).unwrap();
        assert_eq!(answers.len() - before, if flow.counts.delivered == 0 { 5 } else { 4 });
    }
    assert_eq!((flow.counts.refused, flow.counts.delivered, flow.tally()), (2, 2, Tally::default()));
}
