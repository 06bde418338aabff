//! Groups of subscribers of streams.

use oncemq::codec::Qos;

use crate::client::Lifetime::{self, Durable, Transient};
use crate::lab::{Crash, Lab};
use crate::rows::with_every_crash_of_one;

/// A group whose SUBACK was sent is there after the crash; another one may be there.
fn group_scenario(lab: &mut Lab, crash: Crash, lifetime: Lifetime) {
    lab.keep_stream("t");
    let member = lab.connected("member", lifetime);
    lab.run();
    lab.freeze();
    lab.subscribe(member, "$share/g/$stream/kept", Qos::AtLeastOnce);
    lab.run();
    let is_told = lab.clients[member].requests.is_empty();
    lab.crash(crash);
    if is_told && lab.groups() != ["g"] {
        lab.fail(&format!("SUBACK was sent, and the groups are {:?}", lab.groups()));
    }
    lab.run();
}

#[test]
fn suback_waits_for_the_group() {
    for lifetime in [Durable, Transient] {
        with_every_crash_of_one(|lab, crash| group_scenario(lab, crash, lifetime));
    }
}
