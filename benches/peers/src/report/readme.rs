//! The block in README.md: the losses in a line each, a compact table, two
//! pictures.
//!
//! A system may have several rows; here it is shown with the best of them in
//! each case, which is the fairest to it that a small table can be. What is
//! shown of one case is of one row: no program has the best figures of several.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use super::losses::{self, Rival};
use super::table::Table;
use super::{CaseResult, Report, bars, percentiles, whole};
use crate::figures::Figure;
use crate::roster::{self, Part};
use crate::workloads::Workload;

/// Rewrites the block, copies the pictures, and tells which files these are.
///
/// # Errors
///
/// Those of the files; and what is missing of a whole session.
pub(crate) fn update(report: &Report, repository: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    whole::check(report).map_err(|reason| {
        format!("README.md takes whole sessions of a release build only: {reason}")
    })?;
    let readme = repository.join("README.md");
    let text = fs::read_to_string(&readme).map_err(|error| format!("README.md: {error}"))?;
    let updated =
        replace_block(&text, &block(report)).map_err(|error| format!("README.md {error}"))?;

    let images = repository.join(IMAGES);
    fs::create_dir_all(&images).map_err(|error| format!("{IMAGES}: {error}"))?;
    let mut written = Vec::new();
    for (name, picture) in pictures(report) {
        let path = images.join(name);
        fs::write(&path, picture).map_err(|error| format!("{}: {error}", path.display()))?;
        written.push(path);
    }
    fs::write(&readme, updated).map_err(|error| format!("README.md: {error}"))?;
    written.push(readme);
    Ok(written)
}

/// Puts the block between the two markers.
pub(crate) fn replace_block(text: &str, block: &str) -> Result<String, String> {
    let missing = || format!("lacks the lines {BEGIN} and {END}");
    let (before, rest) = text.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{before}{BEGIN}\n{block}{END}{after}"))
}

/// What stands between the markers.
pub(super) fn block(report: &Report) -> String {
    let mut text = String::new();
    if let Some(warning) = report.background.warning() {
        write!(text, "**{warning}**\n\n").expect("a string takes all");
    }
    let losses = losses::losses(report);
    match losses.as_slice() {
        [] => text += "No peer beats readinto in what was measured.\n",
        losses => {
            text += "Where a peer beats readinto: × is the median of the ratios within each round, \
                     and the peer is the one with the largest. Both figures are medians of all \
                     rounds, by which readinto, or another peer of the table, may be ahead \
                     nevertheless.\n\n";
            for loss in losses {
                writeln!(text, "- {}", told(loss)).expect("a string takes all");
            }
        }
    }
    write!(
        text,
        "\nThe best row of each system in each case: a line can hold several programs. Where a \
         case has two columns, both are of one program, the best by the first. Bold is the best \
         of the runtimes that sleep while they wait, which readinto-busy-poll does not. ↑ more \
         is better, ↓ less.\n\n{}",
        table(report).to_markdown()
    )
    .expect("a string takes all");
    for (name, _) in pictures(report) {
        let about = match name {
            BULK_PICTURE => "Throughput of bulk echo, all rows",
            _ => "Round trips of small frames, alone and beside large ones, all rows",
        };
        write!(text, "\n![{about}]({IMAGES}/{name})\n").expect("a string takes all");
    }
    let versions: Vec<_> = report
        .versions
        .iter()
        .map(|it| format!("{} {}", it.name, it.version))
        .collect();
    write!(
        text,
        "\n{}; {}; measured {}. {}.\n",
        report.machine.describe(),
        report.method(),
        report.started.split('T').next().unwrap_or_default(),
        versions.join(", ")
    )
    .expect("a string takes all");
    text
}

/// A loss in a line.
fn told(loss: &Rival) -> String {
    let show = |spread: Option<crate::figures::Spread>| {
        spread.map_or(String::new(), |it| loss.figure.show(it.median))
    };
    let doubt = match loss.is_certain() {
        true => "",
        false => ", not in every round",
    };
    format!(
        "{}: {} has {} against {} ({}; ×{:.2}{doubt})",
        loss.case.title(),
        loss.row.row,
        show(loss.theirs()),
        show(loss.ours()),
        loss.figure,
        loss.advantage.median,
    )
}

/// A line per system, a column for each of the telling figures.
fn table(report: &Report) -> Table {
    let columns = columns(report);
    let mut table = Table::new().text("");
    for Column { case, figure, .. } in &columns {
        let arrow = match figure.more_is_better() {
            true => '↑',
            false => '↓',
        };
        table = table.number(&format!("{}, {} {arrow}", case.title(), figure.title()));
    }
    let bests: Vec<Option<f64>> = columns.iter().map(|it| it.best(report)).collect();
    for (system, part) in systems(report) {
        let values: Vec<Option<f64>> = columns.iter().map(|it| it.of(report, system)).collect();
        if values.iter().all(Option::is_none) {
            continue;
        }
        let mut cells = vec![match part {
            Part::Readinto => format!("**{system}**"),
            Part::Limit => format!("*{system}*"),
            Part::Peer => system.to_owned(),
        }];
        for ((value, column), best) in values.iter().zip(&columns).zip(&bests) {
            cells.push(match value {
                None => "–".to_owned(),
                Some(value) if competes(system, part) && Some(*value) == *best => {
                    format!("**{}**", column.figure.show(*value))
                }
                Some(value) => column.figure.show(*value),
            });
        }
        table.push(cells);
    }
    table
}

