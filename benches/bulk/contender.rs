//! Who is compared, and what one turn of one of them is.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::ends::{Client, Server, SocketOptions};
use crate::exchange::Exchange;
use crate::hand_written::{self, Tuning};
use crate::through_readinto;
use crate::transport::Transport;

/// A way to echo frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Contender {
    /// mio alone, with the library's socket options and chunks
    HandWritten,
    /// The library
    Readinto,
    /// The hand-written loop with all that remains given to each call, on
    /// sockets as the kernel makes them but for TCP_NODELAY: what other
    /// runtimes do
    DefaultSockets,
}

/// What one turn has shown.
pub(crate) struct Turn {
    pub(crate) options: SocketOptions,
    pub(crate) figures: Figures,
}

/// How fast a turn was, and at what expense.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Megabytes per second, one way.
    pub(crate) rate: f64,
    /// Seconds of processor time per gigabyte, both ends together.
    pub(crate) processor: f64,
}

impl Contender {
    /// Connects, warms up, and echoes `frames` frames by the clock.
    ///
    /// # Errors
    ///
    /// Those of the sockets, and `InvalidData` for an answer that is not what
    /// was sent.
    pub(crate) fn take_turn(
        self,
        transport: &Transport,
        exchange: &mut Exchange,
        frames: usize,
    ) -> io::Result<Turn> {
        match self {
            Contender::Readinto => {
                let (server, address) = through_readinto::serve(transport.address()?)?;
                let client = through_readinto::Client::connect(&address)?;
                measure(client, server, exchange, frames)
            }
            Contender::HandWritten => {
                let tuning = Tuning::of_the_library(transport);
                take_turn_by_hand(tuning, transport, exchange, frames)
            }
            Contender::DefaultSockets => {
                take_turn_by_hand(Tuning::NONE, transport, exchange, frames)
            }
        }
    }
}

/// As [`Contender::take_turn`], by the hand-written loop.
pub(crate) fn take_turn_by_hand(
    tuning: Tuning,
    transport: &Transport,
    exchange: &mut Exchange,
    frames: usize,
) -> io::Result<Turn> {
    let (server, address) = hand_written::serve(transport, tuning)?;
    let client = hand_written::Client::connect(&address, tuning)?;
    measure(client, server, exchange, frames)
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_possible_value() {
            Some(value) => f.pad(value.get_name()),
            None => Ok(()),
        }
    }
}

fn measure(
    mut client: impl Client,
    server: Server,
    exchange: &mut Exchange,
    frames: usize,
) -> io::Result<Turn> {
    let options = client.options()?;
    client.echo(exchange, frames.div_ceil(WARM_UP_SHARE))?;
    exchange.check_all()?;
    exchange.renew();

    let used = processor_time()?;
    let start = Instant::now();
    client.echo(exchange, frames)?;
    let elapsed = start.elapsed();
    let used = processor_time()? - used;
    exchange.check_all()?;

    // The server ends with the connection.
    drop(client);
    server.join()?;
    let bytes = (frames * exchange.payload.len()) as f64;
    Ok(Turn {
        options,
        figures: Figures {
            rate: bytes / 1e6 / elapsed.as_secs_f64(),
            processor: used.as_secs_f64() / (bytes / 1e9),
        },
    })
}

/// What this process has used so far, in the kernel as well.
fn processor_time() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok(duration(usage.user_time()) + duration(usage.system_time()))
}

fn duration(time: TimeVal) -> Duration {
    Duration::from_secs(time.tv_sec() as u64) + Duration::from_micros(time.tv_usec() as u64)
}

/// For so many timed frames, one is sent before them, to touch all memory.
const WARM_UP_SHARE: usize = 10;
