//! The rounds of one case: every row takes its turn, then every row again.
//!
//! Whatever else the machine does meets all rows alike; what is compared are the
//! figures within a round.

use std::collections::BTreeMap;

use crate::figures::Measurement;
use crate::process::Failure;
use crate::progress::Progress;
use crate::report::{CaseResult, Note, RowResult};
use crate::roster::Row;
use crate::site::Site;
use crate::workloads::Case;

/// How many times each row takes its turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    pub(crate) thrown_away: u32,
    pub(crate) counted: u32,
}

impl Rounds {
    pub(crate) fn total(self) -> u32 {
        self.thrown_away + self.counted
    }
}

/// What came of a case.
pub(crate) struct Played {
    pub(crate) result: CaseResult,
    pub(crate) notes: Vec<Note>,
    /// Not all rounds were played.
    pub(crate) interrupted: bool,
}

/// Plays all rounds. A row that fails is out, the others go on.
pub(crate) fn play(
    case: &dyn Case,
    rows: &[&'static Row],
    rounds: Rounds,
    site: &Site,
    progress: &Progress,
) -> Played {
    let mut playing: Vec<&Row> = rows.iter().copied().filter(|row| case.takes(row)).collect();
    let mut last: BTreeMap<&str, Measurement> = BTreeMap::new();
    let mut counted: BTreeMap<&str, Vec<Measurement>> = BTreeMap::new();
    let mut notes = Vec::new();
    let mut interrupted = false;

    'rounds: for round in 0..rounds.total() {
        progress.stage(&format!(
            "{} {}: round {} of {}",
            case.workload(),
            case.label(),
            round + 1,
            rounds.total()
        ));
        for row in playing.clone() {
            progress.turn(row.name);
            match case.turn(site, row, last.get(row.name)) {
                Ok(measurement) => {
                    if round >= rounds.thrown_away {
                        counted
                            .entry(row.name)
                            .or_default()
                            .push(measurement.clone());
                    }
                    last.insert(row.name, measurement);
                }
                Err(Failure::Interrupted) => {
                    interrupted = true;
                    break 'rounds;
                }
                Err(failure) => {
                    let note = Note::of_case(row, case, &failure);
                    progress.say(&note.to_string());
                    notes.push(note);
                    playing.retain(|other| other.name != row.name);
                }
            }
            progress.advance(case.planned(row));
        }
    }
    let results = rows
        .iter()
        .filter_map(|row| {
            Some(RowResult {
                row: row.name.to_owned(),
                rounds: counted.remove(row.name)?,
            })
        })
        .collect();
    Played {
        result: CaseResult {
            workload: case.workload(),
            label: case.label(),
            columns: case.columns().to_vec(),
            judged: case.judged().to_vec(),
            rows: results,
        },
        notes,
        interrupted,
    }
}
