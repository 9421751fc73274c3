//! `report.md`: the losses first, then every table.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use super::losses::{self, Rival};
use super::table::Table;
use super::{CaseResult, Report, bars, percentiles};
use crate::figures::{Figure, Spread};
use crate::interoperation::{Outcome, PREFIXES, Side};
use crate::progress::in_words;
use crate::roster;
use crate::workloads::Workload;

/// How much a table tells.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    Figures,
    /// And what each row is and does.
    Everything,
}

pub(super) fn render(report: &Report) -> String {
    let mut text = String::from("# readinto and its peers, side by side\n\n");
    text += &preamble(report);
    text += &losses_section(report);
    text += &limits_section(report);
    text += &missing_section(report);
    text += &interoperation_section(report);
    text += &workload_sections(report);
    text += &versions_section(report);
    text
}

fn preamble(report: &Report) -> String {
    let mut text = format!(
        "{}. Measured {} in {}: {}",
        report.machine.describe(),
        report.started.replace('T', " ").replace('Z', " UTC"),
        in_words(Duration::from_secs(report.seconds)),
        report.method(),
    );
    text += match report.thrown_away {
        0 => ", none thrown away.\n",
        _ => ", the first round thrown away.\n",
    };
    text += "Client and server are processes of their own. Every figure is a median with the least \
             and the most; \"× readinto\" is the median of the ratios within each round, and above \
             1 the row beats readinto, whichever way the figure counts.\n";
    if report.quick {
        text += "\n**This was a quick look: few rounds, short ones. It shows what works, not who is \
                 faster.**\n";
    }
    if report.debug_build {
        text += "\n**This was a debug build: the rows in Rust can do better.**\n";
    }
    if let Some(warning) = report.background.warning() {
        write!(text, "\n**{warning}**\n").expect("a string takes all");
    }
    if !report.complete {
        text += "\n**This session was interrupted: cases are missing, and the last one may lack \
                 rounds.**\n";
    }
    text
}

fn losses_section(report: &Report) -> String {
    let mut text = String::from("\n## Where readinto loses\n\n");
    let losses = losses::losses(report);
    if losses.is_empty() {
        text += match report.cases.is_empty() {
            true => "Nothing was measured.\n",
            false => "Nowhere: no peer has a × above 1.00 in any case measured.\n",
        };
        return text;
    }
    text += "The peer with the largest × wherever that is above 1; by the medians, readinto or \
             another peer may be ahead nevertheless. \"in some rounds\" means that readinto was the \
             better one in others.\n\n";
    text + &rivals_table(&losses, "best peer").to_markdown()
}

fn limits_section(report: &Report) -> String {
    let limits = losses::limits(report);
    if limits.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n## How far the limit is\n\n");
    text += "The best of the rows without a runtime: what the sockets give when the loop is written \
             by hand for this one purpose.\n\n";
    text + &rivals_table(&limits, "by hand").to_markdown()
}

fn rivals_table(rivals: &[Rival], whose: &str) -> Table {
    let mut table = Table::new()
        .text("case")
        .text("figure")
        .number("readinto")
        .text(whose)
        .number("its figure")
        .number("× readinto")
        .text("better");
    for rival in rivals {
        let show = |spread: Option<Spread>| {
            spread.map_or(String::new(), |it| it.show(|n| rival.figure.show(n)))
        };
        table.push(vec![
            rival.case.title(),
            rival.figure.to_string(),
            show(rival.ours()),
            rival.row.row.clone(),
            show(rival.theirs()),
            ratio(rival.advantage),
            rival.verdict().to_owned(),
        ]);
    }
    table
}

fn missing_section(report: &Report) -> String {
    if report.notes.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n## What is missing\n\n");
    for note in &report.notes {
        writeln!(text, "- {note}").expect("a string takes all");
    }
    text
}

