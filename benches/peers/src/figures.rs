//! What is measured: the figures, their units, and what to make of several
//! rounds.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One kind of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    /// Payload, one way, in bytes per second.
    Rate,
    /// Payload of the large frames beside the small ones, in bytes per second.
    BulkRate,
    /// Seconds of one iteration.
    Iteration,
    /// Frames per second.
    FrameRate,
    /// Round trip in seconds: half of the frames were as fast.
    Median,
    /// Round trip in seconds: 99 of 100 frames were as fast.
    P99,
    /// Round trip in seconds: 999 of 1000 frames were as fast.
    P999,
    /// The longest round trip in seconds.
    Longest,
    /// Processor seconds of both ends for 10^9 bytes of payload, one way.
    CpuPerGigabyte,
    /// Context switches of both ends for 10^9 bytes of payload, one way.
    SwitchesPerGigabyte,
    /// Processor seconds of the server for one frame.
    CpuPerFrame,
    /// Resident bytes of the server for one connection.
    ResidentPerConnection,
    /// The share of a core that the server uses when nothing happens.
    CpuAtRest,
}

/// The figures of one turn.
pub(crate) type Measurement = BTreeMap<Figure, f64>;

impl Figure {
    /// The heading of its column, with the unit.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Figure::Rate => "MB/s",
            Figure::BulkRate => "large frames, MB/s",
            Figure::Iteration => "s per iteration",
            Figure::FrameRate => "frames/s",
            Figure::Median => "p50, µs",
            Figure::P99 => "p99, µs",
            Figure::P999 => "p99.9, µs",
            Figure::Longest => "max, µs",
            Figure::CpuPerGigabyte => "CPU s/GB",
            Figure::SwitchesPerGigabyte => "switches/GB",
            Figure::CpuPerFrame => "server CPU, µs/frame",
            Figure::ResidentPerConnection => "resident KiB/connection",
            Figure::CpuAtRest => "CPU at rest, % of a core",
        }
    }

    /// The number in the unit of the title.
    pub(crate) fn show(self, value: f64) -> String {
        let scaled = value * self.scale();
        let digits = match scaled.abs() {
            size if size >= 100.0 || size == 0.0 => 0,
            size if size >= 10.0 => 1,
            size if size >= 1.0 => 2,
            _ => 3,
        };
        grouped(&format!("{scaled:.digits$}"))
    }

    pub(crate) fn more_is_better(self) -> bool {
        matches!(self, Figure::Rate | Figure::BulkRate | Figure::FrameRate)
    }

    /// How many times as good `theirs` is as `ours`: above 1, they are better.
    /// None where nothing can be said, as of no memory at all.
    pub(crate) fn advantage(self, theirs: f64, ours: f64) -> Option<f64> {
        let ratio = match self.more_is_better() {
            true => theirs / ours,
            false => ours / theirs,
        };
        (theirs > 0.0 && ours > 0.0).then_some(ratio)
    }

    fn scale(self) -> f64 {
        match self {
            Figure::Rate | Figure::BulkRate => 1e-6,
            Figure::Median | Figure::P99 | Figure::P999 | Figure::Longest | Figure::CpuPerFrame => {
                1e6
            }
            Figure::ResidentPerConnection => 1.0 / 1024.0,
            Figure::CpuAtRest => 100.0,
            Figure::Iteration
            | Figure::FrameRate
            | Figure::CpuPerGigabyte
            | Figure::SwitchesPerGigabyte => 1.0,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

/// The middle and both ends of some numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// None if there are no numbers.
    pub(crate) fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (&least, &most) = (sorted.first()?, sorted.last()?);
        let (below, above) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Spread {
            median: below.midpoint(above),
            least,
            most,
        })
    }

    /// "median (least to most)", or the one number if there is but one.
    pub(crate) fn show(&self, number: impl Fn(f64) -> String) -> String {
        match self.least == self.most {
            true => number(self.median),
            false => format!(
                "{} ({}–{})",
                number(self.median),
                number(self.least),
                number(self.most)
            ),
        }
    }
}

/// A thin space between groups of three digits, from five digits on.
pub(crate) fn grouped(number: &str) -> String {
    let whole = number.find('.').unwrap_or(number.len());
    if whole < 5 {
        return number.to_owned();
    }
    let mut text = String::new();
    for (index, digit) in number.chars().enumerate() {
        if index > 0 && index < whole && (whole - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advantage_above_one_is_always_the_other_side_being_better() {
        assert_eq!(Figure::Rate.advantage(4.0, 2.0), Some(2.0));
        assert_eq!(Figure::P99.advantage(2.0, 4.0), Some(2.0));
        assert_eq!(Figure::ResidentPerConnection.advantage(0.0, 4.0), None);
        assert_eq!(Figure::ResidentPerConnection.advantage(4.0, 0.0), None);
    }

    #[test]
    fn a_spread_is_the_middle_and_both_ends() {
        let spread = Spread::of([3.0, 1.0, 2.0, 10.0]).unwrap();
        assert_eq!((spread.median, spread.least, spread.most), (2.5, 1.0, 10.0));
        assert_eq!(spread.show(|n| format!("{n:.1}")), "2.5 (1.0–10.0)");
        assert_eq!(Spread::of([5.0]).unwrap().show(|n| format!("{n}")), "5");
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn numbers_are_shown_in_the_unit_of_the_title() {
        assert_eq!(Figure::Rate.show(2_345_600_000.0), "2346");
        assert_eq!(Figure::Median.show(0.000_012_34), "12.3");
        assert_eq!(
            Figure::FrameRate.show(1_234_567.0),
            "1\u{202f}234\u{202f}567"
        );
        assert_eq!(Figure::ResidentPerConnection.show(1536.0), "1.50");
        assert_eq!(Figure::CpuAtRest.show(0.0), "0");
        assert_eq!(Figure::CpuPerFrame.show(0.000_000_25), "0.250");
    }
}
