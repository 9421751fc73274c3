//! A time limit, as it is given on the command line and as it is kept.

use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use readinto::{Elapsed, Handle};

/// How long something may take; `None` is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit(Option<Duration>);

impl Limit {
    pub(crate) const NONE: Limit = Limit(None);

    pub(crate) fn duration(self) -> Option<Duration> {
        self.0
    }

    /// Gives `future` this long, and drops it otherwise.
    pub(crate) async fn bound<F: Future>(
        self,
        handle: &Handle,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        match self.0 {
            Some(limit) => handle.timeout(limit, future).await,
            None => Ok(future.await),
        }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Limit, String> {
        if text == "none" {
            return Ok(Limit::NONE);
        }
        match span(text) {
            Ok(Duration::ZERO) => {
                Err("a time limit is more than zero (or none, for no limit)".into())
            }
            Ok(duration) => Ok(Limit(Some(duration))),
            Err(error) => Err(format!("{error} (expected as in 500ms, 30s, 5m, or none)")),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(limit) => humantime::format_duration(limit).fmt(f),
            None => f.write_str("none"),
        }
    }
}

/// A span of time, as in `1m 30s`.
///
/// Each number is parsed alone with its unit: humantime 2.4 panics where the sum of
/// several is the first that is too long.
pub(crate) fn span(text: &str) -> Result<Duration, humantime::DurationError> {
    let mut sum = Duration::ZERO;
    let mut start = 0;
    let mut follows_unit = false;
    for (place, c) in text.char_indices() {
        if c.is_ascii_digit() && follows_unit {
            sum = add(sum, &text[start..place])?;
            start = place;
        }
        if !c.is_whitespace() {
            follows_unit = c.is_alphabetic();
        }
    }
    add(sum, &text[start..])
}

fn add(sum: Duration, text: &str) -> Result<Duration, humantime::DurationError> {
    let more = humantime::parse_duration(text)?;
    sum.checked_add(more)
        .ok_or(humantime::DurationError::NumberOverflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_the_sum_of_its_parts() {
        for (text, milliseconds) in [
            ("30s", 30_000),
            ("1m30s", 90_000),
            (" 1m 1 0 s 5ms ", 70_005),
            ("1.5s 500ms", 2000),
        ] {
            let expected = Duration::from_millis(milliseconds);
            assert_eq!(span(text), Ok(expected), "{text:?}");
        }
        for text in ["", " ", "5", "1m 5", "s", "1m s", "1.s", "1m-5s"] {
            assert!(span(text).is_err(), "{text:?}");
        }
    }
}