fn interoperation_section(report: &Report) -> String {
    if report.interoperation.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n## Interoperation\n\n");
    text += "Frames of several sizes between the row and readinto, with every byte compared: the \
             row's server with readinto's client, and the row's client with readinto's server.\n\n";
    text += &interoperation_table(report).to_markdown();
    for it in &report.interoperation {
        if let Outcome::Skipped(reason) | Outcome::Failed(reason) = &it.outcome {
            let side = side_name(it.side);
            writeln!(text, "\n{} as {side}, {}: {reason}", it.row, it.prefix)
                .expect("a string takes all");
        }
    }
    text
}

/// A line per row, a column per side and prefix.
pub(super) fn interoperation_table(report: &Report) -> Table {
    let mut table = Table::new().text("row");
    let mut columns = Vec::new();
    for side in [Side::Server, Side::Client] {
        for prefix in PREFIXES {
            table = table.text(&format!("its {}, {prefix}", side_name(side)));
            columns.push((side, prefix.to_string()));
        }
    }
    for row in &report.rows {
        let met: Vec<_> = columns
            .iter()
            .map(|(side, prefix)| {
                report
                    .interoperation
                    .iter()
                    .find(|it| it.row == row.name && it.side == *side && it.prefix == *prefix)
                    .map(|it| it.outcome.to_string())
            })
            .collect();
        if met.iter().any(Option::is_some) {
            let mut cells = vec![row.name.clone()];
            cells.extend(met.into_iter().map(Option::unwrap_or_default));
            table.push(cells);
        }
    }
    table
}

pub(super) fn side_name(side: Side) -> &'static str {
    match side {
        Side::Server => "server",
        Side::Client => "client",
    }
}

fn workload_sections(report: &Report) -> String {
    let mut text = String::new();
    let mut told: BTreeSet<Workload> = BTreeSet::new();
    for case in &report.cases {
        if told.insert(case.workload) {
            let workload = case.workload;
            write!(text, "\n## {workload}\n\n{}.\n", workload.describe())
                .expect("a string takes all");
            if matches!(workload, Workload::Rtt | Workload::Mixed) {
                write!(text, "\n![Round trips]({})\n", percentiles::FILE_NAME)
                    .expect("a string takes all");
            }
        }
        write!(text, "\n### {}\n\n", case.title()).expect("a string takes all");
        let table = case_table(report, case, Detail::Everything);
        if table.is_empty() {
            text += "No row came to its end.\n";
            continue;
        }
        if case.columns.first() == Some(&Figure::Rate) {
            write!(text, "![{}]({})\n\n", case.title(), bars::file_name(case))
                .expect("a string takes all");
        }
        text += &table.to_markdown();
    }
    text
}

/// The rows of a case from the best to the worst.
pub(super) fn case_table(report: &Report, case: &CaseResult, detail: Detail) -> Table {
    let mut table = Table::new().text("row");
    for figure in &case.columns {
        table = table.number(figure.title());
        if case.judged.contains(figure) {
            table = table.number("× readinto");
        }
    }
    if detail == Detail::Everything {
        table = table.text("language").text("what it does");
    }
    let Some(&first) = case.judged.first() else {
        return table;
    };
    for (row, _) in case.ranking(first) {
        let mut cells = vec![match row.row == roster::READINTO {
            true => format!("**{}**", row.row),
            false => row.row.clone(),
        }];
        for &figure in &case.columns {
            let spread = row.spread(figure);
            cells.push(spread.map_or(String::new(), |it| it.show(|n| figure.show(n))));
            if case.judged.contains(&figure) {
                cells.push(case.advantage(row, figure).map_or(String::new(), ratio));
            }
        }
        if detail == Detail::Everything {
            let entry = report.entry(&row.row);
            cells.push(entry.map_or(String::new(), |it| it.language.to_string()));
            cells.push(entry.map_or(String::new(), |it| it.does.clone()));
        }
        table.push(cells);
    }
    table
}

fn ratio(spread: Spread) -> String {
    spread.show(|n| format!("{n:.2}"))
}

fn versions_section(report: &Report) -> String {
    let mut table = Table::new().text("what").text("version");
    for it in &report.versions {
        table.push(vec![it.name.clone(), it.version.clone()]);
    }
    format!("\n## Versions\n\n{}", table.to_markdown())
}
