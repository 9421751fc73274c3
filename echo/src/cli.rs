//! The command line: what is accepted, and how it is said.

use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, value_parser};
use ipnet::IpNet;
use nix::sys::stat::Mode;
use readinto::{Address, Prefix};

use crate::allow;
use crate::limit::{self, Limit};

/// An echo server for length-prefixed frames, and a benchmark of it.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(ServeOptions),
    Bench(BenchOptions),
}

impl Cli {
    /// The arguments of this process; exits with code 2 if they make no sense.
    pub(crate) fn from_arguments() -> Cli {
        Cli::checked(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// These arguments, of which the first is the name of the program.
    ///
    /// # Errors
    ///
    /// What is wrong with them; or what was asked for, if that is help.
    pub(crate) fn checked<A>(arguments: impl IntoIterator<Item = A>) -> Result<Cli, clap::Error>
    where
        A: Into<OsString> + Clone,
    {
        let cli = Cli::try_parse_from(arguments)?;
        let (name, checked) = match &cli.command {
            Command::Serve(options) => ("serve", options.check()),
            Command::Bench(options) => ("bench", options.check()),
        };
        if let Err(reason) = checked {
            let mut command = Cli::command();
            // Tells the subcommand its full name.
            command.build();
            return Err(command
                .find_subcommand_mut(name)
                .expect("it is the name of a subcommand")
                .error(ErrorKind::ValueValidation, reason));
        }
        Ok(cli)
    }
}

/// Send every frame back to where it came from.
#[derive(Debug, Args)]
#[command(after_help = SERVE_NOTES)]
pub(crate) struct ServeOptions {
    // No doc comment: rustdoc takes the brackets for a link.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:7000",
        help = "Where to listen: host:port, [v6]:port or unix:/path; can be repeated"
    )]
    pub(crate) listen: Vec<Address>,

    /// The network that connections are accepted from, as 10.0.0.0/8; can be repeated [default: all]
    #[arg(long, value_name = "CIDR", value_parser = allow::network)]
    pub(crate) allow: Vec<IpNet>,

    /// Who may connect to a Unix socket: the mode of its file
    #[arg(long, value_name = "OCTAL", default_value = "0600", value_parser = mode)]
    pub(crate) mode: Mode,

    /// How the length before each frame is written: u16, u32 or u64, be or le
    #[arg(long, value_name = "PREFIX", default_value_t)]
    pub(crate) prefix: Prefix,

    /// The longest frame that is accepted
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, default_value = "256MiB", value_parser = size)]
    pub(crate) max_frame: usize,

    /// How many connections are served at once; further ones wait
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value = "10000", value_parser = value_parser!(u32).range(1..))]
    pub(crate) max_connections: u32,

    /// How many threads serve, each with its share of --max-connections and --memory-budget
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value = "1", value_parser = value_parser!(u32).range(1..=1024))]
    pub(crate) threads: u32,

    /// How long a connection may be silent between two frames
    #[arg(long, value_name = "TIME", default_value = "5m")]
    pub(crate) idle_timeout: Limit,

    /// How long a frame may take to arrive, from its first byte to its last
    #[arg(long, value_name = "TIME", default_value = "2m")]
    pub(crate) frame_timeout: Limit,

    /// How long a peer may take none of its answers
    #[arg(long, value_name = "TIME", default_value = "1m")]
    pub(crate) stall_timeout: Limit,

    /// How long a frame may hold memory while others wait for some, under --memory-budget
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub(crate) shortage_timeout: Limit,

    /// How long frames in flight have to finish after SIGTERM
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub(crate) drain_timeout: Limit,

    /// The most memory for frames, of all connections together; frames that don't fit wait,
    /// and one of more than three quarters of a thread's share ends its connection
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, value_parser = memory_budget)]
    pub(crate) memory_budget: Option<usize>,

    /// For how long to poll after the last event before going to sleep
    #[arg(long, value_name = "TIME", default_value = "none", value_parser = busy_poll)]
    pub(crate) busy_poll: Duration,

    /// How often to say what is going on; SIGUSR1 asks for it at any time until the end begins
    #[arg(long, value_name = "TIME", default_value = "none")]
    pub(crate) stats: Limit,

    /// Say it as JSON, an object for each line
    #[arg(long)]
    pub(crate) stats_json: bool,

    /// Where to answer GET /metrics with what is going on, for Prometheus
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics: Option<Address>,
}

impl ServeOptions {
    /// Rules that no option can judge by itself.
    fn check(&self) -> Result<(), String> {
        let threads = self.threads as usize;
        if self.max_connections < self.threads {
            return Err(format!(
                "a --max-connections of {} for {threads} threads is less than one for each: \
                 choose a larger one or fewer --threads",
                self.max_connections
            ));
        }
        match self.memory_budget {
            Some(budget) if budget / threads < LEAST_BUDGET => Err(format!(
                "a --memory-budget of {budget} bytes for {threads} threads is less than 128KiB \
                 for each: choose a larger one or fewer --threads"
            )),
            _ => Ok(()),
        }
    }
}

