//! The command `serve`: a server until a signal says to stop.

pub(crate) mod connection;
pub(crate) mod error;
pub(crate) mod listen;
mod metrics;
mod observer;
mod reporter;
pub(crate) mod server;
pub(crate) mod service;
pub(crate) mod signals;
mod throttle;
pub(crate) mod unix_path;

use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use readinto::{Builder, Reactor};

use crate::allow::AllowList;
use crate::cli::ServeOptions;
use crate::output::say;
use crate::resources;

use connection::FrameLimits;
use error::ServeError;
use listen::Bound;
use metrics::Exporter;
use observer::Observer;
use reporter::Reporter;
use server::Server;
use service::Limits;
use signals::StopRequests;

/// Serves until a signal says to stop.
pub(crate) fn run(options: &ServeOptions) -> Result<(), ServeError> {
    let threads = options.threads as usize;
    warn_of_crowding(threads);
    resources::reserve_descriptors(u64::from(options.max_connections) + OTHER_DESCRIPTORS);
    // Frames are echoed by threads of their own; what is told of them, is told here.
    let mut reactor = Reactor::new().map_err(ServeError::Reactor)?;
    let handle = reactor.handle();
    let allow = AllowList::new(&options.allow);
    let bind = |address| Bound::bind(address, options.mode, threads);
    let bound: Vec<_> = options.listen.iter().map(bind).collect::<Result<_, _>>()?;
    let exporter = match &options.metrics {
        Some(address) => {
            let bound = Bound::bind(address, options.mode, 1)?;
            Some(Exporter::new(&handle, bound, allow.clone())?)
        }
        None => None,
    };
    // Not before, so that a slow name server can be interrupted.
    let stop = Arc::<StopRequests>::default();
    let asked = signals::forward_to(&stop).map_err(ServeError::Signals)?;

    if allow.is_empty() {
        let metrics = exporter.iter().map(Exporter::address);
        let addresses = bound.iter().map(|bound| &bound.address).chain(metrics);
        addresses.for_each(listen::warn_of_exposure);
    }
    let addresses: Vec<_> = bound.iter().map(|bound| bound.address.clone()).collect();
    let (settings, limits) = (settings(options), limits(options, allow));
    let server = Server::start(settings, threads, bound, limits, stop.clone())?;
    for address in addresses {
        say(format_args!("listening on {address}"));
    }
    let observer = Observer::new(&handle, &server);
    handle.spawn(Reporter::new(observer.clone(), options).run(handle.clone(), asked));
    if let Some(exporter) = exporter {
        say(format_args!("metrics on {}", exporter.address()));
        handle.spawn(exporter.serve(observer));
    }
    reactor
        .block_on(stop.reached(1))
        .map_err(ServeError::Reactor)?;
    drop(reactor);
    let finished = server.join()?;
    say(format_args!(
        "stopped: connections finished: {finished}, cut: 0"
    ));
    Ok(())
}

/// Those of each thread's reactor.
fn settings(options: &ServeOptions) -> Builder {
    let mut builder = Reactor::builder().busy_poll(options.busy_poll);
    if let Some(budget) = options.memory_budget {
        builder = builder.memory_budget(budget / options.threads as usize);
    }
    if options.stats.duration().is_some() || options.metrics.is_some() {
        builder = builder.watch_stalls(STALL);
    }
    builder
}

/// What the server allows.
fn limits(options: &ServeOptions, allow: AllowList) -> Limits {
    Limits {
        allow,
        frames: FrameLimits {
            prefix: options.prefix,
            max_frame: options.max_frame,
            idle: options.idle_timeout,
            frame: options.frame_timeout,
            stall: options.stall_timeout,
            shortage: options.shortage_timeout,
        },
        max_connections: options.max_connections as usize,
        drain: options.drain_timeout,
    }
}

/// A connection that holds the loop for so long is worth a line in the log.
const STALL: Duration = Duration::from_millis(10);

/// What a server opens besides its connections, with some to spare.
const OTHER_DESCRIPTORS: u64 = 64;

/// Says so if the threads will take each other's cores.
fn warn_of_crowding(threads: usize) {
    let cores = thread::available_parallelism().map_or(usize::MAX, NonZero::get);
    if threads > cores {
        log::warn!("{threads} threads for {cores} cores will be slower than {cores}");
    }
}
