//! The command line of the harness, and of the processes that it starts.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, value_parser};

use crate::attacks;
use crate::generator::Load;
use crate::nbd;
use crate::peer::{self, MAX_FRAME, Verb};
use crate::roster::{self, Row};
use crate::settings;
use crate::workloads::Workload;

/// Measure readinto beside every system that a user would pick instead.
#[derive(Debug, Parser)]
#[command(version, after_help = NOTES, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) options: Options,
}

/// Another session than that of the workloads, and what the harness starts itself as.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Attacks(attacks::Options),
    /// The example nbd beside qemu-nbd
    Nbd(nbd::Options),
    Settings(settings::Options),
    /// Who attacks a server
    #[command(hide = true)]
    Attack(attacks::attack::Plan),
    /// Who measures how it is served meanwhile
    #[command(hide = true)]
    Neighbour(attacks::neighbour::Plan),
    /// One of the rows in Rust
    #[command(hide = true)]
    Peer {
        #[arg(value_parser = PossibleValuesParser::new(peer::NAMES))]
        name: String,
        #[command(subcommand)]
        verb: Verb,
    },
    /// The load generator
    #[command(hide = true)]
    Generate(Load),
}

/// What to measure, and how thoroughly.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A look at everything in minutes: one short round, fewer sizes
    #[arg(long)]
    pub(crate) quick: bool,

    /// Only these workloads; can be repeated [default: all]
    #[arg(long, value_name = "WORKLOAD", value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<Workload>,

    /// Only these rows, or all rows of these systems; readinto always takes part
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) peers: Vec<String>,

    /// How many rounds count; one more comes before them [default: 5, or 1 if quick]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1000))]
    pub(crate) runs: Option<u32>,

    /// Frame sizes of the bulk workloads [default: 64KB to 100MB]
    #[arg(long, value_name = "SIZE", value_delimiter = ',', value_parser = size)]
    pub(crate) sizes: Vec<usize>,

    /// List the rows and the workloads
    #[arg(long)]
    pub(crate) list: bool,

    /// Write the report and the pictures anew from the last report.json; measure nothing
    #[arg(long, conflicts_with_all = ["quick", "only", "peers", "runs", "sizes", "list"])]
    pub(crate) render: bool,

    /// Put the table and the pictures into README.md and docs/images/
    #[arg(long)]
    pub(crate) update_readme: bool,

    /// Where the report goes [default: peers/ in the target folder]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) output: Option<PathBuf>,
}

impl Cli {
    /// The arguments of this process; exits with code 2 if they make no sense.
    pub(crate) fn from_arguments() -> Cli {
        let cli = Cli::parse();
        if let Err(reason) = cli.options.rows() {
            Cli::command()
                .error(ErrorKind::ValueValidation, reason)
                .exit();
        }
        cli
    }
}

impl Options {
    /// The rows that `--peers` asks for, in the order of the roster.
    pub(crate) fn rows(&self) -> Result<Vec<&'static Row>, String> {
        for name in &self.peers {
            if !roster::ROWS.iter().any(|row| row.answers_to(name)) {
                return Err(format!(
                    "--peers: there is no row and no system {name:?}; --list shows what there is"
                ));
            }
        }
        let asked_for = |row: &&Row| {
            self.peers.is_empty()
                || row.name == roster::READINTO
                || self.peers.iter().any(|name| row.answers_to(name))
        };
        Ok(roster::ROWS.iter().filter(asked_for).collect())
    }

    /// Whether `--only` lets this workload through.
    pub(crate) fn includes(&self, workload: Workload) -> bool {
        self.only.is_empty() || self.only.contains(&workload)
    }
}

/// A number of bytes: MB is 10^6, MiB is 2^20. The prefix is u32be.
fn size(text: &str) -> Result<usize, String> {
    match parse_size::parse_size(text) {
        Ok(bytes @ 1..=MAX_FRAME) => Ok(bytes as usize),
        Ok(_) => Err("a frame has from 1 byte to 256MiB".to_owned()),
        Err(error) => Err(format!(
            "{error} (expected a number of bytes as in 4096, 64KiB, 100MB)"
        )),
    }
}

const NOTES: &str = "\
What a row needs is installed by itself: Python packages in an environment of their own, compilers
and libraries from Debian where this runs as root. What can't be had is skipped with a reason.
Exit codes: 0 fine (skipped rows are), 1 a row failed or gave a wrong answer, 2 wrong usage,
130 interrupted; what was measured until then is still reported.";
