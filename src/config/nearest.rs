/// The name in `known` that is most similar to `name`, if one is similar enough to suggest.
pub(super) fn nearest<'a, T: AsRef<str> + ?Sized + 'a>(
    name: &str,
    known: impl Iterator<Item = &'a T>,
) -> Option<&'a str> {
    let scored = known.map(|known| (strsim::jaro_winkler(name, known.as_ref()), known.as_ref()));
    let best = scored.max_by(|(left, _), (right, _)| left.total_cmp(right))?;
    (best.0 >= LIKENESS_MIN).then_some(best.1)
}

/// Minimum Jaro-Winkler similarity of a suggestion; less similar names confuse the reader.
const LIKENESS_MIN: f64 = 0.75;
