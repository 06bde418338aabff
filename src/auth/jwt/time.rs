use std::time::Duration;

use serde_json::Value;

/// The milliseconds since the Unix epoch of a NumericDate: seconds, possibly with a fraction. What is beyond 64 bits counts as the latest
/// time, and what is before the epoch as the epoch. `None`: it is not a number.
pub(in crate::auth) fn numeric_date(value: &Value) -> Option<u64> {
    let Value::Number(number) = value else { return None };
    if let Some(seconds) = number.as_u64() {
        return Some(seconds.saturating_mul(1_000));
    }
    let seconds = number.as_f64()?;
    let duration = Duration::try_from_secs_f64(seconds);
    let latest = if seconds < 0.0 { Duration::ZERO } else { Duration::MAX };
    Some(u64::try_from(duration.unwrap_or(latest).as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_numeric_date_is_a_number_of_seconds() {
        for (value, expected) in [
            (json!(1_700_000_000), Some(1_700_000_000_000)),
            (json!(1.5), Some(1_500)),
            (json!(0), Some(0)),
            (json!(-7), Some(0)),
            (json!(-0.5), Some(0)),
            (json!(u64::MAX), Some(u64::MAX)),
            (json!(1e300), Some(u64::MAX)),
            (json!("1700000000"), None),
            (json!(null), None),
            (json!([1]), None),
        ] {
            assert_eq!(numeric_date(&value), expected, "{value}");
        }
    }
}
