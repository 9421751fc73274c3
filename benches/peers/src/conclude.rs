//! How a session that compares a few things ends.

use std::error::Error;
use std::process::ExitCode;

use crate::background::Watch;
use crate::interrupt::INTERRUPTED;
use crate::process::Failure;

/// The end of a session that has printed its figures: what the machine did besides, and
/// the exit code.
pub(crate) fn conclude(
    outcome: Result<(), Failure>,
    watch: &Watch,
) -> Result<ExitCode, Box<dyn Error>> {
    match outcome {
        Ok(()) => {}
        Err(Failure::Interrupted) => return Ok(ExitCode::from(INTERRUPTED)),
        Err(failure) => return Err(failure.to_string().into()),
    }
    if let Some(warning) = watch.read().warning() {
        println!("\n{warning}");
    }
    Ok(ExitCode::SUCCESS)
}
