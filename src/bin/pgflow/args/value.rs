//! Values of options as people write them.

use std::time::Duration;

use pgflow::Priority;

/// high, normal or low.
pub(super) fn priority(text: &str) -> Result<Priority, String> {
    text.parse().map_err(|_| "none of high, normal, low".to_owned())
}

/// A command for `sh -c`. A blank one ends at once with exit code 0, as if every message were done.
pub(super) fn command(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err(
            "a command has at least a word: a blank one would have every message done, and do nothing".to_owned()
        );
    }
    Ok(text.to_owned())
}

/// A number with a unit: ms, s, m, h or d.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a time is a number with a unit: 500ms, 5s, 10m, 2h, 1d".to_owned();
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
    let (number, unit) = text.split_at(at);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| "longer than can be counted".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `--delay 5` must not become five of something else.
    #[test]
    fn a_time_has_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1_500)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7_200)));
        for wrong in ["5", "", "s", "5 s", "-1s", "1e9s", "1.2.3s", "99999999999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
