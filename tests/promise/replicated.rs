//! What waits for a majority, and for nothing of the owner's own: answers of a broker that may not be the owner any more.

use oncemq::codec::Qos;

use crate::client::Lifetime::{Durable, Transient};
use crate::lab::Lab;
use crate::replicas::Survivor;

const Q1: Qos = Qos::AtLeastOnce;
const Q2: Qos = Qos::ExactlyOnce;

#[test]
fn an_owner_that_no_majority_answers_answers_nobody() {
    for shards in [1, 2] {
        let mut lab = Lab::replicated(shards, Survivor::Copy);
        lab.trace = Some(Vec::new());
        let publisher = lab.connected("publisher", Transient);
        lab.retain(publisher, "kept", "m", Q1);
        lab.run();
        let subscriber = lab.connected("subscriber", Transient);
        let [away, other] = ["away", "other"].map(|name| lab.connected(name, Durable));
        lab.lose(away);
        lab.run();
        lab.freeze();
        // What a former owner must not answer, also where a broker with a log of its own has nothing to store.
        lab.connect(away);
        let new = lab.connected("new", Transient);
        lab.subscribe(subscriber, "kept", Q1);
        lab.publish(publisher, "nobody", "first", Q1);
        lab.publish(other, "nobody", "second", Q2);
        lab.run();
        assert_eq!([new, away].map(|client| lab.clients[client].is_connected()), [false; 2], "no CONNACK");
        assert_eq!(lab.clients[subscriber].requests.len(), 1, "no SUBACK");
        assert_eq!(lab.deliveries(subscriber).count(), 0, "no retained message");
        let acknowledged = |lab: &Lab| lab.ledger.messages.iter().map(|sent| sent.acknowledged).collect::<Vec<_>>();
        assert_eq!(acknowledged(&lab), [true, false, false], "neither PUBACK nor PUBREC");
        lab.thaw();
        lab.run();
        assert_eq!([new, away].map(|client| lab.clients[client].is_connected()), [true; 2]);
        assert_eq!((lab.deliveries(subscriber).count(), acknowledged(&lab)), (1, vec![true; 3]));
        lab.finish();
    }
}
