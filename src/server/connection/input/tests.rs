use std::future::poll_fn;

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio::task::yield_now;

use super::*;
use crate::server::test_client::{encoded, publish};

/// An input with its stream and read buffer.
struct Reader {
    input: Input,
    stream: Stream,
    buffers: ReadBuffers,
}

impl Reader {
    /// A reader, and the client's end of its stream.
    fn new() -> (Self, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Self { input: Input::default(), stream: Stream::Unix(ours), buffers: ReadBuffers::new(4 << 20) }, theirs)
    }

    async fn next(&mut self) -> Chunk {
        poll_fn(|cx| self.input.poll_next(&mut self.stream, &mut self.buffers, cx)).await.unwrap()
    }

    /// Whether no bytes are available.
    async fn is_pending(&mut self) -> bool {
        poll_fn(|cx| Poll::Ready(self.input.poll_next(&mut self.stream, &mut self.buffers, cx).is_pending())).await
    }

    /// The complete packets of the next chunk, at most `taken_max`; the rest is kept undecoded.
    async fn packets(&mut self, taken_max: usize) -> Vec<Bytes> {
        let mut bytes = self.next().await.bytes;
        let mut packets = Vec::new();
        while let Some(length) = frame_length(&bytes).filter(|length| *length <= bytes.len()) {
            if packets.len() == taken_max {
                self.input.keep_undecoded(bytes);
                return packets;
            }
            packets.push(bytes.split_to(length));
        }
        self.input.keep_partial(bytes, &self.buffers);
        packets
    }

    /// Sends one packet and reads it.
    async fn packet(&mut self, client: &mut UnixStream, packet: &[u8]) {
        let received = async {
            loop {
                let packets = self.packets(usize::MAX).await;
                if !packets.is_empty() {
                    break packets;
                }
            }
        };
        let (sent, received) = tokio::join!(client.write_all(packet), received);
        sent.unwrap();
        assert_eq!(received, [packet]);
    }
}

/// A PUBLISH with a payload of this length.
fn packet(payload: usize) -> Vec<u8> {
    encoded(&publish("a", (0..payload).map(|index| u8::try_from(index % 251).unwrap()).collect::<Vec<_>>())).to_vec()
}

fn run<T>(test: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_io().build().unwrap().block_on(test)
}

#[test]
fn a_packet_after_a_large_one_keeps_at_most_the_memory_of_one_read() {
    run(async {
        let (mut reader, mut client) = Reader::new();
        for large in [70_000, 256 * 1024] {
            reader.packet(&mut client, &packet(large)).await;
            let burst = [packet(16_000), packet(40_000), packet(100), packet(30_000)].concat();
            client.write_all(&burst).await.unwrap();
            let bytes = reader.next().await.bytes;
            let kept = bytes.slice(..16_000);
            (reader.buffers, reader.input) = (ReadBuffers::new(0), Input::Empty);
            let mut rest = burst.len() - bytes.len();
            drop(bytes);
            let held = kept.try_into_mut().unwrap().capacity();
            assert!(held <= 68 * 1024, "{held} bytes after a packet of {large}");
            while rest > 0 {
                rest -= reader.next().await.read;
            }
        }
    });
}

#[test]
fn a_large_packet_after_another_is_read_in_one_read_without_a_copy() {
    run(async {
        let (mut reader, mut client) = Reader::new();
        let large = packet(64 * 1024);
        reader.packet(&mut client, &large).await;
        for _ in 0..3 {
            client.write_all(&large).await.unwrap();
            let chunk = reader.next().await;
            assert_eq!((chunk.read, &chunk.bytes[..]), (large.len(), &large[..]));
        }
        // The same for a packet that arrives in parts.
        client.write_all(&large[..1_000]).await.unwrap();
        let chunk = reader.next().await;
        let address = chunk.bytes.as_ptr();
        reader.input.keep_partial(chunk.bytes, &reader.buffers);
        client.write_all(&large[1_000..]).await.unwrap();
        let chunk = reader.next().await;
        assert_eq!((chunk.bytes.as_ptr(), &chunk.bytes[..]), (address, &large[..]));
    });
}

