//! Round trips, and their percentiles.

use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};
use serde::Serialize;

/// Every round trip, to three digits.
pub(crate) struct RoundTrips(Histogram<u64>);

impl RoundTrips {
    /// With room for all there can be, so that recording never allocates.
    pub(crate) fn new() -> Result<RoundTrips, CreationError> {
        Histogram::new_with_bounds(1, LONGEST.as_nanos() as u64, 3).map(RoundTrips)
    }

    pub(crate) fn record(&mut self, round_trip: Duration) {
        self.0.saturating_record(round_trip.as_nanos() as u64);
    }

    pub(crate) fn percentiles(&self) -> Latency {
        Latency {
            p50: self.0.value_at_quantile(0.5),
            p90: self.0.value_at_quantile(0.9),
            p99: self.0.value_at_quantile(0.99),
            p999: self.0.value_at_quantile(0.999),
            max: self.0.max(),
        }
    }
}

/// In nanoseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

/// What takes longer counts as this.
const LONGEST: Duration = Duration::from_secs(60);
