//! The rows in C, C++ and Go: compiled here, for this machine.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use super::Workshop;
use crate::process::Failure;
use crate::report::Version;

/// A program that was compiled.
pub(super) struct Built {
    pub(super) program: PathBuf,
    pub(super) versions: Vec<Version>,
}

/// How a row is compiled.
struct Recipe {
    row: &'static str,
    /// A file, or a folder that is a package.
    source: &'static str,
    compiler: &'static str,
    /// What Debian calls the compiler and the library.
    packages: &'static [&'static str],
    arguments: fn(source: &Path, program: &Path) -> Vec<OsString>,
    versions: fn(&Workshop) -> Result<Vec<Version>, Failure>,
}

const RECIPES: [Recipe; 4] = [
    Recipe {
        row: "libuv",
        source: "libuv.c",
        compiler: "cc",
        packages: &["gcc", "libc6-dev", "libuv1-dev"],
        arguments: |source, program| {
            let mut arguments = words("-O2 -o");
            arguments.extend([program.into(), source.into(), "-luv".into()]);
            arguments
        },
        versions: |workshop| {
            let include = "#include <uv/version.h>";
            let number = "UV_VERSION_MAJOR.UV_VERSION_MINOR.UV_VERSION_PATCH";
            Ok(vec![
                Version::new("libuv", &preprocessed(workshop, "c", include, number)?),
                Version::new("cc", &compiler_version(workshop, "cc")?),
            ])
        },
    },
    Recipe {
        row: "asio",
        source: "asio.cpp",
        compiler: "c++",
        packages: ASIO_PACKAGES,
        arguments: |source, program| asio_arguments("", source, program),
        versions: asio_versions,
    },
    Recipe {
        row: "asio-whole",
        source: "asio.cpp",
        compiler: "c++",
        packages: ASIO_PACKAGES,
        arguments: |source, program| asio_arguments("-DWHOLE", source, program),
        versions: asio_versions,
    },
    Recipe {
        row: "go",
        source: "go",
        compiler: "go",
        packages: &["golang-go"],
        arguments: |_, program| {
            let mut arguments = words("build -o");
            arguments.extend([program.into(), ".".into()]);
            arguments
        },
        versions: |workshop| {
            let said = workshop.run(Command::new("go").arg("version"))?;
            let version = said.split_whitespace().nth(2).unwrap_or("unknown");
            Ok(vec![Version::new("go", version.trim_start_matches("go"))])
        },
    },
];

const ASIO_PACKAGES: &[&str] = &["g++", "libasio-dev"];

fn asio_arguments(variant: &str, source: &Path, program: &Path) -> Vec<OsString> {
    let mut arguments = words("-O2 -std=c++20 -DASIO_STANDALONE");
    arguments.extend((!variant.is_empty()).then(|| variant.into()));
    arguments.extend([
        "-o".into(),
        program.into(),
        source.into(),
        "-pthread".into(),
    ]);
    arguments
}

fn asio_versions(workshop: &Workshop) -> Result<Vec<Version>, Failure> {
    let include = "#include <asio/version.hpp>";
    let number = preprocessed(workshop, "c++", include, "ASIO_VERSION")?;
    let version = match number.parse::<u32>() {
        Ok(n) => format!("{}.{}.{}", n / 100_000, n / 100 % 1000, n % 100),
        Err(_) => number,
    };
    Ok(vec![
        Version::new("asio", &version),
        Version::new("c++", &compiler_version(workshop, "c++")?),
    ])
}

/// Compiles the row, unless that was done with all as it is now.
pub(super) fn build(workshop: &Workshop, row: &str) -> Result<Built, Failure> {
    let recipe = RECIPES
        .iter()
        .find(|recipe| recipe.row == row)
        .expect("each row that is compiled has a recipe");
    make(workshop, recipe)
}

fn make(workshop: &Workshop, recipe: &Recipe) -> Result<Built, Failure> {
    let source = workshop.sources.join("native").join(recipe.source);
    let folder = workshop.folder.join("native");
    let program = folder.join(recipe.row);
    fs::create_dir_all(&folder)
        .map_err(|error| Failure::Broken(format!("cannot make {}: {error}", folder.display())))?;

    // Made before, from the same source, by the same command, with the same versions?
    let stamp = folder.join(format!("{}.made-from", recipe.row));
    let arguments = (recipe.arguments)(&source, &program);
    let wanted =
        |versions: &[Version]| format!("{} {arguments:?}\n{versions:?}\n", recipe.compiler);
    if let Ok(versions) = (recipe.versions)(workshop)
        && fs::read_to_string(&stamp).ok() == Some(wanted(&versions))
        && is_newer(&program, &source)
    {
        return Ok(Built { program, versions });
    }
    workshop
        .progress
        .stage(&format!("compiling {}", recipe.row));
    // One that is cut short leaves no stamp.
    let _ = fs::remove_file(&stamp);
    compile(workshop, recipe, &source, &arguments)?;
    // Nobody but the report needs them; the packages may be here only now.
    let versions = (recipe.versions)(workshop).unwrap_or_default();
    // Without the stamp it is merely made again.
    let _ = fs::write(&stamp, wanted(&versions));
    Ok(Built { program, versions })
}

