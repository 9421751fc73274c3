//! The server: its threads, whom each admits, and how it stops.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures_util::future::{Either, select, select_all};
use log::Level;
use readinto::{
    BoundListener, Builder, JoinHandle, Listener, Shard, Shards, Stats, Stream, TurnLengths,
};

use crate::allow::AllowList;
use crate::connection::{Connection, FrameLimits};
use crate::limit::Limit;
use crate::listen::Bound;
use crate::serve_error::ServeError;
use crate::signals::StopRequests;
use crate::throttle::Throttle;
use crate::unix_path::SocketFile;

/// What a server allows, in each of its threads.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) allow: AllowList,
    pub(crate) frames: FrameLimits,
    pub(crate) max_connections: usize,
    pub(crate) drain: Limit,
}

/// A server that runs, until it is asked to stop.
#[derive(Debug)]
pub(crate) struct Server {
    shards: Shards<Result<Drained, ServeError>>,
    drain: Limit,
}

impl Server {
    /// Starts so many threads; each of `bound` has a listener for each of them.
    pub(crate) fn start(
        builder: Builder,
        threads: usize,
        bound: Vec<Bound>,
        limits: Limits,
        stop: Arc<StopRequests>,
    ) -> Result<Server, ServeError> {
        let drain = limits.drain;
        let shards = Shards::start(builder, seeds(bound, threads), move |shard, seed| {
            let (limits, stop) = (limits.clone(), stop.clone());
            async move {
                let served = serve(shard, threads, seed, limits, &stop).await;
                if served.is_err() {
                    // One thread less is no service: the others are to end too.
                    stop.request();
                }
                served
            }
        })
        .map_err(ServeError::Reactor)?;
        Ok(Server { shards, drain })
    }

    /// Has `known` say what each thread has done so far. One that has ended, or is too
    /// busy to answer in time, is left as it is there.
    pub(crate) fn ask(&self, known: &mut Vec<Done>) {
        let (sender, receiver) = mpsc::channel();
        let mut threads = 0;
        for (thread, remote) in self.shards.remotes().enumerate() {
            threads += 1;
            let sender = sender.clone();
            let told = remote.spawn(move |handle| async move {
                let done = Done {
                    stats: handle.stats(),
                    turns: handle.turn_lengths().unwrap_or_default(),
                };
                // Nobody waits for it any more if this comes late.
                let _ = sender.send((thread, done));
            });
            if let Err(error) = told {
                log::debug!("thread {thread} can't be asked: {error}");
            }
        }
        drop(sender);
        known.resize_with(threads, Done::default);
        while let Ok((thread, done)) = receiver.recv_timeout(PATIENCE) {
            known[thread] = done;
        }
    }

    /// Waits until it has stopped, and returns how many connections finished by
    /// themselves after it was asked to. The others are cut.
    pub(crate) fn join(self) -> Result<usize, ServeError> {
        let mut all = Drained::default();
        for ended in self.shards.join() {
            let drained = ended.map_err(ServeError::Reactor)??;
            all.finished += drained.finished;
            all.cut += drained.cut;
            all.hurried |= drained.hurried;
        }
        let Drained {
            finished,
            cut,
            hurried,
        } = all;
        match (hurried, cut) {
            (true, _) => Err(ServeError::Hurried { finished, cut }),
            (false, 0) => Ok(finished),
            (false, _) => Err(ServeError::DrainTimeout {
                limit: self.drain,
                finished,
                cut,
            }),
        }
    }
}

/// What a thread has done so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    pub(crate) stats: Stats,
    /// Of none, unless they are timed.
    pub(crate) turns: TurnLengths,
}

impl Done {
    pub(crate) fn plus(&self, other: &Done) -> Done {
        Done {
            stats: self.stats.plus(&other.stats),
            turns: self.turns.plus(&other.turns),
        }
    }
}

/// What one thread starts with.
#[derive(Default)]
struct Seed {
    listeners: Vec<BoundListener>,
    /// They go with the listeners of the first thread.
    files: Vec<SocketFile>,
}

fn seeds(bound: Vec<Bound>, threads: usize) -> Vec<Seed> {
    let mut seeds: Vec<_> = (0..threads).map(|_| Seed::default()).collect();
    for bound in bound {
        for (seed, listener) in seeds.iter_mut().zip(bound.listeners) {
            seed.listeners.push(listener);
        }
        seeds[0].files.extend(bound.file);
    }
    seeds
}

/// What became of the connections that were open when a thread was to stop.
#[derive(Debug, Default)]
struct Drained {
    finished: usize,
    cut: usize,
    /// A second request came first.
    hurried: bool,
}

/// Serves until the first request to stop, then drains.
///
/// What is not finished when this returns must be cut, by dropping the reactor.
async fn serve(
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
    let service = Rc::new(Service {
        next_number: Cell::new(1 + shard.index as u64),
        threads: threads as u64,
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
}

impl Service {
    /// Admits connections until the listener fails, and returns why.
    async fn accept_on(self: Rc<Self>, listener: Listener) -> ServeError {
        loop {
            self.room().await;
            match listener.accept().await {
                Ok(stream) if !self.limits.allow.admits(&stream.peer_address()) => {
                    self.refuse(stream);
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
        let most = self.limits.max_connections;
        self.shard.drain.fewer_than(most).await;
    }

    /// Ends a connection before a byte of it is read.
    fn refuse(&self, stream: Stream) {
        let peer = stream.peer_address();
        // A reset, which leaves nothing behind here.
        if let Err(error) = stream.socket().set_linger(Some(Duration::ZERO)) {
            log::debug!("cannot reset the connection from {peer}: {error}");
        }
        self.throttle.log(
            "connections from where --allow does not say",
            Level::Info,
            format_args!("refused a connection from {peer} (see --allow)"),
        );
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

/// How long a thread may take to say what it has done.
const PATIENCE: Duration = Duration::from_secs(1);
