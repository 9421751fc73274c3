//! What one thread of a server does: whom it admits, and how it stops.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;

use futures_util::future::{Either, select, select_all};
use readinto::{BoundListener, JoinHandle, Listener, Shard, Stream};

use super::connection::{Connection, FrameLimits};
use super::error::ServeError;
use super::listen;
use super::signals::StopRequests;
use super::throttle::Throttle;
use super::unix_path::SocketFile;
use crate::allow::AllowList;
use crate::limit::Limit;

/// What a server allows.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) allow: AllowList,
    pub(crate) frames: FrameLimits,
    /// In all threads together.
    pub(crate) max_connections: usize,
    pub(crate) drain: Limit,
}

/// What one thread starts with.
#[derive(Default)]
pub(super) struct Seed {
    pub(super) listeners: Vec<BoundListener>,
    /// They go with the listeners of the first thread.
    pub(super) files: Vec<SocketFile>,
}

/// What became of the connections that were open when a thread was to stop.
#[derive(Debug, Default)]
pub(super) struct Drained {
    pub(super) finished: usize,
    pub(super) cut: usize,
    /// A second request came first.
    pub(super) hurried: bool,
}

/// Serves until the first request to stop, then drains.
///
/// What is not finished when this returns must be cut, by dropping the reactor.
pub(super) async fn serve(
    shard: Shard,
    threads: usize,
    seed: Seed,
    limits: Limits,
    stop: &StopRequests,
) -> Result<Drained, ServeError> {
    let mut listeners = Vec::new();
    for listener in seed.listeners {
        listeners.push(listener.attach(&shard.handle).map_err(ServeError::Bind)?);
    }
    let (drain, handle) = (limits.drain, shard.handle.clone());
    let most_connections = share(limits.max_connections, shard.index, threads);
    let service = Rc::new(Service {
        next_number: Cell::new(1 + shard.index as u64),
        threads: threads as u64,
        most_connections,
        throttle: Rc::default(),
        limits,
        shard,
    });
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| handle.spawn(service.clone().accept_on(listener)))
        .collect();
    let (failure, accepting) = match select(select_all(accepting), pin!(stop.reached(1))).await {
        Either::Left(((error, _, others), _)) => {
            (Some(error.unwrap_or_else(ServeError::Task)), others)
        }
        Either::Right(((), accepting)) => (None, accepting.into_inner()),
    };
    // Closes the listeners.
    accepting.iter().for_each(JoinHandle::abort);
    drop(seed.files);

    let drained = service.drain(drain, stop).await;
    failure.map_or(Ok(drained), Err)
}

/// What all listeners of a thread share.
struct Service {
    shard: Shard,
    limits: Limits,
    throttle: Rc<Throttle>,
    /// Connections are numbered across threads: in steps of as many as there are.
    next_number: Cell<u64>,
    threads: u64,
    most_connections: usize,
}

impl Service {
    /// Admits connections until the listener fails, and returns why.
    async fn accept_on(self: Rc<Self>, listener: Listener) -> ServeError {
        loop {
            self.room().await;
            match listener.accept().await {
                Ok(stream) if !self.limits.allow.admits(&stream.peer_address()) => {
                    listen::refuse(&stream, &self.throttle);
                }
                Ok(stream) => {
                    // Another listener may have taken the last place.
                    self.room().await;
                    self.admit(stream);
                }
                Err(source) => {
                    return ServeError::Accept {
                        address: listener.local_address(),
                        source,
                    };
                }
            }
        }
    }

    /// Waits until there is room for one more connection.
    async fn room(&self) {
        self.shard.drain.fewer_than(self.most_connections).await;
    }

    fn admit(&self, stream: Stream) {
        let number = self.next_number.get();
        self.next_number.set(number + self.threads);
        let connection = Connection::new(
            &self.shard,
            stream,
            number,
            &self.limits.frames,
            self.throttle.clone(),
        );
        drop(self.shard.handle.spawn(connection.run()));
    }

    /// Lets the connections finish, for as long as the limit allows.
    async fn drain(&self, limit: Limit, stop: &StopRequests) -> Drained {
        let Shard { drain, handle, .. } = &self.shard;
        let open = drain.active();
        log::info!("stopping: {open} connections are open");
        drain.begin();
        let (done, hurried) = (pin!(drain.finished()), pin!(stop.reached(2)));
        let end = limit.bound(handle, select(done, hurried)).await;
        // All is answered where only the peer has not closed its end yet.
        let cut = drain.unsettled();
        Drained {
            finished: open - cut,
            cut,
            hurried: matches!(end, Ok(Either::Right(_))),
        }
    }
}

/// What one of so many threads has of `total`: all shares together are just that.
fn share(total: usize, index: usize, threads: usize) -> usize {
    total / threads + usize::from(index < total % threads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_as_equal_as_can_be_and_their_sum_is_the_whole() {
        for (total, shares) in [
            (4, [1, 1, 1, 1]),
            (7, [2, 2, 2, 1]),
            (10_001, [2501, 2500, 2500, 2500]),
        ] {
            let of_threads: Vec<_> = (0..4).map(|index| share(total, index, 4)).collect();
            assert_eq!(of_threads, shares, "of {total}");
        }
    }
}
