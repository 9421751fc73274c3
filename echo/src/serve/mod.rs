//! The command `serve`: a server until a signal says to stop.

pub(crate) mod connection;
pub(crate) mod error;
pub(crate) mod listen;
mod output;
mod reporter;
pub(crate) mod server;
pub(crate) mod service;
pub(crate) mod signals;
mod throttle;
pub(crate) mod unix_path;

use std::num::NonZero;
use std::thread;

use readinto::Reactor;

use crate::allow::AllowList;
use crate::cli::ServeOptions;
use crate::resources;

use connection::FrameLimits;
use error::ServeError;
use listen::Bound;
use output::say;
use reporter::Reporter;
use server::Server;
use service::Limits;
use signals::StopRequests;

/// Serves until a signal says to stop.
pub(crate) fn run(options: &ServeOptions) -> Result<(), ServeError> {
    let threads = options.threads as usize;
    warn_of_crowding(threads);
    resources::reserve_descriptors(u64::from(options.max_connections) + OTHER_DESCRIPTORS);
    let mut builder = Reactor::builder().busy_poll(options.busy_poll);
    if let Some(budget) = options.memory_budget {
        builder = builder.memory_budget(budget / threads);
    }
    if options.stats.duration().is_some() {
        builder = builder.watch_stalls(reporter::STALL);
    }
    let bind = |address| Bound::bind(address, options.mode, threads);
    let bound: Vec<_> = options.listen.iter().map(bind).collect::<Result<_, _>>()?;
    // Not before, so that a slow name server can be interrupted.
    let (stop, words) = StopRequests::new();
    signals::forward_to(&stop).map_err(ServeError::Signals)?;

    let allow = AllowList::new(&options.allow);
    if allow.is_empty() {
        bound.iter().for_each(Bound::warn_of_exposure);
    }
    let limits = Limits {
        allow,
        frames: FrameLimits {
            prefix: options.prefix,
            max_frame: options.max_frame,
            idle: options.idle_timeout,
            frame: options.frame_timeout,
            stall: options.stall_timeout,
            shortage: options.shortage_timeout,
        },
        max_connections: (options.max_connections as usize).div_ceil(threads),
        drain: options.drain_timeout,
    };
    let addresses: Vec<_> = bound.iter().map(|bound| bound.address.clone()).collect();
    let server = Server::start(builder, threads, bound, limits, stop)?;
    for address in addresses {
        say(format_args!("listening on {address}"));
    }
    Reporter::new(&server, options).report_until_stopped(&words);
    let finished = server.join()?;
    say(format_args!(
        "stopped: connections finished: {finished}, cut: 0"
    ));
    Ok(())
}

/// What a server opens besides its connections, with some to spare.
const OTHER_DESCRIPTORS: u64 = 64;

/// Says so if the threads will take each other's cores.
fn warn_of_crowding(threads: usize) {
    let cores = thread::available_parallelism().map_or(usize::MAX, NonZero::get);
    if threads > cores {
        log::warn!("{threads} threads for {cores} cores will be slower than {cores}");
    }
}
