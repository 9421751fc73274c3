//! What is measured: each workload in a file of its own.
//!
//! A workload has cases, such as one frame size each. In a case every row takes
//! its turn, round after round.

mod bulk;
mod fanin;
mod idle;
mod mixed;
mod pipeline;
mod rtt;
mod seed;
pub(crate) mod served;

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::figures::{Figure, Measurement};
use crate::process::Failure;
use crate::roster::{Language, Row};
use crate::site::Site;

/// What can be asked for with `--only`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// Each client against each server and back, every byte compared
    Interoperation,
    /// Whole frames on one connection, both ends in the row
    Bulk,
    /// The same with one client for all: only the server differs
    BulkOneClient,
    /// The same over a Unix socket, both ends in the row
    BulkUnix,
    /// The script behind the thread of 2017: both ends on one thread and one loop
    Seed,
    /// Frames of 64 bytes on one connection, one outstanding
    Rtt,
    /// Frames of 64 bytes on 100 and on 5 000 connections, one outstanding each
    Fanin,
    /// Frames of 64 bytes, 64 in flight, on 1 and on 50 connections
    Pipeline,
    /// Frames of 64 bytes while another connection moves frames of 100 MB
    Mixed,
    /// 5 000 connections that say nothing
    Idle,
}

impl Workload {
    /// One line that says what it is, as in the help.
    pub(crate) fn describe(self) -> String {
        self.to_possible_value()
            .and_then(|value| value.get_help().map(ToString::to_string))
            .unwrap_or_default()
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// How thoroughly to measure.
#[derive(Clone, Debug)]
pub(crate) struct Effort {
    pub(crate) quick: bool,
    /// Frame sizes of the bulk workloads; the usual ones if there are none.
    pub(crate) sizes: Vec<usize>,
}

/// A workload at one size.
pub(crate) trait Case {
    fn workload(&self) -> Workload;

    /// What tells it from the other cases of its workload.
    fn label(&self) -> String;

    /// Its figures, the most telling first.
    fn columns(&self) -> &'static [Figure];

    /// Those of the figures by which a row wins or loses.
    fn judged(&self) -> &'static [Figure];

    /// Whether the row can take part.
    fn takes(&self, row: &Row) -> bool;

    /// About how long one turn of the row takes, all told.
    fn planned(&self, row: &Row) -> Duration;

    /// One turn. What the row's last turn gave tells how much it can do in the
    /// time that there is.
    fn turn(
        &self,
        site: &Site,
        row: &Row,
        last: Option<&Measurement>,
    ) -> Result<Measurement, Failure>;
}

/// The cases of a workload.
pub(crate) fn cases(workload: Workload, effort: &Effort) -> Vec<Box<dyn Case>> {
    match workload {
        // It compares bytes and measures nothing.
        Workload::Interoperation => Vec::new(),
        Workload::Bulk => bulk::cases(bulk::Form::BothEnds, effort),
        Workload::BulkOneClient => bulk::cases(bulk::Form::OneClient, effort),
        Workload::BulkUnix => bulk::cases(bulk::Form::Unix, effort),
        Workload::Seed => seed::cases(effort),
        Workload::Rtt => rtt::cases(effort),
        Workload::Fanin => fanin::cases(effort),
        Workload::Pipeline => pipeline::cases(effort),
        Workload::Mixed => mixed::cases(effort),
        Workload::Idle => idle::cases(effort),
    }
}

/// "100 MB", "64 KB": sizes as people write them.
pub(crate) fn size_label(bytes: usize) -> String {
    let exact = |unit: usize| bytes >= unit && bytes.is_multiple_of(unit);
    match bytes {
        _ if exact(1_000_000) => format!("{} MB", bytes / 1_000_000),
        _ if exact(1_000) => format!("{} KB", bytes / 1_000),
        _ => format!("{bytes} B"),
    }
}

/// How long a process of the row takes to start.
fn start_up(row: &Row) -> Duration {
    match row.language {
        Language::Python => Duration::from_millis(220),
        _ => Duration::from_millis(15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_as_people_write_them() {
        let shown = [64, 1_000, 64_000, 262_144, 1_000_000, 100_000_000].map(size_label);
        assert_eq!(
            shown,
            ["64 B", "1 KB", "64 KB", "262144 B", "1 MB", "100 MB"]
        );
    }

    #[test]
    fn each_workload_but_interoperation_has_cases_and_is_described() {
        for quick in [false, true] {
            let effort = Effort {
                quick,
                sizes: Vec::new(),
            };
            for &workload in Workload::value_variants() {
                assert!(!workload.describe().is_empty());
                let none = workload == Workload::Interoperation;
                assert_eq!(cases(workload, &effort).is_empty(), none, "{workload}");
                for case in cases(workload, &effort) {
                    assert!(case.judged().iter().all(|it| case.columns().contains(it)));
                }
            }
        }
    }
}
