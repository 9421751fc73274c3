//! The echo server and the benchmark of readinto, in one binary.
//!
//! This file parses, runs, and turns the outcome into an exit code: 0 for a run
//! that went well, 1 for one that failed, 2 for wrong usage. An error is one
//! line on standard error.

mod allow;
mod bench;
mod cli;
mod limit;
mod resources;
mod serve;
#[cfg(test)]
mod shell;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::from_arguments();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    resources::raise_descriptor_limit();
    let outcome: Result<(), Box<dyn Error>> = match &cli.command {
        Command::Serve(options) => serve::run(options).map_err(Box::from),
        Command::Bench(options) => bench::run(options).map_err(Box::from),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if standard error is closed as well.
            let _ = writeln!(io::stderr(), "readinto-echo: {error}");
            ExitCode::FAILURE
        }
    }
}
