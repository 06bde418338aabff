use std::time::{Duration, SystemTime};

/// A time of the wall clock, as year, month and so on in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WallTime {
    since_1970: Duration,
    year: u64,
    month: u64,
    day: u64,
}

impl WallTime {
    /// The time at which a message arrived.
    #[expect(clippy::disallowed_methods, reason = "a client has no clock of a broker")]
    pub(super) fn now() -> Self {
        Self::new(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }

    pub(super) fn new(since_1970: Duration) -> Self {
        // Days are counted from March of the year 0, so that a leap day is the last of its year; 146,097 days are 400 years.
        let days = since_1970.as_secs() / 86_400 + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        Self { since_1970, year, month, day }
    }

    /// `2026-11-29`.
    pub(super) fn date(&self) -> String {
        let Self { year, month, day, .. } = self;
        format!("{year:04}-{month:02}-{day:02}")
    }

    /// `09:47:38`.
    pub(super) fn time(&self) -> String {
        format!("{}:{}:{}", self.hour(), self.minute(), self.second())
    }

    /// One field as `strftime` calls it; `None`: it is not supported.
    pub(super) fn field(&self, name: char) -> Option<String> {
        let Self { since_1970, year, month, day } = self;
        Some(match name {
            'Y' => format!("{year:04}"),
            'm' => format!("{month:02}"),
            'd' => format!("{day:02}"),
            'H' => self.hour(),
            'M' => self.minute(),
            'S' => self.second(),
            'F' => self.date(),
            'T' => self.time(),
            's' => since_1970.as_secs().to_string(),
            'N' => format!("{:09}", since_1970.subsec_nanos()),
            'z' => "+0000".to_owned(),
            'Z' => "UTC".to_owned(),
            _ => return None,
        })
    }

    /// Seconds and nanoseconds since 1970.
    pub(super) fn unix(&self) -> String {
        format!("{}.{:09}", self.since_1970.as_secs(), self.since_1970.subsec_nanos())
    }

    /// Microseconds of the second.
    pub(super) fn microseconds(&self) -> u32 {
        self.since_1970.subsec_micros()
    }

    fn hour(&self) -> String {
        format!("{:02}", self.since_1970.as_secs() / 3_600 % 24)
    }

    fn minute(&self) -> String {
        format!("{:02}", self.since_1970.as_secs() / 60 % 60)
    }

    fn second(&self) -> String {
        format!("{:02}", self.since_1970.as_secs() % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (951_868_800, "2000-03-01 00:00:00"),
            (1_470_818_943, "2016-08-10 08:49:03"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (1_798_761_599, "2026-12-31 23:59:59"),
        ] {
            let time = WallTime::new(Duration::from_secs(seconds));
            assert_eq!(format!("{} {}", time.date(), time.time()), text);
        }
    }
}
