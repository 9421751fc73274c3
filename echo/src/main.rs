//! The echo server and the benchmark of readinto, in one binary.
//!
//! This file parses, runs, and turns the outcome into an exit code: 0 for a run
//! that went well, 1 for one that failed, 2 for wrong usage. An error is one
//! line on standard error.

mod allow;
mod bench;
mod cli;
mod limit;
mod output;
mod resources;
mod serve;
#[cfg(test)]
mod shell;

use std::error::Error;
use std::io;
use std::process::ExitCode;

use anstream::{AutoStream, ColorChoice};
use cli::{Cli, Command};
use env_logger::{Env, Target};

fn main() -> ExitCode {
    let cli = Cli::from_arguments();
    log_to_standard_error();
    resources::raise_descriptor_limit();
    let outcome: Result<(), Box<dyn Error>> = match &cli.command {
        Command::Serve(options) => serve::run(options).map_err(Box::from),
        Command::Bench(options) => bench::run(options).map_err(Box::from),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(format_args!("readinto-echo: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// As `RUST_LOG` says, in colour on a terminal.
fn log_to_standard_error() {
    let style = match AutoStream::choice(&io::stderr()) {
        ColorChoice::Never => "never",
        _ => "always",
    };
    let environment = Env::default()
        .default_filter_or("warn")
        .default_write_style_or(style);
    env_logger::Builder::from_env(environment)
        .target(Target::Pipe(Box::new(output::LogTarget)))
        .init();
}
