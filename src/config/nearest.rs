/// The one of `known` that `name` was most likely meant to be.
pub(super) fn nearest<'a, T: AsRef<str> + ?Sized + 'a>(
    name: &str,
    known: impl Iterator<Item = &'a T>,
) -> Option<&'a str> {
    let scored = known.map(|known| (strsim::jaro_winkler(name, known.as_ref()), known.as_ref()));
    let best = scored.max_by(|(left, _), (right, _)| left.total_cmp(right))?;
    (best.0 >= LIKENESS_MIN).then_some(best.1)
}

/// Less alike than this, a suggestion confuses more than it helps.
const LIKENESS_MIN: f64 = 0.75;
