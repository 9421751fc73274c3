//! The environment of the rows in Python.
//!
//! Rows that need nothing but the standard library run on any python3. For the
//! others a virtual environment gets the pinned packages, one by one if they
//! can't be had together, so that one that does not build here costs only its
//! own rows.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Workshop;
use crate::process::Failure;
use crate::report::Version;
use crate::roster::Row;

/// An interpreter, and the packages that it can import.
pub(super) struct Environment {
    interpreter: PathBuf,
    version: String,
    packages: BTreeMap<String, String>,
    /// Why the other packages are not there.
    missing: Option<String>,
}

/// Makes an environment for these rows.
pub(super) fn prepare(workshop: &Workshop, rows: &[&Row]) -> Result<Environment, Failure> {
    let system = Path::new("python3");
    let version = match ask_version(workshop, system) {
        Err(Failure::Unavailable(_)) => {
            let packages = ["python3", "python3-venv"];
            workshop
                .debian
                .install(workshop, &packages)
                .map_err(|failure| because("there is no python3", failure))?;
            ask_version(workshop, system)?
        }
        known => known?,
    };
    // A version manager's stand-in would look for it at each start.
    let real = ask(workshop, system, "import sys; print(sys.executable)")?;
    let plain = |missing| Environment {
        interpreter: PathBuf::from(&real),
        version: version.clone(),
        packages: BTreeMap::new(),
        missing,
    };
    if rows.iter().all(|row| row.needs.is_empty()) {
        return Ok(plain(None));
    }
    match make(workshop, system, &version) {
        Ok(environment) => Ok(environment),
        Err(Failure::Interrupted) => Err(Failure::Interrupted),
        Err(failure) => Ok(plain(Some(failure.to_string()))),
    }
}

impl Environment {
    /// What starts the row, if all that it needs is there.
    pub(super) fn program(&self, workshop: &Workshop, row: &Row) -> Result<Vec<PathBuf>, Failure> {
        for &package in row.needs {
            if !self.packages.contains_key(package) {
                let reason = format!("there is no {package}");
                return Err(match &self.missing {
                    Some(missing) => Failure::Unavailable(format!("{reason}: {missing}")),
                    None => Failure::Unavailable(reason),
                });
            }
        }
        let script = workshop.sources.join("python/main.py");
        Ok(vec![self.interpreter.clone(), script, row.name.into()])
    }

    pub(super) fn versions(&self) -> Vec<Version> {
        let python = Version::new("Python", &self.version);
        let packages = self
            .packages
            .iter()
            .map(|(name, version)| Version::new(name, version));
        std::iter::once(python).chain(packages).collect()
    }
}

/// A virtual environment with the pinned packages.
fn make(workshop: &Workshop, system: &Path, version: &str) -> Result<Environment, Failure> {
    let folder = workshop.folder.join("venv");
    let interpreter = folder.join("bin/python");
    let requirements = workshop.sources.join("python/requirements.txt");
    let pins = fs::read_to_string(&requirements).map_err(|error| {
        Failure::Unavailable(format!("cannot read {}: {error}", requirements.display()))
    })?;

    // Made before, from the same pins, for the same interpreter?
    let stamp = folder.join("made-from");
    let wanted = format!("Python {version}\n{pins}");
    let mut missing = None;
    if fs::read_to_string(&stamp).ok().as_deref() != Some(wanted.as_str()) {
        create(workshop, system, &folder)?;
        missing = install(workshop, &interpreter, &requirements, &pins)?;
        if missing.is_none() {
            // Without the stamp it is merely made again.
            let _ = fs::write(&stamp, &wanted);
        }
    }
    let packages = ask_packages(workshop, &interpreter)?;
    // What came along by itself is not ours to report.
    let pinned: Vec<_> = pins.lines().filter_map(package_name).collect();
    Ok(Environment {
        interpreter,
        version: version.to_owned(),
        packages: packages
            .into_iter()
            .filter(|(name, _)| pinned.iter().any(|pin| pin.eq_ignore_ascii_case(name)))
            .collect(),
        missing,
    })
}

fn create(workshop: &Workshop, system: &Path, folder: &Path) -> Result<(), Failure> {
    workshop.progress.stage("making a Python environment");
    let make = || {
        let mut command = Command::new(system);
        command.args(["-m", "venv", "--clear"]).arg(folder);
        workshop.run(&mut command)
    };
    let Err(first) = make() else { return Ok(()) };
    if let Failure::Interrupted = first {
        return Err(first);
    }
    // Debian has this part of Python in a package of its own.
    workshop
        .debian
        .install(workshop, &["python3-venv"])
        .map_err(|failure| because(&format!("no environment can be made ({first})"), failure))?;
    make().map(drop)
}

/// Installs the pins, and says why some are missing.
fn install(
    workshop: &Workshop,
    interpreter: &Path,
    requirements: &Path,
    pins: &str,
) -> Result<Option<String>, Failure> {
    workshop.progress.stage("installing the Python packages");
    let pip = || {
        let mut command = Command::new(interpreter);
        command
            .args(["-m", "pip", "install", "--quiet", "--no-input"])
            .arg("--disable-pip-version-check");
        command
    };
    match workshop.run(pip().arg("-r").arg(requirements)) {
        Ok(_) => return Ok(None),
        Err(Failure::Interrupted) => return Err(Failure::Interrupted),
        Err(_) => {}
    }
    let mut missing = Vec::new();
    for pin in pins.lines().filter(|line| package_name(line).is_some()) {
        match workshop.run(pip().arg(pin.trim())) {
            Ok(_) => {}
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(failure) => missing.push(format!("{}: {failure}", pin.trim())),
        }
    }
    Ok((!missing.is_empty()).then(|| missing.join("; ")))
}

fn ask_version(workshop: &Workshop, interpreter: &Path) -> Result<String, Failure> {
    const QUESTION: &str = "import platform; print(platform.python_version())";
    ask(workshop, interpreter, QUESTION)
}

fn ask_packages(
    workshop: &Workshop,
    interpreter: &Path,
) -> Result<BTreeMap<String, String>, Failure> {
    const QUESTION: &str = "import importlib.metadata as m, json; \
        print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions()}))";
    let answer = ask(workshop, interpreter, QUESTION)?;
    serde_json::from_str(&answer)
        .map_err(|error| Failure::Unavailable(format!("python lists no packages: {error}")))
}

fn ask(workshop: &Workshop, interpreter: &Path, question: &str) -> Result<String, Failure> {
    let answer = workshop.run(Command::new(interpreter).args(["-c", question]))?;
    Ok(answer.trim().to_owned())
}

/// The package that a line of the requirements pins.
fn package_name(line: &str) -> Option<&str> {
    let line = line.split('#').next()?.trim();
    let end = line
        .find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c))
        .unwrap_or(line.len());
    (end > 0 && !line.starts_with('-')).then(|| &line[..end])
}

fn because(what: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Interrupted => Failure::Interrupted,
        failure => Failure::Unavailable(format!("{what}: {failure}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requirement_names_its_package() {
        assert_eq!(package_name("uvloop==0.21.0"), Some("uvloop"));
        assert_eq!(package_name("  trio ~= 0.27 # comment"), Some("trio"));
        assert_eq!(
            package_name("uvloop==0.21.0; sys_platform != 'win32'"),
            Some("uvloop")
        );
        for line in ["", "# tornado", "--no-binary :all:"] {
            assert_eq!(package_name(line), None, "{line:?}");
        }
    }
}
