//! Every system that a user would pick instead, side by side with readinto.
//!
//! `cargo run --release -p peers` prepares the systems, lets them take turns at
//! each workload, and writes the report. The same program is each of the rows in
//! Rust and the load generator: it starts itself as a process of its own for
//! each, so that no two ends ever share a process.

mod attacks;
mod background;
mod cli;
mod conclude;
mod figures;
mod generator;
mod interoperation;
mod interrupt;
mod machine;
mod nbd;
mod peer;
mod prepare;
mod process;
mod progress;
mod readiness;
mod report;
mod roster;
mod rounds;
mod session;
mod settings;
mod site;
mod turns;
mod workloads;

use std::error::Error;
use std::process::ExitCode;

use cli::{Cli, Command};
use process::end_with_the_parent;

fn main() -> ExitCode {
    let cli = Cli::from_arguments();
    if let Some(
        Command::Peer { .. } | Command::Generate(_) | Command::Attack(_) | Command::Neighbour(_),
    ) = cli.command
    {
        // They are for a session to start, and of no use without it.
        end_with_the_parent();
    }
    let (name, outcome): (_, Result<ExitCode, Box<dyn Error>>) = match &cli.command {
        Some(Command::Peer { name, verb }) => (
            name.as_str(),
            peer::run(name, verb).map(|()| ExitCode::SUCCESS),
        ),
        Some(Command::Generate(load)) => {
            ("generate", generator::run(load).map(|()| ExitCode::SUCCESS))
        }
        Some(Command::Attacks(options)) => ("attacks", attacks::run(options)),
        Some(Command::Attack(plan)) => (
            "attack",
            attacks::attack::run(plan).map(|()| ExitCode::SUCCESS),
        ),
        Some(Command::Neighbour(plan)) => (
            "neighbour",
            attacks::neighbour::run(plan).map(|()| ExitCode::SUCCESS),
        ),
        Some(Command::Nbd(options)) => ("nbd", nbd::run(options)),
        Some(Command::Settings(options)) => ("settings", settings::run(options)),
        None => ("peers", session::run(&cli.options)),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{name}: {error}");
        ExitCode::FAILURE
    })
}