/// Send frames to an echo server, check every byte that returns, and time it.
#[derive(Debug, Args)]
#[command(after_help = BENCH_NOTES)]
pub(crate) struct BenchOptions {
    /// The server to use; without it, one is started in this process
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) connect: Option<Address>,

    /// How the length before each frame is written: u16, u32 or u64, be or le
    #[arg(long, value_name = "PREFIX", default_value_t)]
    pub(crate) prefix: Prefix,

    /// The payload of each frame
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, default_value = "100MB", value_parser = size)]
    pub(crate) frame_size: usize,

    /// How many frames each connection sends
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value = "20", value_parser = value_parser!(u32).range(1..))]
    pub(crate) frames: u32,

    /// How many connections there are
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value = "1", value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections: u32,

    /// How many frames of a connection may be under way at once
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value = "1", value_parser = value_parser!(u32).range(1..))]
    pub(crate) pipeline: u32,

    /// How many frames each connection sends before they are counted
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        default_value = "2"
    )]
    pub(crate) warmup: u32,

    /// How long to wait for one answer, or for a connection
    #[arg(long, value_name = "TIME", default_value = "5m")]
    pub(crate) timeout: Limit,

    /// For how long to poll after the last event before going to sleep, here and in the own server
    #[arg(long, value_name = "TIME", default_value = "none", value_parser = busy_poll)]
    pub(crate) busy_poll: Duration,

    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Don't check the bytes that return, only their number
    #[arg(long)]
    pub(crate) no_verify: bool,
}

impl BenchOptions {
    /// Rules that no option can judge by itself.
    fn check(&self) -> Result<(), String> {
        let BenchOptions {
            frame_size, prefix, ..
        } = self;
        if *frame_size as u64 > prefix.max_len() {
            return Err(format!(
                "a --frame-size of {frame_size} bytes does not fit the prefix {prefix}, \
                 which holds up to {}: send smaller frames or choose another --prefix",
                prefix.max_len()
            ));
        }
        Ok(())
    }
}

/// A number of bytes: MB is 10^6, MiB is 2^20.
fn size(text: &str) -> Result<usize, String> {
    let wrong = |reason: &dyn fmt::Display| {
        Err(format!(
            "{reason} (expected a number of bytes as in 4096, 64KiB, 100MB)"
        ))
    };
    // parse-size 1.1 counts on from zero where a digit too many follows the largest
    // number of 64 bits.
    if text.bytes().filter(u8::is_ascii_digit).count() > MOST_DIGITS {
        return wrong(&"too many digits");
    }
    match parse_size::parse_size(text).map(usize::try_from) {
        // What a slice can hold at most.
        Ok(Ok(size)) if isize::try_from(size).is_ok() => Ok(size),
        Ok(_) => wrong(&"more than this machine can address"),
        Err(error) => wrong(&error),
    }
}

/// How many digits a number has that surely fits 64 bits.
const MOST_DIGITS: usize = u64::MAX.ilog10() as usize;

/// A number of bytes that the library can work with.
fn memory_budget(text: &str) -> Result<usize, String> {
    match size(text)? {
        bytes if bytes < LEAST_BUDGET => Err("a memory budget is at least 128KiB".into()),
        bytes => Ok(bytes),
    }
}

/// What the library needs at least, of one reactor.
const LEAST_BUDGET: usize = 128 * 1024;

/// The permissions of a file.
fn mode(text: &str) -> Result<Mode, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|_| !text.starts_with('+'))
        .and_then(Mode::from_bits)
        .filter(|mode| mode.bits() <= 0o777)
        .ok_or_else(|| "expected an octal mode as in 0600 or 666".into())
}

/// A span of time, or none.
fn busy_poll(text: &str) -> Result<Duration, String> {
    match text {
        "none" => Ok(Duration::ZERO),
        _ => limit::span(text)
            .map_err(|error| format!("{error} (expected as in 50us, 1ms, or none)")),
    }
}

const EXIT_CODES: &str = "Exit codes: 0 fine, 1 the run failed, 2 wrong usage.";

const SERVE_NOTES: &str = "\
There is no encryption and no authentication: listen beyond this host with care (see SECURITY.md).
Sizes are as in 4096, 64KiB, 100MB; times as in 500ms, 30s, 5m, or none.
Standard output gets one line `listening on ADDRESS` per listener; port 0 takes any free port.
SIGTERM or SIGINT: accept no more, answer the frames in flight, say in a line how many connections
finished, and exit with 0, or with 1 if the drain timeout cut some; a second signal cuts them at
once. SIGUSR1: say what is going on. SIGHUP is ignored.
With --metrics a further line says `metrics on ADDRESS`; --allow and --mode hold there as well.
RUST_LOG=info or debug tells more on standard error.
Exit codes: 0 fine, 1 the run failed, 2 wrong usage.";

const BENCH_NOTES: &str = "\
Sizes are as in 4096, 64KiB, 100MB (MB is 10^6, MiB is 2^20 bytes); times as in 500ms, 30s, 5m, or none.
Exit codes: 0 fine, 1 the run failed or an answer was wrong, 2 wrong usage.";
