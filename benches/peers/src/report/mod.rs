//! What was found, and everything that is made from it: the JSON that keeps it,
//! the Markdown that tells it, the pictures, and the block in README.md.

mod bars;
pub(crate) mod json;
mod losses;
mod markdown;
mod palette;
mod percentiles;
pub(crate) mod readme;
mod svg;
pub(crate) mod table;
#[cfg(test)]
mod tests;
pub(crate) mod text;
mod whole;

use std::error::Error;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::background::Background;
use crate::figures::{Figure, Measurement, Spread};
use crate::interoperation::{Encounter, Outcome};
use crate::machine::Machine;
use crate::process::Failure;
use crate::roster::{self, Language, Part, Row};
use crate::workloads::{Case, Workload};

/// All that a session found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Counts up when the meaning of what follows changes.
    pub(crate) format: u32,
    /// In RFC 3339.
    pub(crate) started: String,
    pub(crate) seconds: u64,
    /// Whether it came to its end.
    pub(crate) complete: bool,
    pub(crate) quick: bool,
    /// Whether the harness, and so the rows in Rust, were built without optimisation. A
    /// report that does not say counts as one of a release build.
    #[serde(default)]
    pub(crate) debug_build: bool,
    pub(crate) rounds: u32,
    pub(crate) thrown_away: u32,
    /// Which core each end had.
    pub(crate) placement: String,
    pub(crate) machine: Machine,
    pub(crate) background: Background,
    pub(crate) versions: Vec<Version>,
    pub(crate) rows: Vec<RowEntry>,
    pub(crate) interoperation: Vec<Encounter>,
    pub(crate) cases: Vec<CaseResult>,
    pub(crate) notes: Vec<Note>,
}

/// Of a system, a library or a compiler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl Version {
    pub(crate) fn new(name: &str, version: &str) -> Version {
        Version {
            name: name.to_owned(),
            version: version.to_owned(),
        }
    }
}

/// What a reader of the report must know of a row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RowEntry {
    pub(crate) name: String,
    pub(crate) system: String,
    pub(crate) language: Language,
    pub(crate) part: Part,
    pub(crate) does: String,
}

impl From<&Row> for RowEntry {
    fn from(row: &Row) -> RowEntry {
        RowEntry {
            name: row.name.to_owned(),
            system: row.system.to_owned(),
            language: row.language,
            part: row.part,
            does: row.does.to_owned(),
        }
    }
}

/// A row that is missing, altogether or from a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) row: String,
    /// Workload and label; none if the row did not take part at all.
    pub(crate) case: Option<String>,
    pub(crate) reason: String,
    /// It should have worked.
    pub(crate) failed: bool,
}

impl Note {
    pub(crate) fn of_row(row: &Row, failure: &Failure) -> Note {
        Note {
            row: row.name.to_owned(),
            case: None,
            reason: failure.to_string(),
            failed: matches!(failure, Failure::Broken(_)),
        }
    }

    pub(crate) fn of_case(row: &Row, case: &dyn Case, failure: &Failure) -> Note {
        Note {
            case: Some(format!("{} {}", case.workload(), case.label())),
            ..Note::of_row(row, failure)
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.failed {
            true => "failed",
            false => "skipped",
        };
        match &self.case {
            Some(case) => write!(f, "{kind}: {} in {case}: {}", self.row, self.reason),
            None => write!(f, "{kind}: {}: {}", self.row, self.reason),
        }
    }
}

/// All counted rounds of a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CaseResult {
    pub(crate) workload: Workload,
    pub(crate) label: String,
    /// The most telling first.
    pub(crate) columns: Vec<Figure>,
    /// Those by which a row wins or loses.
    pub(crate) judged: Vec<Figure>,
    pub(crate) rows: Vec<RowResult>,
}

/// One row's rounds, in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RowResult {
    pub(crate) row: String,
    pub(crate) rounds: Vec<Measurement>,
}

impl RowResult {
    /// The figure over the rounds.
    pub(crate) fn spread(&self, figure: Figure) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|it| it.get(&figure).copied()))
    }
}

impl CaseResult {
    pub(crate) fn row(&self, name: &str) -> Option<&RowResult> {
        self.rows.iter().find(|result| result.row == name)
    }

    /// How many times as good as readinto the row was, round by round.
    pub(crate) fn advantage(&self, row: &RowResult, figure: Figure) -> Option<Spread> {
        let ours = self.row(roster::READINTO)?;
        let ratios = row
            .rounds
            .iter()
            .zip(&ours.rounds)
            .filter_map(|(theirs, ours)| {
                figure.advantage(*theirs.get(&figure)?, *ours.get(&figure)?)
            });
        Spread::of(ratios)
    }

    /// The rows from the best to the worst by a figure's median.
    pub(crate) fn ranking(&self, figure: Figure) -> Vec<(&RowResult, Spread)> {
        let mut ranked: Vec<_> = self
            .rows
            .iter()
            .filter_map(|row| Some((row, row.spread(figure)?)))
            .collect();
        ranked.sort_by(|(_, a), (_, b)| match figure.more_is_better() {
            true => b.median.total_cmp(&a.median),
            false => a.median.total_cmp(&b.median),
        });
        ranked
    }

    pub(crate) fn title(&self) -> String {
        format!("{}, {}", self.workload, self.label)
    }
}

impl Report {
    pub(crate) fn entry(&self, row: &str) -> Option<&RowEntry> {
        self.rows.iter().find(|entry| entry.name == row)
    }

    /// Whether something that should have worked did not.
    pub(crate) fn has_failures(&self) -> bool {
        let fell_out = |it: &Encounter| matches!(it.outcome, Outcome::Failed(_));
        self.notes.iter().any(|note| note.failed) || self.interoperation.iter().any(fell_out)
    }

    /// How the figures came about, in a sentence.
    pub(crate) fn method(&self) -> String {
        let rounds = match self.rounds {
            1 => "one round".to_owned(),
            rounds => format!("medians of {rounds} interleaved rounds"),
        };
        format!("{rounds}, {}", self.placement)
    }
}

/// Writes everything into the folder, and tells which files these are.
pub(crate) fn write(report: &Report, folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files = vec![
        ("report.json".to_owned(), json::render(report)?),
        ("report.md".to_owned(), markdown::render(report)),
    ];
    files.extend(pictures(report));
    let mut paths = Vec::new();
    for (name, content) in files {
        let path = folder.join(name);
        fs::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))?;
        paths.push(path);
    }
    Ok(paths)
}

/// The pictures and their names.
fn pictures(report: &Report) -> Vec<(String, String)> {
    let mut pictures: Vec<(String, String)> = report
        .cases
        .iter()
        .filter(|case| case.columns.first() == Some(&Figure::Rate) && !case.rows.is_empty())
        .map(|case| (bars::file_name(case), bars::draw(report, case)))
        .collect();
    if let Some(picture) = percentiles::draw(report) {
        pictures.push((percentiles::FILE_NAME.to_owned(), picture));
    }
    pictures
}

/// Of `report.json`.
pub(crate) const FORMAT: u32 = 1;
