//! Readers on other threads while the writer appends, rolls and trims.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn readers_see_each_message_once_and_in_order_while_the_writer_works() {
    let directory = tempfile::tempdir().unwrap();
    let options = StreamOptions { segment_bytes: 64 << 10, ..small() };
    let (mut log, _) = StreamLog::open_directory(directory.path(), &options, std::time::Duration::ZERO).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for max_bytes in [500, 5_000, 1 << 20] {
            let (reader, is_over) = (log.reader(), &is_over);
            scope.spawn(move || follow(&reader, max_bytes, is_over));
        }
        for round in 0..400u64 {
            let messages: Vec<_> = (log.next()..log.next() + round % 50).map(numbered).collect();
            append(&mut log, &messages).unwrap();
            if round % 7 == 0 {
                log.retain(&Retention { max_messages: Some(3_000), ..Retention::default() }, 0).unwrap();
            }
        }
        is_over.store(true, Ordering::SeqCst);
    });
}

fn follow(reader: &StreamReader, max_bytes: usize, is_over: &AtomicBool) {
    let mut from = 1;
    let mut visited = 0;
    loop {
        let was_over = is_over.load(Ordering::SeqCst);
        let mut expected = from;
        let read = reader.read(from, max_bytes, &mut |message| {
            assert_eq!(message.sequence, expected);
            assert_eq!((message.timestamp, message.body.to_vec()), numbered(message.sequence));
            expected += 1;
            visited += 1;
            ControlFlow::Continue(())
        });
        match read {
            Ok(next) => {
                assert_eq!(next, expected);
                if next == from && was_over {
                    assert_eq!(next, reader.end());
                    break;
                }
                from = next;
            }
            Err(StreamReadError::Trimmed { oldest }) => {
                assert!(oldest > from);
                from = oldest;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(visited > 1_000);
}
