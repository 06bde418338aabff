//! Signs of life and questions between nodes.

use bytes::Bytes;
use nats_servers::Servers;
use oncemq::cluster::{Engine as _, EngineError};

use crate::driver::{leader, node, until_done};

#[tokio::test]
async fn each_node_sees_the_latest_sign_of_life_of_all_but_those_that_are_forgotten_and_its_own_at_least() {
    if nats_servers::is_missing() {
        return;
    }
    let mut servers = Servers::three();
    let (one, two) = (node(&servers, "one").await, node(&servers, "two").await);
    assert_eq!(one.beats().await.unwrap(), []);
    let mut places = Vec::new();
    for number in 0..20 {
        let text = Bytes::from(format!("beat {number}"));
        places.push(one.raise(text.clone()).await.unwrap());
        places.push(two.raise(text.clone()).await.unwrap());
        // Its own one is not older than its last, whichever copy answers.
        let beats = two.beats().await.unwrap();
        let own = beats.iter().find(|beat| beat.node == "two").unwrap();
        assert_eq!((&own.bytes, own.place), (&text, *places.last().unwrap()));
        assert_eq!(beats.len(), 2);
    }
    assert!(places.windows(2).all(|pair| pair[0] < pair[1]), "{places:?}");
    two.forget("one").await.unwrap();
    two.raise(Bytes::from_static(b"alone")).await.unwrap();
    let left: Vec<_> = two.beats().await.unwrap().into_iter().map(|beat| beat.node).collect();
    assert_eq!(left, ["two"]);
    let victim = leader(&one, &servers).await;
    servers.kill(victim);
    until_done(|| one.raise(Bytes::from_static(b"later"))).await;
    let beats = until_done(|| one.beats()).await;
    assert!(beats.iter().any(|beat| beat.node == "one" && beat.bytes == "later"), "{beats:?}");
}

#[tokio::test]
async fn a_node_answers_questions_of_others_and_one_that_is_gone_does_not() {
    if nats_servers::is_missing() {
        return;
    }
    let servers = Servers::three();
    let (one, two) = (node(&servers, "one").await, node(&servers, "two").await);
    let gone = one.ask("two", Bytes::from_static(b"?")).await.unwrap_err();
    assert!(matches!(gone, EngineError::Unattended(_)), "{gone:?}");
    let mut questions = two.questions().await.unwrap();
    let answers = tokio::spawn(async move {
        for _ in 0..3 {
            let question = questions.recv().await.unwrap();
            let answer = [question.bytes.as_ref(), &vec![7; 512 << 10]].concat();
            question.answer(answer.into()).await;
        }
    });
    for number in 0..3_u8 {
        // The subscription is known to all servers a moment after it was made.
        let answer = until_done(|| one.ask("two", Bytes::from(vec![number]))).await;
        assert_eq!((answer.first(), answer.len()), (Some(&number), (512 << 10) + 1));
    }
    answers.await.unwrap();
}
