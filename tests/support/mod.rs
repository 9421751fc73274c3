//! What the integration tests share: a deadline around everything, connected
//! sockets of both kinds, and bytes that show where they belong.
//!
//! A test runs as one future on a reactor of its own, with [`run`] or
//! [`over_each_transport`]. Its peers are either streams of the same reactor
//! ([`connected_pair`]) or blocking sockets of the standard sort
//! ([`stream_and_peer`]), which do what no well-behaved program would.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test file uses its own part of this"
)]

mod bytes;
pub(crate) mod example;
pub(crate) mod nbd;
pub(crate) mod network;
mod peer_thread;
pub(crate) mod proxy;
mod skipped;
pub(crate) mod small_echo;
mod sockets;
pub(crate) mod strace;
pub(crate) mod turns;

use std::future::poll_fn;
use std::pin::pin;
use std::process;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use readinto::{Handle, Reactor};

pub(crate) use bytes::{assert_same, framed, header, pattern};
pub(crate) use peer_thread::{PeerThread, peer_thread};
pub(crate) use skipped::skipped;
pub(crate) use sockets::{
    Transport, arrived, arrived_on, connect_blocking, connected_pair, drained, listen,
    listen_blocking, reset, stream_and_peer, unread,
};

/// Runs `test` on a fresh reactor; panics if it takes longer than [`DEADLINE`].
pub(crate) fn run<T>(test: impl AsyncFnOnce(Handle) -> T) -> T {
    let _watchdog = Watchdog::new();
    let mut reactor = Reactor::new().expect("a reactor");
    let handle = reactor.handle();
    let future = test(handle.clone());
    let start = Instant::now();
    let done = reactor
        .block_on(handle.timeout(DEADLINE, future))
        .expect("the kernel's poll works")
        .unwrap_or_else(|elapsed| panic!("the test is stuck: {elapsed}"));
    assert_woken(start);
    done
}

/// Runs `test` on a reactor with a memory budget of so many bytes, as [`run`] does.
pub(crate) fn with_budget(bytes: usize, test: impl AsyncFnOnce(Handle)) {
    let mut reactor = Reactor::builder().memory_budget(bytes).build().unwrap();
    let handle = reactor.handle();
    turns::drive(&mut reactor, test(handle));
}

/// Fails if it was the deadline that woke a test: its future is polled then, and
/// finds what nobody has told it of.
#[track_caller]
pub(crate) fn assert_woken(start: Instant) {
    assert!(start.elapsed() < DEADLINE, "a wake-up was lost");
}

/// Runs `test` once for each kind of socket, as [`run`] does.
pub(crate) fn over_each_transport(test: impl AsyncFn(Handle, Transport)) {
    for transport in Transport::ALL {
        eprintln!("over {transport}");
        run(async |handle| test(handle, transport).await);
    }
}

/// Polls `future` once, whether or not anything has woken it.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// Polls `future` until `enough` holds, then drops it unfinished.
pub(crate) async fn drop_once<F: Future>(future: F, mut enough: impl FnMut() -> bool) {
    let mut future = pin!(future);
    loop {
        if poll_once(&mut future).await.is_ready() {
            panic!("the future completed before it could be dropped");
        }
        if enough() {
            return;
        }
        yield_now().await;
    }
}

/// Lets the reactor run a turn, in which it looks at the kernel.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Ends the process if a test's own deadline did not: a reactor that hangs
/// can't tell.
struct Watchdog(#[expect(dead_code, reason = "dropping it is what counts")] mpsc::Sender<()>);

impl Watchdog {
    fn new() -> Watchdog {
        let (sender, receiver) = mpsc::channel();
        let name = thread::current().name().unwrap_or("a test").to_owned();
        thread::spawn(move || {
            let waited = receiver.recv_timeout(DEADLINE + GRACE);
            if waited == Err(RecvTimeoutError::Timeout) {
                eprintln!("{name} hangs, and its reactor too");
                process::abort();
            }
        });
        Watchdog(sender)
    }
}

/// How long anything in a test may take; many times what it needs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// How much longer the watchdog waits.
const GRACE: Duration = Duration::from_secs(5);
