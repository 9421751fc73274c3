//! When to stop.

use std::time::{Duration, Instant};

use clap::Args;

/// A number of seconds or of frames.
#[derive(Clone, Copy, Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Goal {
    /// How long to send frames
    #[arg(long, value_name = "S", value_parser = positive)]
    seconds: Option<f64>,
    /// How many frames to send, on all connections together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    frames: Option<u64>,
}

impl Goal {
    /// The most frames that are sent.
    pub(super) fn frames(self) -> u64 {
        self.frames.unwrap_or(u64::MAX)
    }

    /// When no further frame is sent; `None` if their number decides.
    pub(super) fn deadline(self, start: Instant) -> Option<Instant> {
        let seconds = self.seconds?;
        start.checked_add(Duration::from_secs_f64(seconds))
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds < 1e6 => Ok(seconds),
        Ok(_) => Err("a time is more than zero and less than a million seconds".to_owned()),
        Err(error) => Err(format!("{error}")),
    }
}
