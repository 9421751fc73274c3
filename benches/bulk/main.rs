//! Whole frames echoed over loopback, beside a hand-written mio loop.
//!
//! The loop has the same socket options, the same frames and no library in
//! between, so what lies between the two is what the library costs. Run it with
//! `cargo bench --bench bulk`; `-- --help` lists the options.
//!
//! All contenders take turns within a round, so that whatever else the machine
//! does meets all of them alike: compare the ratios, not the rates of two runs.
//! A turn is a new connection with a thread at each end, which first sends
//! frames that are not timed. The answers to one of those and to the last frame
//! are compared in every byte, all others in their first eight.

mod contender;
mod ends;
mod exchange;
mod hand_written;
mod sweep;
mod table;
mod through_readinto;
mod transport;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use contender::{Contender, Figures};
use ends::SocketOptions;
use exchange::Exchange;
use transport::Transport;

/// Echo whole frames through readinto and through a hand-written mio loop.
#[derive(Debug, Parser)]
struct Options {
    /// The payload of a frame; several are separated by commas
    #[arg(
        long,
        value_name = "SIZE",
        value_delimiter = ',',
        value_parser = frame_size,
        default_value = "64KB,256KB,1MB,4MB,20MB,100MB"
    )]
    frame_size: Vec<usize>,

    /// How many rounds count; one more comes before them
    #[arg(long, value_name = "N", default_value = "7", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Timed frames of a turn [default: 500 MB of them, at least 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    frames: Option<u32>,

    /// Who takes part, in what order; the others are compared with the first
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "hand-written,readinto,default-sockets"
    )]
    contenders: Vec<Contender>,

    /// A Unix socket in place of TCP
    #[arg(long)]
    unix: bool,

    /// In place of contenders, the hand-written loop with every chunk and every
    /// buffer: what the library's values were chosen from
    #[arg(long)]
    sweep: bool,

    /// What cargo passes
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bulk: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let transport = Transport::new(options.unix)?;
    println!("whole frames echoed over {transport}, one connection, one frame in flight");
    println!("MB/s one way and CPU seconds per GB of both ends: median (least to most)");
    for &size in &options.frame_size {
        let frames = options
            .frames
            .map_or((TURN / size).max(LEAST_FRAMES), |frames| frames as usize);
        if options.sweep {
            sweep::run(options.rounds, size, frames, &transport)?;
            continue;
        }
        compare(
            options.rounds,
            size,
            frames,
            &options.contenders,
            &transport,
        )?;
    }
    Ok(())
}

/// All rounds of one frame size.
fn compare(
    rounds: u32,
    size: usize,
    frames: usize,
    contenders: &[Contender],
    transport: &Transport,
) -> Result<(), Box<dyn Error>> {
    let mut exchange = Exchange::new(size);
    let mut rows: Vec<Vec<Figures>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        let mut options = Vec::new();
        for (contender, row) in contenders.iter().zip(&mut rows) {
            let turn = contender
                .take_turn(transport, &mut exchange, frames)
                .map_err(|error| format!("{contender}, frames of {size} bytes: {error}"))?;
            options.push((*contender, turn.options));
            if round > 0 {
                row.push(turn.figures);
            }
        }
        check_same_options(&options)?;
    }
    println!("\n{size} bytes, {frames} frames a turn, {rounds} rounds");
    table::print(contenders, &rows);
    Ok(())
}

/// The comparison is void if the hand-written loop is not set up as the library
/// is.
fn check_same_options(options: &[(Contender, SocketOptions)]) -> Result<(), String> {
    let mut tuned = options
        .iter()
        .filter(|(contender, _)| *contender != Contender::DefaultSockets);
    let Some((first, expected)) = tuned.next() else {
        return Ok(());
    };
    match tuned.find(|(_, options)| options != expected) {
        None => Ok(()),
        Some((other, differing)) => Err(format!(
            "the sockets differ: {first} has {expected:?}, {other} has {differing:?}"
        )),
    }
}

fn frame_size(text: &str) -> Result<usize, String> {
    let size = parse_size::parse_size(text).map_err(|error| error.to_string())?;
    match u32::try_from(size) {
        Ok(size) if size as usize >= exchange::STAMP => Ok(size as usize),
        _ => Err(format!(
            "a frame has from {} to {} bytes",
            exchange::STAMP,
            u32::MAX
        )),
    }
}

/// Payload bytes that a turn sends, unless the frames are too large for it.
const TURN: usize = 500_000_000;
const LEAST_FRAMES: usize = 5;
