//! The result: medians and extremes of each contender, and of the ratios
//! within each round.

use std::fmt;

use crate::contender::{Contender, Figures};

/// Prints a row for each contender; the first is what the others are held to.
pub(crate) fn print(contenders: &[Contender], rows: &[Vec<Figures>]) {
    let (Some(first), Some(reference)) = (contenders.first(), rows.first()) else {
        return;
    };
    println!(
        "  {:<16} {:>22}  {:>20}  {:>20}",
        "",
        "MB/s",
        format!("of {first}"),
        "CPU s/GB"
    );
    for (contender, row) in contenders.iter().zip(rows) {
        let rate = Spread::of(row.iter().map(|figures| figures.rate));
        let processor = Spread::of(row.iter().map(|figures| figures.processor));
        let ratio = Spread::of(
            row.iter()
                .zip(reference)
                .map(|(figures, reference)| figures.rate / reference.rate),
        );
        println!("  {contender:<16} {rate:>22.0}  {ratio:>20.3}  {processor:>20.3}");
    }
}

/// The middle and both ends of some numbers.
pub(crate) struct Spread {
    pub(crate) median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    pub(crate) fn of(numbers: impl Iterator<Item = f64>) -> Spread {
        let mut sorted: Vec<f64> = numbers.collect();
        sorted.sort_by(f64::total_cmp);
        let (below, above) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Spread {
            median: below.midpoint(above),
            least: sorted[0],
            most: sorted[sorted.len() - 1],
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(3);
        let text = format!(
            "{:.digits$} ({:.digits$}–{:.digits$})",
            self.median, self.least, self.most
        );
        write!(f, "{text:>width$}", width = f.width().unwrap_or(0))
    }
}
