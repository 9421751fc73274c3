//! One colour for each kind of row.

use super::{Report, RowEntry};
use crate::roster::{Language, Part};

/// The colour of a row.
pub(super) fn colour(report: &Report, row: &str) -> &'static str {
    report.entry(row).map_or(UNKNOWN, |entry| group(entry).1)
}

/// The colours that these rows have, with their names, in order.
pub(super) fn legend<'a>(
    report: &Report,
    rows: impl Iterator<Item = &'a str>,
) -> Vec<(&'static str, &'static str)> {
    let mut present: Vec<_> = rows
        .filter_map(|row| report.entry(row))
        .map(group)
        .collect();
    present.sort_by_key(|(name, _)| GROUPS.iter().position(|(other, _)| other == name));
    present.dedup();
    present
}

fn group(entry: &RowEntry) -> (&'static str, &'static str) {
    GROUPS[match (entry.part, entry.language) {
        (Part::Readinto, _) => 0,
        (Part::Limit, _) => 5,
        (Part::Peer, Language::Rust) => 1,
        (Part::Peer, Language::C | Language::Cpp) => 2,
        (Part::Peer, Language::Go) => 3,
        (Part::Peer, Language::Python) => 4,
    }]
}

const GROUPS: [(&str, &str); 6] = [
    ("readinto", "#ea580c"),
    ("Rust", "#4f6fd8"),
    ("C, C++", "#0f9d76"),
    ("Go", "#0ea5c6"),
    ("Python", "#d4a72c"),
    ("no runtime (the limit)", "#a8b0b9"),
];
const UNKNOWN: &str = "#000000";
