//! The server that a benchmark starts for itself: the same code as `serve`, on
//! a reactor and a thread of its own.

use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use readinto::{Address, Reactor};

use crate::allow::AllowList;
use crate::cli::BenchOptions;
use crate::connection::FrameLimits;
use crate::limit::Limit;
use crate::serve::{Bound, Limits, ServeError, serve};
use crate::signals::StopRequests;
use crate::unix_path;

/// A server on a thread of this process.
pub(crate) struct OwnServer {
    address: Address,
    stop: Arc<StopRequests>,
    thread: JoinHandle<Result<(), ServeError>>,
}

impl OwnServer {
    /// Starts it on a free port of 127.0.0.1, with room for this benchmark.
    pub(crate) fn start(options: &BenchOptions) -> Result<OwnServer, ServeError> {
        let limits = Limits {
            allow: AllowList::default(),
            frames: FrameLimits {
                prefix: options.prefix,
                max_frame: options.frame_size,
                idle: Limit::NONE,
                frame: Limit::NONE,
                stall: Limit::NONE,
                shortage: Limit::NONE,
            },
            max_connections: options.connections as usize,
            drain: Limit::NONE,
        };
        let busy_poll = options.busy_poll;
        let stop = Arc::new(StopRequests::default());
        let (sender, bound) = mpsc::channel();
        let thread = {
            let stop = stop.clone();
            thread::Builder::new()
                .name("server".to_owned())
                .spawn(move || run(limits, busy_poll, &stop, sender))
                .map_err(ServeError::Thread)?
        };
        match bound.recv() {
            Ok(address) => Ok(OwnServer {
                address,
                stop,
                thread,
            }),
            // It ended before it had an address to tell.
            Err(_) => Err(join(thread).expect_err("a server that never listened has failed")),
        }
    }

    pub(crate) fn address(&self) -> Address {
        self.address.clone()
    }

    /// Ends it, once its clients have gone.
    pub(crate) fn stop(self) -> Result<(), ServeError> {
        self.stop.request();
        join(self.thread)
    }
}

fn run(
    limits: Limits,
    busy_poll: Duration,
    stop: &StopRequests,
    bound: Sender<Address>,
) -> Result<(), ServeError> {
    let builder = Reactor::builder().busy_poll(busy_poll);
    let mut reactor = builder.build().map_err(ServeError::Reactor)?;
    let handle = reactor.handle();
    let any_port = Address::Tcp {
        host: "127.0.0.1".to_owned(),
        port: 0,
    };
    let served = reactor.block_on(async {
        let listener = Bound::bind(&handle, &any_port, unix_path::PRIVATE).await?;
        // If the benchmark is gone already, the stop request comes at once.
        let _ = bound.send(listener.address());
        serve(&handle, vec![listener], limits, stop).await
    });
    served.map_err(ServeError::Reactor)?.map(drop)
}

fn join(thread: JoinHandle<Result<(), ServeError>>) -> Result<(), ServeError> {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
