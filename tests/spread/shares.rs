//! A Shared Subscription with members in cells of all nodes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use crate::client::{Client, PATIENCE, now};

/// The numbers that members have received, by topic and QoS.
#[derive(Default)]
pub(crate) struct Received(Mutex<BTreeMap<(String, u8), Vec<u16>>>);

impl Received {
    /// Receives what a member of `$share/workers/numbers/#` gets, until all of them have as many numbers as there are.
    pub(crate) fn take_from(&self, mut member: Client, addresses: &[SocketAddr], numbers: usize) {
        let deadline = now() + PATIENCE;
        let mut has_some = false;
        loop {
            match member.next_message(Duration::from_secs(1)) {
                Some(message) => {
                    let number = String::from_utf8(message.payload).unwrap().parse().unwrap();
                    let mut all = self.0.lock().unwrap();
                    let of_topic = all.entry((message.topic, message.qos)).or_default();
                    if message.qos == 2 || !of_topic.contains(&number) {
                        of_topic.push(number);
                    }
                    has_some = true;
                }
                None if member.is_gone() => member.connect_again(addresses),
                // None comes behind the last ones.
                None if self.count() >= numbers => break,
                None => assert!(now() < deadline, "{} of {numbers} numbers came", self.count()),
            }
        }
        assert!(has_some, "a member got none of {numbers} numbers");
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().values().map(Vec::len).sum()
    }

    /// Each topic has had its numbers, each once.
    pub(crate) fn check(self, topics: usize, last: u16) {
        let all = self.0.into_inner().unwrap();
        assert_eq!(all.len(), topics);
        for (topic, mut numbers) in all {
            numbers.sort_unstable();
            assert!(numbers.iter().copied().eq(1..=last), "{topic:?}: {numbers:?}");
        }
    }
}
