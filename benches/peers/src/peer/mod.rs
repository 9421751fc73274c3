//! The rows in Rust: each an echo server and a client on one runtime.

mod client;
mod compio;
mod framing;
mod memcpy;
mod mio_hand_written;
mod monoio;
mod readinto;
mod room;
mod smol;
mod std_blocking;
mod tokio_codec;
mod tokio_exact;
mod tuning;

use std::error::Error;
use std::io;

use clap::Subcommand;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use client::Job;
pub(crate) use client::{payload, payloads, report, say, wait_for_the_word};
pub(crate) use framing::{Connected, MAX_FRAME, Prefix};
use mio_hand_written::Wait;
use tuning::Tuning;

/// What a row is started to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Echo frames until killed
    Serve {
        #[arg(long)]
        listen: String,
        #[arg(long)]
        prefix: Prefix,
    },
    /// Send frames, one at a time
    Bulk {
        #[arg(long)]
        connect: String,
        #[arg(long)]
        prefix: Prefix,
        #[arg(long)]
        size: usize,
        #[arg(long)]
        frames: usize,
        #[arg(long)]
        warmup: usize,
    },
    /// Be both ends of one frame after the other, on one loop
    Seed {
        #[arg(long)]
        size: usize,
        #[arg(long)]
        iterations: usize,
    },
}

/// The names of the rows in Rust.
pub(crate) const NAMES: [&str; ROWS.len()] = {
    let mut names = [""; ROWS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = ROWS[index].0;
        index += 1;
    }
    names
};

const ROWS: &[(&str, Row)] = &[
    ("readinto", Row::Readinto(readinto::Waiting::Asleep)),
    (
        "readinto-busy-poll",
        Row::Readinto(readinto::Waiting::BusyPolling),
    ),
    (
        "tokio-exact",
        Row::TokioExact(tokio_exact::Style::Reused(Tuning::Default)),
    ),
    (
        "tokio-exact-tuned",
        Row::TokioExact(tokio_exact::Style::Reused(Tuning::AsReadinto)),
    ),
    ("tokio-vec", Row::TokioExact(tokio_exact::Style::Fresh)),
    (
        "tokio-codec-forward",
        Row::TokioCodec(tokio_codec::Style::Forward),
    ),
    (
        "tokio-codec-loop",
        Row::TokioCodec(tokio_codec::Style::Loop),
    ),
    ("smol", Row::Smol),
    ("monoio", Row::Monoio),
    ("compio", Row::Compio),
    (
        "mio-hand-written",
        Row::MioHandWritten(Tuning::Default, Wait::Asleep),
    ),
    (
        "mio-hand-written-tuned",
        Row::MioHandWritten(Tuning::AsReadinto, Wait::Asleep),
    ),
    (
        "mio-hand-written-spinning",
        Row::MioHandWritten(Tuning::AsReadinto, Wait::Spinning),
    ),
    ("std-blocking", Row::StdBlocking(Tuning::Default)),
    ("std-blocking-tuned", Row::StdBlocking(Tuning::AsReadinto)),
    ("memcpy", Row::Memcpy),
];

/// Plays the row `name`.
pub(crate) fn run(name: &str, verb: &Verb) -> Result<(), Box<dyn Error>> {
    raise_descriptor_limit();
    let row = ROWS
        .iter()
        .find_map(|(known, row)| (*known == name).then_some(*row))
        .ok_or_else(|| format!("there is no row {name:?} in Rust"))?;
    match verb {
        Verb::Serve { listen, prefix } => row.serve(listen, *prefix)?,
        Verb::Bulk {
            connect,
            prefix,
            size,
            frames,
            warmup,
        } => row.bulk(connect, *prefix, &Job::new(*size, *frames, *warmup))?,
        Verb::Seed { size, iterations } => row.seed(*size, *iterations)?,
    }
    Ok(())
}

/// A row in Rust.
#[derive(Clone, Copy, Debug)]
enum Row {
    Readinto(readinto::Waiting),
    TokioExact(tokio_exact::Style),
    TokioCodec(tokio_codec::Style),
    Smol,
    Monoio,
    Compio,
    MioHandWritten(Tuning, Wait),
    StdBlocking(Tuning),
    Memcpy,
}

impl Row {
    fn serve(self, listen: &str, prefix: Prefix) -> io::Result<()> {
        match self {
            Row::Readinto(waiting) => readinto::serve(listen, prefix, waiting),
            Row::TokioExact(style) => tokio_exact::serve(listen, prefix, style),
            Row::TokioCodec(style) => tokio_codec::serve(listen, prefix, style),
            Row::Smol => smol::serve(listen, prefix),
            Row::Monoio => monoio::serve(listen, prefix),
            Row::Compio => compio::serve(listen, prefix),
            Row::MioHandWritten(tuning, wait) => {
                mio_hand_written::serve(listen, prefix, tuning, wait)
            }
            Row::StdBlocking(tuning) => std_blocking::serve(listen, prefix, tuning),
            Row::Memcpy => Err(without("serve")),
        }
    }

    fn bulk(self, connect: &str, prefix: Prefix, job: &Job) -> io::Result<()> {
        match self {
            Row::Readinto(waiting) => readinto::bulk(connect, prefix, job, waiting),
            Row::TokioExact(style) => tokio_exact::bulk(connect, prefix, job, style),
            Row::TokioCodec(_) => tokio_codec::bulk(connect, prefix, job),
            Row::Smol => smol::bulk(connect, prefix, job),
            Row::Monoio => monoio::bulk(connect, prefix, job),
            Row::Compio => compio::bulk(connect, prefix, job),
            Row::MioHandWritten(tuning, wait) => {
                mio_hand_written::bulk(connect, prefix, job, tuning, wait)
            }
            Row::StdBlocking(tuning) => std_blocking::bulk(connect, prefix, job, tuning),
            Row::Memcpy => memcpy::bulk(job),
        }
    }

    fn seed(self, size: usize, iterations: usize) -> io::Result<()> {
        match self {
            Row::Readinto(_) => readinto::seed(size, iterations),
            Row::TokioExact(_) => tokio_exact::seed(size, iterations),
            Row::Smol => smol::seed(size, iterations),
            _ => Err(without("seed")),
        }
    }
}

fn without(verb: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("this row does not {verb}"),
    )
}

/// Says that this machine lacks what a row runs on, with the exit code that the
/// harness takes for that.
fn unavailable(what: &str, error: &io::Error) -> ! {
    eprintln!("{what}: {error}");
    std::process::exit(3)
}

/// Thousands of connections are thousands of descriptors.
pub(crate) fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // What it has may do; if not, the run will say so.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