#[test]
fn waiting_for_bytes_after_a_large_packet_allocates_nothing() {
    run(async {
        let (mut reader, mut client) = Reader::new();
        reader.packet(&mut client, &packet(256 * 1024)).await;
        assert!(reader.is_pending().await);
        // All connections share the buffer for the next read, and it is not replaced.
        let (address, capacity) = (reader.buffers.scratch.as_ptr(), reader.buffers.scratch.capacity());
        assert!(capacity > 0);
        for _ in 0..10 {
            assert!(reader.is_pending().await);
            assert_eq!((reader.buffers.scratch.as_ptr(), reader.buffers.scratch.capacity()), (address, capacity));
        }
    });
}

#[test]
fn a_header_with_a_false_length_allocates_little_more_than_was_sent() {
    run(async {
        for before in [0, 256 * 1024] {
            let (mut reader, mut client) = Reader::new();
            reader.packet(&mut client, &packet(before)).await;
            let mut sent = 0;
            for part in packet(1_000_000)[..20_000].chunks(5_000) {
                client.write_all(part).await.unwrap();
                assert!(reader.packets(1).await.is_empty());
                assert!(matches!(reader.input, Input::Large(_)));
                sent += part.len();
                assert!(reader.input.held() <= 2 * sent + 68 * 1024, "{}", reader.input.held());
            }
        }
    });
}

#[test]
fn packets_larger_than_one_read_use_the_same_buffer_without_copies() {
    run(async {
        let (mut reader, mut client) = Reader::new();
        let large = packet(1 << 20);
        reader.packet(&mut client, &large).await;
        let mut addresses = Vec::new();
        for _ in 0..4 {
            let (sent, packets) = tokio::join!(client.write_all(&large), async {
                loop {
                    let packets = reader.packets(1).await;
                    if !packets.is_empty() {
                        break packets;
                    }
                    // The first read got a buffer for the whole packet.
                    assert_eq!(reader.input.held(), large.len());
                }
            });
            sent.unwrap();
            assert_eq!(packets, [&large]);
            addresses.extend(packets.iter().map(|packet| packet.as_ptr()));
        }
        assert!(addresses.iter().all(|address| *address == addresses[0]), "{addresses:?}");
    });
}

fn payload() -> impl Strategy<Value = usize> {
    prop_oneof![0..200_usize, 10_000..40_000_usize, 64_000..70_000_usize, 64_000..300_000_usize]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn packets_are_returned_as_sent(
        payloads in prop::collection::vec((payload(), 1..4_usize), 1..10),
        cuts in prop::collection::vec(prop_oneof![1..100_usize, 1..100_000_usize, 60_000..70_000_usize], 1..8),
        taken in prop::collection::vec(prop_oneof![Just(usize::MAX), 0..3_usize], 1..8),
    ) {
        let sent: Vec<_> = payloads.iter().flat_map(|(length, times)| vec![packet(*length); *times]).collect();
        let all = sent.concat();
        let received = run(async {
            let (mut reader, mut client) = Reader::new();
            let sending = async {
                let mut rest = &all[..];
                for cut in cuts.iter().cycle() {
                    let (part, others) = rest.split_at(rest.len().min(*cut));
                    client.write_all(part).await.unwrap();
                    yield_now().await;
                    rest = others;
                    if rest.is_empty() {
                        break;
                    }
                }
            };
            let receiving = async {
                let mut received = Vec::new();
                // After a read that takes no packet, the next one takes a packet.
                for taken_max in taken.iter().flat_map(|taken_max| [*taken_max, 1]).cycle() {
                    received.extend(reader.packets(taken_max).await);
                    if let Input::Partial(partial) = &reader.input {
                        assert!(partial.capacity() <= 68 * 1024);
                    }
                    if received.len() == sent.len() {
                        return received;
                    }
                }
                received
            };
            tokio::join!(sending, receiving).1
        });
        prop_assert!(received == sent);
    }
}
