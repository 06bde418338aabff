//! Micro-benchmarks of decoding and encoding packets.
#![expect(clippy::unwrap_used, reason = "the input is our own, and a failed setup must abort the benchmark")]

use std::hint::black_box;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use oncemq::codec::{
    Ack, ClientPacket, Decoder, Message, OutgoingPublish, PacketId, ProtocolVersion, Publish, Qos, ReasonCode, client,
};
use oncemq::topic::TopicName;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    decoding(&mut criterion);
    connecting(&mut criterion);
    encoding(&mut criterion);
    criterion.final_summary();
}

/// Decodes a read of many packets.
fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(PACKETS as u64));
    for (version, name) in [(ProtocolVersion::V3_1_1, "3.1.1"), (ProtocolVersion::V5, "5.0")] {
        for (qos, level) in [(Qos::AtMostOnce, 0), (Qos::AtLeastOnce, 1)] {
            decode(&mut group, version, &format!("publish/{name}/qos{level}"), &publish(qos, 64));
        }
        let ack = Ack::new(id(), ReasonCode::Success);
        decode(&mut group, version, &format!("puback/{name}"), &ClientPacket::Puback(ack));
    }
    decode(&mut group, ProtocolVersion::V5, "publish/5.0/64KiB", &publish(Qos::AtMostOnce, 65_536));
    group.finish();
}

fn decode(group: &mut BenchmarkGroup<'_, WallTime>, version: ProtocolVersion, name: &str, packet: &ClientPacket) {
    let mut decoder = Decoder::new(PACKET_LEN_MAX);
    let connect: &'static [u8] = if version == ProtocolVersion::V5 { CONNECT_5 } else { CONNECT_311 };
    decoder.decode(&mut Bytes::from_static(connect)).unwrap().unwrap();
    let mut read = BytesMut::new();
    for _ in 0..PACKETS {
        client::encode_client(packet, version, &mut read);
    }
    let read = read.freeze();
    group.bench_function(name, |bencher| {
        let take_apart = |mut rest: Bytes| {
            while let Some(packet) = decoder.decode(&mut rest).unwrap() {
                black_box(packet);
            }
        };
        bencher.iter_batched(|| read.clone(), take_apart, BatchSize::SmallInput);
    });
}

/// Decodes a CONNECT with User Properties, which the broker does not use.
fn connecting(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("connect/user_properties");
    for count in [0, 100, 5_000] {
        let connect = connect(count);
        group.bench_function(count.to_string(), |bencher| {
            let decode = |mut input: Bytes| Decoder::new(PACKET_LEN_MAX).decode(&mut input).unwrap();
            bencher.iter_batched(|| connect.clone(), decode, BatchSize::SmallInput);
        });
    }
    group.finish();
}

/// A CONNECT with `count` User Properties of 20 bytes.
fn connect(count: usize) -> Bytes {
    let properties = b"\x26\x00\x08name-of-\x00\x07a-value".repeat(count);
    let mut body = b"\x00\x04MQTT\x05\x02\x0E\x10".to_vec();
    put_length(&mut body, properties.len());
    body.extend(properties);
    body.extend(b"\x00\x02ab");
    let mut packet = vec![0x10];
    put_length(&mut packet, body.len());
    packet.extend(body);
    packet.into()
}

/// Appends a Variable Byte Integer.
fn put_length(output: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = u8::try_from(length & 0x7F).unwrap();
        length >>= 7;
        output.push(if length == 0 { low } else { low | 0x80 });
        if length == 0 {
            return;
        }
    }
}

/// Encodes a message for one receiver after another: without its payload, and as a whole packet.
fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    let topic = TopicName::new(TOPIC.into()).unwrap();
    for (payload_len, size) in [(64, "64B"), (65_536, "64KiB")] {
        let message = Arc::new(Message::new(topic.clone(), vec![0; payload_len]));
        for (qos, packet_id, level) in [(Qos::AtMostOnce, None, 0), (Qos::AtLeastOnce, Some(id()), 1)] {
            let publish = OutgoingPublish { qos, packet_id, ..OutgoingPublish::new(Arc::clone(&message)) };
            let mut output = BytesMut::with_capacity(2 * payload_len + 1_024);
            group.bench_function(format!("head/{size}/qos{level}"), |bencher| {
                bencher.iter(|| {
                    output.clear();
                    black_box(&publish).encode_head(ProtocolVersion::V5, &mut output);
                });
            });
            group.bench_function(format!("whole/{size}/qos{level}"), |bencher| {
                bencher.iter(|| {
                    output.clear();
                    black_box(&publish).encode(ProtocolVersion::V5, &mut output);
                });
            });
        }
    }
    group.finish();
}

fn publish(qos: Qos, payload_len: usize) -> ClientPacket {
    let topic = TopicName::new(TOPIC.into()).unwrap();
    let packet_id = (qos != Qos::AtMostOnce).then(id);
    ClientPacket::Publish(Publish { qos, packet_id, ..Publish::new(topic, vec![0; payload_len]) })
}

fn id() -> PacketId {
    PacketId::new(7).unwrap()
}

const TOPIC: &str = "bench/site7/device123/temperature";
/// Larger than any packet here.
const PACKET_LEN_MAX: u32 = 1 << 20;
/// The number of packets in one read of a busy connection.
const PACKETS: usize = 100;
const CONNECT_311: &[u8] = b"\x10\x0E\x00\x04MQTT\x04\x02\x0E\x10\x00\x02ab";
const CONNECT_5: &[u8] = b"\x10\x0F\x00\x04MQTT\x05\x02\x0E\x10\x00\x00\x02ab";
