//! Programs of this repository that are measured from the outside.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::interrupt::Interrupt;
use crate::process::Process;

/// The server that the users run.
pub(crate) fn readinto_echo(interrupt: &Interrupt) -> Result<PathBuf, Box<dyn Error>> {
    build(&["--package", "readinto-echo"], interrupt)?;
    Ok(beside_this_program()?.join("readinto-echo"))
}

/// An example of the library.
pub(crate) fn example(name: &str, interrupt: &Interrupt) -> Result<PathBuf, Box<dyn Error>> {
    build(&["--package", "readinto", "--example", name], interrupt)?;
    Ok(beside_this_program()?.join("examples").join(name))
}

/// Brings it up to date, in the profile of this program; cargo knows whether there is
/// anything to do.
fn build(what: &[&str], interrupt: &Interrupt) -> Result<(), Box<dyn Error>> {
    let mut command = Command::new("cargo");
    command
        .args(["build", "--quiet", "--locked"])
        .args(what)
        .arg("--target-dir")
        .arg(target_folder()?)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    Process::start("cargo", &mut command, None, interrupt)
        .and_then(|cargo| cargo.finish(TO_BUILD))
        .map_err(|failure| failure.to_string())?;
    Ok(())
}

/// Where cargo puts what it makes.
pub(crate) fn target_folder() -> Result<PathBuf, Box<dyn Error>> {
    let profile = beside_this_program()?;
    let target = profile.parent();
    Ok(target
        .ok_or("this program lies in no target folder")?
        .to_owned())
}

fn beside_this_program() -> Result<PathBuf, Box<dyn Error>> {
    let own = std::env::current_exe()?;
    let folder = own.parent();
    Ok(folder.ok_or("this program lies in no folder")?.to_owned())
}

const TO_BUILD: Duration = Duration::from_secs(600);
