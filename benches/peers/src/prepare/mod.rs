//! What the rows need is put in place: an environment for those in Python,
//! compiled programs for those in C, C++ and Go; and what is ours.
//!
//! Nothing here fails as a whole. What can't be had takes its rows with it, each
//! with a reason that tells what is missing.

mod debian;
mod native;
pub(crate) mod ours;
mod python;
mod versions;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use debian::Debian;

use crate::interrupt::Interrupt;
use crate::process::{Cores, Failure, Process};
use crate::progress::Progress;
use crate::report::{Note, Version};
use crate::roster::{Language, Row};
use crate::site::Site;

/// Everything that can be measured on this machine.
pub(crate) struct Prepared {
    pub(crate) site: Site,
    pub(crate) rows: Vec<&'static Row>,
    pub(crate) skipped: Vec<Note>,
    pub(crate) versions: Vec<Version>,
}

/// Prepares these rows. `folder` keeps what was made for the next time.
pub(crate) fn prepare(
    rows: Vec<&'static Row>,
    folder: &Path,
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<Prepared, Box<dyn Error>> {
    let workshop = Workshop {
        sources: PathBuf::from(env!("CARGO_MANIFEST_DIR")),
        folder: folder.to_owned(),
        interrupt: interrupt.clone(),
        progress,
        debian: Debian::default(),
    };
    let own = std::env::current_exe()?;
    let mut programs = BTreeMap::new();
    let mut skipped = Vec::new();
    let mut versions = versions::of_this_program();

    let in_python: Vec<_> = of(&rows, Language::Python).collect();
    let python = match in_python.is_empty() {
        true => None,
        false => Some(python::prepare(&workshop, &in_python)),
    };
    if let Some(Ok(environment)) = &python {
        versions.extend(environment.versions());
    }
    for &row in &rows {
        let program = match row.language {
            Language::Rust => Ok(vec![own.clone(), "peer".into(), row.name.into()]),
            Language::Python => match python.as_ref().expect("there is a row in Python") {
                Ok(environment) => environment.program(&workshop, row),
                Err(reason) => Err(Failure::Unavailable(reason.to_string())),
            },
            Language::C | Language::Cpp | Language::Go => {
                native::build(&workshop, row.name).map(|built| {
                    for version in built.versions {
                        // Several rows may be of one library.
                        if !versions.contains(&version) {
                            versions.push(version);
                        }
                    }
                    vec![built.program]
                })
            }
        };
        match program {
            Ok(program) => {
                programs.insert(row.name, program);
            }
            Err(Failure::Interrupted) => break,
            Err(failure) => skipped.push(Note::of_row(row, &failure)),
        }
    }

    let site = Site {
        programs,
        own,
        cores: Cores::pick(),
        interrupt: interrupt.clone(),
    };
    let mut able = Vec::new();
    for row in rows {
        if !site.programs.contains_key(row.name) {
            continue;
        }
        match row.skills.serve.then(|| site.try_out(row)) {
            None | Some(Ok(())) => able.push(row),
            Some(Err(Failure::Interrupted)) => break,
            Some(Err(failure)) => skipped.push(Note::of_row(row, &failure)),
        }
    }
    for note in &skipped {
        progress.say(&format!("skipped: {}: {}", note.row, note.reason));
    }
    Ok(Prepared {
        site,
        rows: able,
        skipped,
        versions,
    })
}

fn of<'a>(rows: &'a [&'static Row], language: Language) -> impl Iterator<Item = &'static Row> + 'a {
    rows.iter()
        .copied()
        .filter(move |row| row.language == language)
}

/// What the preparations have at hand.
struct Workshop<'a> {
    /// The folder of this package.
    sources: PathBuf,
    /// Where things are made and kept.
    folder: PathBuf,
    interrupt: Interrupt,
    progress: &'a Progress,
    debian: Debian,
}

impl Workshop<'_> {
    /// Runs a tool to its end and returns what it printed. One that is cut short may
    /// still finish what it is at.
    fn run(&self, command: &mut Command) -> Result<String, Failure> {
        let name = command.get_program().to_string_lossy().into_owned();
        let process = Process::start(&name, command, None, &self.interrupt)?;
        process
            .with_grace(GRACE)
            .finish(TOOL)
            .map(|lines| lines.join("\n"))
    }
}

/// For a tool to end once it is cut short: some packages are large.
const GRACE: Duration = Duration::from_secs(30);

/// For a tool to do its work, downloads included.
const TOOL: Duration = Duration::from_secs(600);
