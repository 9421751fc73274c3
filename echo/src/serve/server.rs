//! The server: its threads, from the start to what became of all.

use std::sync::Arc;

use readinto::{Builder, Remote, Shards};

use super::error::ServeError;
use super::listen::Bound;
use super::service::{self, Drained, Limits, Seed};
use super::signals::StopRequests;
use crate::limit::Limit;

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
                let served = service::serve(shard, threads, seed, limits, &stop).await;
                if served.is_err() {
                    // One thread less is no service: the others are to end too.
                    stop.ensure();
                }
                served
            }
        })
        .map_err(|source| match threads {
            1 => ServeError::Reactor(source),
            _ => ServeError::Start { threads, source },
        })?;
        Ok(Server { shards, drain })
    }

    /// The way to each of its threads, in order.
    pub(crate) fn remotes(&self) -> impl Iterator<Item = &Remote> {
        self.shards.remotes()
    }

    /// Waits until it has stopped, and returns how many connections finished by
    /// themselves after it was asked to. The others are cut.
    pub(crate) fn join(self) -> Result<usize, ServeError> {
        let mut all = Drained::default();
        for ended in self.shards.join() {
            let drained = ended.map_err(ServeError::Thread)??;
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
            // Peers that have their answers, and had only not closed yet.
            (_, 0) => Ok(finished),
            (true, _) => Err(ServeError::Hurried { finished, cut }),
            (false, _) => Err(ServeError::DrainTimeout {
                limit: self.drain,
                finished,
                cut,
            }),
        }
    }
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
