//! `report.json`: every figure of every round, for programs, and for making the
//! other files anew.

use std::error::Error;
use std::fs;
use std::path::Path;

use super::{FORMAT, Report};

pub(crate) fn render(report: &Report) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(report).map(|text| text + "\n")
}

/// The report that an earlier session left in the folder.
pub(crate) fn read(folder: &Path) -> Result<Report, Box<dyn Error>> {
    let path = folder.join("report.json");
    let text = fs::read_to_string(&path)
        .map_err(|error| format!("{}: {error} (measure first)", path.display()))?;
    let report: Report = serde_json::from_str(&text)
        .map_err(|error| format!("{}: {error} (measure anew)", path.display()))?;
    if report.format != FORMAT {
        return Err(format!("{}: of another version, measure anew", path.display()).into());
    }
    Ok(report)
}
