//! Series of the broker's own clients, bridges and sinks: one of each for each that is configured.

use crate::admin::metric::Combinations;
use crate::admin::queues::{Own, OwnQueue};

/// A count of each.
pub(super) fn counts<T>(all: &[Own<T>], count: fn(&T) -> u64) -> Combinations {
    all.iter().map(|own| (vec![own.name.to_string()], count(&own.figures))).collect()
}

/// Several counts of each, with the values of a second label.
pub(super) fn each<T>(all: &[Own<T>], counts: impl Fn(&Own<T>) -> Vec<(&'static str, u64)>) -> Combinations {
    let of = |own: &Own<T>| {
        let named = counts(own).into_iter();
        named.map(|(value, count)| (vec![own.name.to_string(), value.to_owned()], count)).collect::<Vec<_>>()
    };
    all.iter().flat_map(of).collect()
}

/// A figure of each.
pub(super) fn figures<T>(all: &[Own<T>], figure: impl Fn(&T) -> f64) -> Vec<(String, f64)> {
    all.iter().map(|own| (own.name.to_string(), figure(&own.figures))).collect()
}

/// A figure of the queue of each, as far as it is known.
pub(super) fn queues<T>(all: &[Own<T>], figure: fn(&OwnQueue) -> f64) -> Vec<(String, f64)> {
    all.iter().filter_map(|own| Some((own.name.to_string(), figure(own.queue.as_ref()?)))).collect()
}

/// What was dropped from the queue of one, by reason.
pub(super) fn dropped<T>(own: &Own<T>) -> impl Iterator<Item = (&'static str, u64)> {
    let of_queue = own.queue.iter().flat_map(|queue| &queue.dropped);
    of_queue.map(|(reason, count)| (reason.name(), u64::from(*count)))
}

#[cfg(test)]
mod tests {
    use crate::bridge::Dropped;
    use crate::broker::DropReason;

    #[test]
    fn the_reasons_of_bridges_and_sinks_are_not_those_of_queues() {
        let own = Dropped::ALL.map(Dropped::name);
        for reason in DropReason::ALL {
            assert!(reason.name() != "given_up" && !own.contains(&reason.name()), "{}", reason.name());
        }
    }
}
