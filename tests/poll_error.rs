//! What the kernel's poll has to say reaches the caller as an error, and its
//! interruptions don't.
//!
//! The tests put something else in the place of the reactor's descriptor, and
//! send signals, so they are in a process of their own.

mod support;

use std::fs::File;
use std::future::pending;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use nix::unistd::dup2_raw;
use readinto::Reactor;

use support::turns::settle;
use support::{DEADLINE, run};

#[test]
fn an_error_of_the_poll_is_an_error_of_block_on_and_of_turn() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let task = handle.spawn(pending::<()>());
    settle(&mut reactor);
    let epoll = reactor.as_fd().try_clone_to_owned().unwrap();
    let no_epoll = File::open("/dev/null").unwrap();

    put_in_place(&reactor, &no_epoll);
    let error = reactor.block_on(pending::<()>()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.raw_os_error().is_some());
    let error = reactor.turn(Some(Duration::ZERO)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(!task.is_finished());

    // Nothing was lost by it.
    put_in_place(&reactor, &epoll);
    let sleep = handle.timeout(DEADLINE, handle.sleep(Duration::from_millis(1)));
    assert!(reactor.block_on(sleep).unwrap().is_ok());
    task.abort();
    settle(&mut reactor);
}

#[test]
fn a_signal_ends_a_turn_but_neither_fails_it_nor_ends_block_on() {
    let caught = Arc::new(AtomicBool::new(false));
    let registered = signal_hook::flag::register(Signal::SIGUSR1 as i32, caught.clone());
    registered.expect("a signal that may be caught");
    run(async |_keeps_the_deadline| {
        let mut reactor = Reactor::new().unwrap();
        settle(&mut reactor);
        interrupted(|| {
            // Nothing else would end it.
            let turn = reactor.turn(None).unwrap();
            assert_eq!((turn.events, turn.tasks), (0, 0));
        });

        let handle = reactor.handle();
        let sleep = Duration::from_millis(20);
        interrupted(|| {
            let start = Instant::now();
            reactor.block_on(handle.sleep(sleep)).unwrap();
            assert!(start.elapsed() >= sleep);
        });
    });
    assert!(caught.load(Ordering::Relaxed));
}

/// Makes the reactor's descriptor one for `file` instead.
fn put_in_place(reactor: &Reactor, file: &impl AsFd) {
    let place = reactor.as_fd().as_raw_fd();
    // SAFETY: the descriptor is the reactor's before and after: it is open all
    // the time, its only owner stays the reactor, and the `OwnedFd` that is
    // returned for the same number is given up without closing it.
    let same = unsafe { dup2_raw(file, place) }.expect("two open descriptors");
    assert_eq!(same.into_raw_fd(), place);
}

/// Runs `what` while signals hit this thread, as often as it takes.
fn interrupted(what: impl FnOnce()) {
    let this_thread = pthread_self();
    let done = Arc::new(AtomicBool::new(false));
    let is_done = done.clone();
    let sender = thread::spawn(move || {
        while !is_done.load(Ordering::Acquire) {
            pthread_kill(this_thread, Signal::SIGUSR1).expect("that thread is alive");
            thread::yield_now();
        }
    });
    what();
    done.store(true, Ordering::Release);
    sender.join().unwrap();
}
