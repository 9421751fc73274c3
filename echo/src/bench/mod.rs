//! The benchmark: frames to an echo server and back, counted and timed.
//!
//! Every connection first sends the frames that are not counted. When all have
//! done so, the clock starts for all of them at once, and stops with the last
//! answer.

mod client;
mod error;
mod own_server;
mod pattern;
mod progress;
mod report;

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use readinto::{Handle, JoinHandle, Reactor};

use crate::cli::BenchOptions;
use crate::resources::{self, Usage};

use client::{Client, Plan};
use error::BenchError;
use own_server::OwnServer;
use pattern::Pattern;
use progress::Progress;
use report::Figures;

/// Runs the benchmark, and reports on standard output.
pub(crate) fn run(options: &BenchOptions) -> Result<(), BenchError> {
    check_resources(options)?;
    let pattern = Pattern::new(options.frame_size).ok_or(BenchError::NoMemory {
        bytes: options.frame_size,
    })?;
    let server = match &options.connect {
        Some(_) => None,
        None => Some(OwnServer::start(options).map_err(BenchError::OwnServer)?),
    };
    let address = match (&server, &options.connect) {
        (Some(server), _) => server.address(),
        (None, Some(address)) => address.clone(),
        (None, None) => unreachable!("without an address there is a server of our own"),
    };
    let plan = Rc::new(Plan {
        address,
        prefix: options.prefix,
        frame_size: options.frame_size,
        frames: u64::from(options.warmup) + u64::from(options.frames),
        pipeline: options.pipeline as usize,
        verify: !options.no_verify,
        timeout: options.timeout,
        pattern,
    });

    let measured = measure(options, &plan);
    // Its clients have gone with their reactor, so this takes no time. What
    // failed there is the cause of what failed here.
    if let Some(server) = server {
        server.stop().map_err(BenchError::OwnServer)?;
    }
    report::write(&measured?, options, &plan.address).map_err(BenchError::Report)
}

/// Refuses what this machine can't hold, before it tries and is killed for it.
fn check_resources(options: &BenchOptions) -> Result<(), BenchError> {
    let connections = u64::from(options.connections);
    let ends = match options.connect {
        Some(_) => connections,
        None => 2 * connections,
    };
    let frame_size = options.frame_size as u64;
    // One at each end of a connection, and the pattern.
    let needed = frame_size.saturating_mul(ends + 1);
    if let Some(available) = resources::available_memory()
        && needed > available
    {
        return Err(BenchError::TooMuchMemory { needed, available });
    }
    let needed = ends + OTHER_DESCRIPTORS;
    if let Some(limit) = resources::descriptor_limit()
        && needed > limit
    {
        return Err(BenchError::TooManyDescriptors { needed, limit });
    }
    Ok(())
}

/// What a benchmark opens besides its connections, with some to spare.
const OTHER_DESCRIPTORS: u64 = 32;

fn measure(options: &BenchOptions, plan: &Rc<Plan>) -> Result<Figures, BenchError> {
    let builder = Reactor::builder().busy_poll(options.busy_poll);
    let mut reactor = builder.build().map_err(BenchError::Reactor)?;
    let handle = reactor.handle();
    reactor
        .block_on(exchange_all(&handle, options, plan))
        .map_err(BenchError::Reactor)?
}

async fn exchange_all(
    handle: &Handle,
    options: &BenchOptions,
    plan: &Rc<Plan>,
) -> Result<Figures, BenchError> {
    let warmup = u64::from(options.warmup);
    let frames = u64::from(options.frames);
    let connections = u64::from(options.connections);

    let progress = Progress::new("warm-up", connections * warmup, plan.frame_size);
    let (progress, showing) = show(handle, progress);
    let ready = (1..=connections).map(|number| {
        let (handle, plan, progress) = (handle.clone(), plan.clone(), progress.clone());
        async move {
            let mut client = Client::connect(handle, plan, number).await?;
            client.exchange(warmup, |_| progress.count()).await?;
            Ok(client)
        }
    });
    let clients = run_tasks(handle, ready).await?;
    drop((showing, progress));

    let round_trips = Rc::new(RefCell::new(new_histogram()));
    let progress = Progress::new("benchmark", connections * frames, plan.frame_size);
    let (progress, showing) = show(handle, progress);
    let used_before = Usage::now();
    let start = Instant::now();
    let counted = clients.into_iter().map(|mut client| {
        let (round_trips, progress) = (round_trips.clone(), progress.clone());
        async move {
            let on_answer = |round_trip: Duration| {
                let nanoseconds = u64::try_from(round_trip.as_nanos()).unwrap_or(u64::MAX);
                round_trips.borrow_mut().saturating_record(nanoseconds);
                progress.count();
            };
            client.exchange(frames, on_answer).await?;
            // Connections are closed when the clock has stopped.
            Ok(client)
        }
    });
    let clients = run_tasks(handle, counted).await?;
    let elapsed = start.elapsed();
    let used = Usage::now() - used_before;

    drop((clients, showing));
    Ok(Figures {
        elapsed,
        frames: connections * frames,
        bytes: (connections * frames).saturating_mul(plan.frame_size as u64),
        used,
        round_trips: round_trips.replace(new_histogram()),
    })
}

/// Shows `progress` until the second of these is dropped.
fn show(handle: &Handle, progress: Progress) -> (Rc<Progress>, AbortOnDrop) {
    let progress = Rc::new(progress);
    let shown = progress.clone();
    let clock = handle.clone();
    let showing = handle.spawn(async move { shown.show(&clock).await });
    (progress, AbortOnDrop(showing))
}

/// Runs the futures as tasks, until all have ended well or one has not.
async fn run_tasks<T: 'static>(
    handle: &Handle,
    futures: impl Iterator<Item = impl Future<Output = Result<T, BenchError>> + 'static>,
) -> Result<Vec<T>, BenchError> {
    let tasks: Vec<_> = futures.map(|future| handle.spawn(future)).collect();
    let ended = tasks.into_iter().map(|task| async {
        task.await
            .unwrap_or_else(|error| Err(BenchError::Task(error)))
    });
    try_join_all(ended).await
}

/// Of nanoseconds, to three digits: of as many as there may be, since `--timeout` has no bound.
fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_max(u64::MAX, 3).expect("the bounds are in order")
}

/// A task that ends with whoever started it.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_of_days_is_not_cut_short() {
        let mut round_trips = new_histogram();
        let days = Duration::from_secs(3 * 24 * 3600).as_nanos() as u64;
        round_trips.saturating_record(days);
        assert!(round_trips.equivalent(round_trips.max(), days));
    }
}
