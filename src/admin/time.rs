//! Times as the API writes them.

use crate::timestamp::WallTime;

/// RFC 3339 in UTC with milliseconds: `2026-01-31T23:59:59.999Z`.
pub(super) fn rfc_3339(time: WallTime) -> String {
    let (days, of_day) = (time.0 / DAY, time.0 % DAY);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", of_day % 1_000)
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar. Years are counted from March, so that the leap day is
/// the last day of a year.
const fn date(days: u64) -> (u64, u64, u64) {
    // From March 1 of the year 0, in whole cycles of 400 years.
    let days = days + 719_468;
    let (cycle, of_cycle) = (days / 146_097, days % 146_097);
    let year_of_cycle = (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = cycle * 400 + year_of_cycle + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

const DAY: u64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_are_written_as_they_are() {
        for (milliseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599_001, "2024-12-31T23:59:59.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc_3339(WallTime(milliseconds)), text);
        }
    }

    #[test]
    fn each_day_of_900_years_follows_the_one_before_it() {
        let mut before = date(0);
        for day in 1..330_000 {
            let after = date(day);
            let is_next = after == (before.0, before.1, before.2 + 1)
                || after == (before.0, before.1 + 1, 1)
                || (after == (before.0 + 1, 1, 1) && (before.1, before.2) == (12, 31));
            assert!(is_next && after.2 <= 31, "{before:?} {after:?}");
            before = after;
        }
    }
}
