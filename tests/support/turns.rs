//! Driving a reactor by hand, for tests that count its turns or see its end.

use std::os::fd::AsFd;
use std::pin::pin;
use std::process;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use readinto::{Reactor, Turn};

use super::{DEADLINE, assert_woken};

/// Runs turns until `done`, and returns how many it took.
#[track_caller]
pub(crate) fn turn_until(reactor: &mut Reactor, mut done: impl FnMut() -> bool) -> usize {
    watch();
    let start = Instant::now();
    let mut turns = 0;
    while !done() {
        assert!(start.elapsed() < DEADLINE, "not done after {turns} turns");
        reactor.turn(Some(TICK)).expect("the kernel's poll works");
        turns += 1;
    }
    turns
}

/// Runs `future` to its end, within the deadline.
#[track_caller]
pub(crate) fn drive<F: Future>(reactor: &mut Reactor, future: F) -> F::Output {
    watch();
    let handle = reactor.handle();
    let start = Instant::now();
    let done = reactor
        .block_on(handle.timeout(DEADLINE, future))
        .expect("the kernel's poll works")
        .expect("done before the deadline");
    assert_woken(start);
    done
}

/// Runs one turn that does not wait.
pub(crate) fn turn_now(reactor: &mut Reactor) -> Turn {
    watch();
    reactor
        .turn(Some(Duration::ZERO))
        .expect("the kernel's poll works")
}

/// Runs turns until all that is left to do is to wait.
#[track_caller]
pub(crate) fn settle(reactor: &mut Reactor) {
    let start = Instant::now();
    loop {
        let turn = turn_now(reactor);
        if !turn.more && turn.tasks == 0 && turn.events == 0 {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "never idle: {turn:?}");
    }
}

/// Waits as a foreign event loop would: by poll(2), for at most `wait`, and
/// returns whether the reactor has something to do.
pub(crate) fn is_readable(reactor: &Reactor, wait: Duration) -> bool {
    let mut descriptors = [PollFd::new(reactor.as_fd(), PollFlags::POLLIN)];
    let millis = wait.as_nanos().div_ceil(1_000_000);
    let timeout = PollTimeout::try_from(millis).expect("at most the deadline");
    poll(&mut descriptors, timeout).expect("poll(2) works") == 1
}

/// Polls `future` by hand until it completes, with no reactor to wait on.
///
/// What has nobody to wait for must complete within a few polls.
#[track_caller]
pub(crate) fn complete<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..POLLS {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
    panic!("still waiting after {POLLS} polls, and nobody to wake it");
}

/// Ends the process if nothing of this is called for long: a turn that never
/// returns leaves no other way.
fn watch() {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let last = || LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let is_first = last().replace(Instant::now()).is_none();
    if is_first {
        thread::spawn(move || {
            while last().is_some_and(|last| last.elapsed() < 3 * DEADLINE) {
                thread::sleep(DEADLINE);
            }
            eprintln!("a turn never ends");
            process::abort();
        });
    }
}

/// How long a turn waits before the deadline is looked at.
const TICK: Duration = Duration::from_millis(100);

const POLLS: usize = 1000;
