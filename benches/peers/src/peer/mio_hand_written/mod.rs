//! mio alone, the limit that a runtime can come to: edge-triggered, one thread,
//! a state machine for each connection.
//!
//! A connection that has nothing to say holds no buffer. What arrives between
//! frames is read ahead into one block that all connections share, so that small
//! frames cost one call in and one call out, and a burst of them no more; a
//! large frame goes straight to where it is stored.

mod client;
mod connection;
mod limits;
mod server;

use std::io;
use std::time::Duration;

use super::Tuning;
use super::client::Job;
use super::framing::{Bound, Connected, Prefix};
use super::memcpy::blocking;
use client::Client;
use server::Server;

/// What it does while there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Asleep,
    Spinning,
}

impl Wait {
    fn timeout(self) -> Option<Duration> {
        match self {
            Wait::Asleep => None,
            Wait::Spinning => Some(Duration::ZERO),
        }
    }
}

/// The verb `serve`.
pub(super) fn serve(listen: &str, prefix: Prefix, tuning: Tuning, wait: Wait) -> io::Result<()> {
    let bound = Bound::announce(listen)?.nonblocking()?;
    Server::new(bound, prefix, tuning)?.run(wait)
}

/// The verb `bulk`.
pub(super) fn bulk(
    connect: &str,
    prefix: Prefix,
    job: &Job,
    tuning: Tuning,
    wait: Wait,
) -> io::Result<()> {
    let connected = Connected::to(connect)?.nonblocking()?;
    let mut client = Client::new(connected, prefix, job, tuning, wait)?;
    blocking(job.ship(&mut client))
}
