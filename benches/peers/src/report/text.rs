//! What is said on the way: the table of each case as soon as it is complete.

use std::fmt::Write;

use super::{CaseResult, Report, markdown};
use crate::interoperation::Outcome;

/// The table of a case for a terminal.
pub(crate) fn case(report: &Report, case: &CaseResult) -> String {
    format!(
        "\n{}\n{}",
        case.title(),
        markdown::case_table(report, case, markdown::Detail::Figures).to_terminal()
    )
}

/// The matrix for a terminal, and why some are missing.
pub(crate) fn interoperation(report: &Report) -> String {
    let mut text = format!(
        "\ninteroperation with readinto\n{}",
        markdown::interoperation_table(report).to_terminal()
    );
    for it in &report.interoperation {
        let (kind, reason) = match &it.outcome {
            Outcome::Agreed => continue,
            Outcome::Skipped(reason) => ("skipped", reason),
            Outcome::Failed(reason) => ("failed", reason),
        };
        let side = markdown::side_name(it.side);
        writeln!(
            text,
            "{kind}: {} as {side}, {}: {reason}",
            it.row, it.prefix
        )
        .expect("a string takes all");
    }
    text
}
