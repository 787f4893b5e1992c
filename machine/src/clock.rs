//! Wall time: what the board's real-time clock shows at reset. From there on it goes with the virtual time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

/// What a real-time clock shows at reset unless it is told otherwise: 2000-01-01T00:00:00Z, in nanoseconds of Unix time.
pub const DEFAULT: u64 = 946_684_800 * SECOND;

/// Reads a time for a real-time clock, in nanoseconds of Unix time: `now`, seconds of Unix time, or a date and time of day
/// in UTC such as `2026-01-31T12:00:00`.
///
/// # Errors
/// A message that says what was expected.
pub fn parse(text: &str) -> Result<u64, String> {
    let time = match text.parse() {
        Ok(seconds) => UNIX_EPOCH.checked_add(Duration::from_secs(seconds)),
        Err(_) if text == "now" => Some(SystemTime::now()),
        Err(_) => humantime::parse_rfc3339_weak(text).ok(),
    };
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let nanoseconds = since.and_then(|since| u64::try_from(since.as_nanos()).ok());
    nanoseconds.ok_or_else(|| {
        format!("{text:?} is no time; expected `now`, seconds of Unix time, or UTC such as 2026-01-31T12:00:00")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_seconds_a_date_or_now() {
        assert_eq!(parse("946684800"), Ok(DEFAULT));
        assert_eq!(parse("2000-01-01T00:00:00"), Ok(DEFAULT));
        assert_eq!(parse("2000-01-01T00:00:01Z"), Ok(DEFAULT + SECOND));
        assert!(parse("now").unwrap() > 1_700_000_000 * SECOND);
        for text in ["yesterday", "2000-13-01T00:00:00", "-1", "99999999999999"] {
            assert!(parse(text).unwrap_err().contains("expected `now`"), "{text}");
        }
    }
}
