//! A time of this machine's clock, as Postgres shows its own.

const DAY_MS: u64 = 86_400_000;

/// RFC 3339, UTC, six digits of a second.
pub(super) fn rfc3339(epoch_ms: u64) -> String {
    let (year, month, day) = date(epoch_ms / DAY_MS);
    let ms = epoch_ms % DAY_MS;
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z", ms % 1_000 * 1_000)
}

/// The date so many days after the Unix epoch. Years are counted from March, so that a leap day comes last.
fn date(days: u64) -> (u64, u64, u64) {
    // From 1 March of the year 0; 400 years have 146,097 days.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (400 * era + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    /// Fear: a date that is off by one around a leap day.
    #[test]
    fn dates_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000000Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59.000000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
        }
    }
}