/// Compiles once, and once more with Debian's packages in place.
fn compile(
    workshop: &Workshop,
    recipe: &Recipe,
    source: &Path,
    arguments: &[OsString],
) -> Result<(), Failure> {
    let run = || {
        let mut command = Command::new(recipe.compiler);
        command.args(arguments);
        if source.is_dir() {
            // Go keeps what it makes; let that be here, and let it use what is
            // installed, not fetch a compiler.
            command
                .current_dir(source)
                .env("GOCACHE", workshop.folder.join("native/go-cache"))
                .env("GOPATH", workshop.folder.join("native/go-path"))
                .env("GOTOOLCHAIN", "local");
        }
        workshop.run(&mut command)
    };
    let first = match run() {
        Ok(_) => return Ok(()),
        Err(Failure::Interrupted) => return Err(Failure::Interrupted),
        Err(failure) => failure,
    };
    match workshop.debian.install(workshop, recipe.packages) {
        Ok(()) => run().map(drop),
        Err(Failure::Interrupted) => Err(Failure::Interrupted),
        Err(failure) => Err(Failure::Unavailable(format!("{first}; {failure}"))),
    }
}

/// Whether the program was made after the last change of its source.
fn is_newer(program: &Path, source: &Path) -> bool {
    let Some(made) = changed(program) else {
        return false;
    };
    let files: Vec<PathBuf> = match fs::read_dir(source) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => vec![source.to_owned()],
    };
    files
        .iter()
        .all(|file| changed(file).is_some_and(|changed| changed < made))
}

fn changed(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).ok()?.modified().ok()
}

/// What a header says about its version.
fn preprocessed(
    workshop: &Workshop,
    language: &str,
    include: &str,
    expression: &str,
) -> Result<String, Failure> {
    let probe = workshop.folder.join("native/version-probe");
    fs::write(&probe, format!("{include}\n{expression}\n"))
        .map_err(|error| Failure::Broken(error.to_string()))?;
    let mut command = Command::new("cc");
    command.args(["-E", "-P", "-x", language]).arg(&probe);
    let text = workshop.run(&mut command)?;
    let last = text.lines().next_back().unwrap_or_default();
    Ok(last.replace([' ', '"'], ""))
}

/// The number at the end of the first line.
fn compiler_version(workshop: &Workshop, tool: &str) -> Result<String, Failure> {
    let said = workshop.run(Command::new(tool).arg("--version"))?;
    let line = said.lines().next().unwrap_or_default();
    Ok(line.rsplit(' ').next().unwrap_or_default().to_owned())
}

fn words(text: &str) -> Vec<OsString> {
    text.split(' ').map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use tempfile::TempDir;

    use super::super::debian::Debian;
    use super::*;
    use crate::interrupt::Interrupt;
    use crate::progress::Progress;

    /// Or the report would name versions that were not measured.
    #[test]
    fn a_program_is_made_anew_for_another_version_or_command_or_source() {
        let folder = TempDir::new().unwrap();
        let progress = Progress::new();
        let workshop = Workshop {
            sources: folder.path().to_owned(),
            folder: folder.path().to_owned(),
            interrupt: Interrupt::never(),
            progress: &progress,
            debian: Debian::default(),
        };
        let source = folder.path().join("native/source");
        fs::create_dir(source.parent().unwrap()).unwrap();
        fs::write(&source, "compiled").unwrap();
        let change_source = |ago| {
            let source = File::options().write(true).open(&source).unwrap();
            source.set_modified(SystemTime::now() - ago).unwrap();
        };
        let install = |version| fs::write(folder.path().join("installed"), version).unwrap();
        // What is not made again stays as it was left here.
        let is_made = |arguments| {
            let recipe = Recipe {
                row: "row",
                source: "source",
                compiler: "cp",
                packages: &[],
                arguments,
                versions: installed,
            };
            let built = make(&workshop, &recipe).unwrap();
            assert_eq!(built.versions, installed(&workshop).unwrap());
            let found = fs::read_to_string(&built.program).unwrap();
            fs::write(&built.program, "left").unwrap();
            found == "compiled"
        };

        change_source(Duration::from_secs(60));
        install("1");
        assert!(is_made(plain), "the first time");
        assert!(!is_made(plain), "nothing has changed");
        install("2");
        assert!(is_made(plain), "another version");
        assert!(!is_made(plain), "nothing has changed");
        assert!(is_made(forced), "another command");
        assert!(!is_made(forced), "nothing has changed");
        change_source(Duration::ZERO);
        assert!(is_made(forced), "another source");
    }

    fn plain(source: &Path, program: &Path) -> Vec<OsString> {
        vec![source.into(), program.into()]
    }

    fn forced(source: &Path, program: &Path) -> Vec<OsString> {
        vec!["-f".into(), source.into(), program.into()]
    }

    fn installed(workshop: &Workshop) -> Result<Vec<Version>, Failure> {
        let version = fs::read_to_string(workshop.folder.join("installed")).unwrap();
        Ok(vec![Version::new("library", &version)])
    }
}
