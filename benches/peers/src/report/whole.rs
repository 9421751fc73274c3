//! Whether a session tells all that there is to tell: README.md takes no other.

use clap::ValueEnum;

use super::Report;
use crate::roster;
use crate::workloads::{self, Effort, Workload};

/// Whether every row has played every round of every case, in a release build.
///
/// # Errors
///
/// The first thing that is missing.
pub(super) fn check(report: &Report) -> Result<(), String> {
    if report.quick {
        return Err("this was a quick look".to_owned());
    }
    if !report.complete {
        return Err("this one was interrupted".to_owned());
    }
    if report.debug_build {
        return Err("this was a debug build".to_owned());
    }
    if let Some(note) = report.notes.first() {
        return Err(note.to_string());
    }
    if report.has_failures() {
        return Err("some rows don't understand each other".to_owned());
    }
    if let Some(row) = roster::ROWS
        .iter()
        .find(|it| report.entry(it.name).is_none())
    {
        return Err(format!("{} did not take part", row.name));
    }
    if report.interoperation.is_empty() {
        return Err(format!("{} was left out", Workload::Interoperation));
    }
    let effort = Effort {
        quick: false,
        sizes: Vec::new(),
    };
    for case in Workload::value_variants()
        .iter()
        .flat_map(|&workload| workloads::cases(workload, &effort))
    {
        let title = format!("{}, {}", case.workload(), case.label());
        let Some(result) = report.cases.iter().find(|it| it.title() == title) else {
            return Err(format!("{title} was left out"));
        };
        for row in roster::ROWS.iter().filter(|row| case.takes(row)) {
            let rounds = result.row(row.name).map_or(0, |it| it.rounds.len());
            if rounds != report.rounds as usize {
                return Err(format!(
                    "{} has {rounds} of {} rounds in {title}",
                    row.name, report.rounds
                ));
            }
        }
    }
    Ok(())
}
