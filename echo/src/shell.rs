//! What a shell has of this program: the man pages in `man/` and the completions in
//! `completions/`. The tests of this file make them from the command line, so that the
//! program need not carry their generators.
//!
//! `UPDATE=1 cargo test -p readinto-echo shell` writes them anew.

use std::fs;
use std::io::{self, Write, stderr};
use std::path::Path;
use std::process::{Command, Stdio};

use clap::CommandFactory;
use clap_complete::Shell;
use tempfile::TempDir;

use crate::cli::Cli;

fn man_pages(folder: &Path) -> io::Result<()> {
    clap_mangen::generate_to(Cli::command(), folder)
}

fn completions(folder: &Path) -> io::Result<()> {
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut Cli::command(), "readinto-echo", folder)?;
    }
    Ok(())
}

#[test]
fn the_man_pages_are_those_of_the_command_line() {
    is_up_to_date("man", man_pages);
}

#[test]
fn the_completions_are_those_of_the_command_line() {
    is_up_to_date("completions", completions);
}

/// Compares what `generate` puts into a folder with what is kept in `folder`.
fn is_up_to_date(folder: &str, generate: fn(&Path) -> io::Result<()>) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    if std::env::var_os("UPDATE").is_some() {
        return generate(&kept).unwrap();
    }
    let generated = made(generate);
    assert_eq!(names(generated.path()), names(&kept), "in {kept:?}");
    for name in names(&kept) {
        assert!(
            fs::read(generated.path().join(&name)).unwrap() == fs::read(kept.join(&name)).unwrap(),
            "{name} is out of date: UPDATE=1 cargo test -p readinto-echo shell"
        );
    }
}

/// Says why, where it is read: of a test that passes, what `eprintln!` says is not shown.
fn skipped(why: &str) {
    let _ = writeln!(stderr(), "skipped: {why}");
}

/// What `generate` puts into a folder.
fn made(generate: fn(&Path) -> io::Result<()>) -> TempDir {
    let folder = TempDir::new().unwrap();
    generate(folder.path()).unwrap();
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_man_pages_format_without_a_warning() {
    let pages = made(man_pages);
    for page in names(pages.path()) {
        let formatted = Command::new("groff")
            .args(["-man", "-ww", "-Tutf8"])
            .arg(pages.path().join(&page))
            .stdin(Stdio::null())
            .output();
        let Ok(formatted) = formatted else {
            return skipped("there is no groff");
        };
        let warnings = String::from_utf8_lossy(&formatted.stderr);
        assert!(warnings.is_empty(), "{page}: {warnings}");
        assert!(formatted.status.success(), "{page}");
    }
}

/// What bash offers for a line that ends in an unfinished word, by the function that
/// the completions have named for it.
fn completed(line: &[&str]) -> Option<Vec<String>> {
    let files = made(completions);
    let script = format!(
        r#"source '{}' && function=$(complete -p readinto-echo) &&
        function=${{function#*-F }} && function=${{function%% *}} &&
        COMP_WORDS=({}) && COMP_CWORD={} &&
        "$function" readinto-echo "${{COMP_WORDS[-1]}}" "${{COMP_WORDS[-2]}}" &&
        printf '%s\n' "${{COMPREPLY[@]}}""#,
        files.path().join("readinto-echo.bash").display(),
        line.join(" "),
        line.len() - 1,
    );
    let bash = Command::new("bash")
        .args(["--norc", "-c", &script])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let errors = String::from_utf8_lossy(&bash.stderr);
    assert!(bash.status.success() && errors.is_empty(), "{errors}");
    let offered = String::from_utf8(bash.stdout).unwrap();
    Some(offered.lines().map(String::from).collect())
}

#[test]
fn bash_completes_commands_and_their_options() {
    let Some(commands) = completed(&["readinto-echo", "se"]) else {
        return skipped("there is no bash");
    };
    assert_eq!(commands, ["serve"]);
    let options = completed(&["readinto-echo", "bench", "--fr"]).unwrap();
    assert_eq!(options, ["--frame-size", "--frames"]);
}
