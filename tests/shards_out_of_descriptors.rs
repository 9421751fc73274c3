//! If one of several reactors can't be built, those before it are told to end.
//!
//! The limit is the process's, so this file has one test.

mod support;

use std::iter;
use std::sync::mpsc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use readinto::{Reactor, Shards};
use support::DEADLINE;

#[test]
fn those_that_have_started_drain_where_the_next_can_not_be_started() {
    let (sender, ended) = mpsc::channel();
    let (limit, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let mut seeds = 0..2;
    let seeds = iter::from_fn(|| {
        let seed = seeds.next()?;
        if seed == 1 {
            // None is left for the second.
            setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
        }
        Some(seed)
    });
    let started = Shards::start(Reactor::builder(), seeds, move |shard, seed| {
        let sender = sender.clone();
        async move {
            shard.drain.begun().await;
            sender.send(seed).unwrap();
        }
    });
    setrlimit(Resource::RLIMIT_NOFILE, limit, hard).unwrap();
    let error = started.expect_err("it has no descriptor");
    assert_eq!(error.raw_os_error(), Some(nix::libc::EMFILE), "{error}");
    assert_eq!(ended.recv_timeout(DEADLINE), Ok(0));
    // Nobody else is there to send.
    assert!(ended.recv_timeout(DEADLINE).is_err());
}