struct Column<'a> {
    case: &'a CaseResult,
    figure: Figure,
    /// What a system's row is chosen by: the same in all columns of a case.
    chosen_by: Figure,
}

impl Column<'_> {
    /// The median of the row that the system is shown with.
    fn of(&self, report: &Report, system: &str) -> Option<f64> {
        let ranking = self.case.ranking(self.chosen_by);
        let (row, _) = ranking.iter().find(|(row, _)| {
            let entry = report.entry(&row.row);
            entry.is_some_and(|entry| entry.system == system)
        })?;
        Some(row.spread(self.figure)?.median)
    }

    /// The best of what is shown of the systems that compete.
    fn best(&self, report: &Report) -> Option<f64> {
        systems(report)
            .into_iter()
            .filter(|&(system, part)| competes(system, part))
            .filter_map(|(system, _)| self.of(report, system))
            .reduce(match self.figure.more_is_better() {
                true => f64::max,
                false => f64::min,
            })
    }
}

/// Those that were measured.
fn columns(report: &Report) -> Vec<Column<'_>> {
    let mut columns = Vec::new();
    for &(workload, label, figures) in COLUMNS {
        let found = report
            .cases
            .iter()
            .find(|it| it.workload == workload && label.is_none_or(|label| it.label == label));
        let Some(case) = found else { continue };
        columns.extend(figures.iter().map(|&figure| Column {
            case,
            figure,
            chosen_by: figures[0],
        }));
    }
    columns
}

/// Whether the system is one of the runtimes that sleep while they wait. No peer may poll
/// busily, so what does is not compared with them.
fn competes(system: &str, part: Part) -> bool {
    part == Part::Peer || system == roster::READINTO
}

/// Each system once, in the order of the roster; memcpy is no server.
fn systems(report: &Report) -> Vec<(&str, Part)> {
    let mut systems: Vec<(&str, Part)> = Vec::new();
    for row in &report.rows {
        let seen = systems.iter().any(|(system, _)| *system == row.system);
        if !seen && row.name != roster::MEMCPY {
            systems.push((&row.system, row.part));
        }
    }
    systems
}

/// The pictures of the block.
fn pictures(report: &Report) -> Vec<(&'static str, String)> {
    let largest = report
        .cases
        .iter()
        .rfind(|case| case.workload == Workload::Bulk && !case.rows.is_empty());
    let bulk = largest.map(|case| (BULK_PICTURE, bars::draw(report, case)));
    let round_trips = percentiles::draw(report).map(|picture| (percentiles::FILE_NAME, picture));
    bulk.into_iter().chain(round_trips).collect()
}

/// What the table shows, where it was measured; the first case if no label is
/// given. A system's row is chosen by the first figure.
const COLUMNS: &[(Workload, Option<&str>, &[Figure])] = &[
    (Workload::Bulk, Some("1 MB"), &[Figure::Rate]),
    (Workload::Bulk, Some("100 MB"), &[Figure::Rate]),
    (Workload::BulkUnix, Some("100 MB"), &[Figure::Rate]),
    (Workload::Rtt, None, &[Figure::Median]),
    (
        Workload::Fanin,
        Some("5000 connections"),
        &[Figure::FrameRate],
    ),
    (
        Workload::Pipeline,
        Some("50 connections × 64"),
        &[Figure::FrameRate],
    ),
    (Workload::Mixed, None, &[Figure::P99, Figure::BulkRate]),
    (Workload::Idle, None, &[Figure::ResidentPerConnection]),
];

const BEGIN: &str = "<!-- peers:begin -->";
const END: &str = "<!-- peers:end -->";
const IMAGES: &str = "docs/images";
const BULK_PICTURE: &str = "bulk.svg";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_block_is_replaced() {
        let text = "# A\n<!-- peers:begin -->\nold\n<!-- peers:end -->\nrest\n";
        let updated = replace_block(text, "new\n").unwrap();
        assert_eq!(
            updated,
            "# A\n<!-- peers:begin -->\nnew\n<!-- peers:end -->\nrest\n"
        );
        assert_eq!(replace_block(&updated, "new\n").unwrap(), updated);
    }

    #[test]
    fn a_readme_without_the_markers_is_left_alone() {
        for text in ["", "<!-- peers:begin -->", "<!-- peers:end -->"] {
            assert!(replace_block(text, "new\n").is_err());
        }
    }
}
