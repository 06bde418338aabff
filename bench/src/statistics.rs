//! Medians and quartiles of runs.

use serde::Serialize;

/// Median and quartiles of several runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    /// The lower quartile.
    pub(crate) low: f64,
    /// The upper quartile.
    pub(crate) high: f64,
}

impl Spread {
    /// Returns `None` without values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |quarter| quantile(&values, quarter);
        Some(Self { median: at(2)?, low: at(1)?, high: at(3)? })
    }

    /// Half of the interquartile range, in per cent of the median.
    pub(crate) fn percent(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.high - self.low).abs() / self.median.abs() * 50.0 }
    }
}

/// The ratios of values of the same round, so that a slow round cancels out.
pub(crate) fn ratio(of: &[Option<f64>], to: &[Option<f64>]) -> Option<Spread> {
    let pairs = of.iter().zip(to).filter_map(|(of, to)| of.zip(*to));
    Spread::of(pairs.filter(|(_, to)| *to > 0.0).map(|(of, to)| of / to))
}

/// A quartile of a sorted list, interpolated between neighbours.
fn quantile(sorted: &[f64], quarter: usize) -> Option<f64> {
    let place = sorted.len().checked_sub(1)? * quarter;
    let lower = sorted.get(place / 4)?;
    let upper = sorted.get(place.div_ceil(4))?;
    Some(lower + (upper - lower) * (place % 4) as f64 / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_the_outlier() {
        assert_eq!(Spread::of([9.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.5, high: 5.5 }));
        assert_eq!(Spread::of([3.0, 1.0]).map(|spread| spread.median), Some(2.0));
        assert_eq!(Spread::of([4.0]), Some(Spread { median: 4.0, low: 4.0, high: 4.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn the_spread_is_half_of_the_interquartile_range() {
        let spread = Spread::of([90.0, 95.0, 100.0, 105.0, 110.0]).unwrap();
        assert_eq!(spread, Spread { median: 100.0, low: 95.0, high: 105.0 });
        assert!((spread.percent() - 5.0).abs() < 1e-9);
    }

    #[test]
    fn a_ratio_pairs_the_runs_of_a_round() {
        // The second round was slow for both, the third failed for one.
        let of = [Some(1.0), Some(3.0), Some(5.0)];
        let to = [Some(2.0), Some(6.0), None];
        assert_eq!(ratio(&of, &to), Some(Spread { median: 0.5, low: 0.5, high: 0.5 }));
        assert_eq!(ratio(&of, &[None, None, Some(0.0)]), None);
    }
}
