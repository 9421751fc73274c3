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
        match humantime::parse_duration(text) {
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
