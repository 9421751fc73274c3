//! Memory that is lent for what the two verbs move: under the budget, in turn with
//! frames, and none of it touched before it is filled.

mod support;

use std::cell::RefCell;
use std::io::{ErrorKind, Write};
use std::rc::Rc;

use nix::sys::resource::{UsageWho, getrusage};
use readinto::{FrameReader, Prefix, Reactor};
use support::turns::drive;
use support::{
    Transport, assert_same, framed, pattern, peer_thread, poll_once, stream_and_peer, with_budget,
    yield_now,
};

const MEBIBYTE: usize = 1 << 20;

#[test]
fn who_finds_the_budget_spent_waits_in_the_order_of_arrival() {
    with_budget(MEBIBYTE, async |handle| {
        let first = handle.lease(500_000).await.unwrap();
        let served = Rc::new(RefCell::new(Vec::new()));
        let mut tasks = Vec::new();
        // The last would fit at once.
        for (number, len) in [500_000, 700_000, 1000].into_iter().enumerate() {
            let (of, served) = (handle.clone(), served.clone());
            tasks.push(handle.spawn(async move {
                let lease = of.lease(len).await.unwrap();
                assert_eq!(lease.len(), len);
                served.borrow_mut().push(number);
                yield_now().await;
            }));
        }
        for _ in 0..20 {
            yield_now().await;
        }
        assert!(served.borrow().is_empty());
        drop(first);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*served.borrow(), [0, 1, 2]);
    });
}

#[test]
fn who_gives_up_waiting_is_not_in_the_way() {
    with_budget(MEBIBYTE, async |handle| {
        let first = handle.lease(500_000).await.unwrap();
        let mut given_up = Box::pin(handle.lease(700_000));
        assert!(poll_once(&mut given_up).await.is_pending());
        let mut small = Box::pin(handle.lease(1000));
        assert!(poll_once(&mut small).await.is_pending());
        drop(given_up);
        assert_eq!(small.await.unwrap().len(), 1000);
        drop(first);
    });
}

#[test]
fn a_frame_waits_for_a_lease_and_comes_whole_into_what_that_leaves() {
    with_budget(MEBIBYTE, async |handle| {
        let payload = pattern(1, 500_000);
        let (stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
        let mut frames = FrameReader::new(stream.split().0, Prefix::U32Be, MEBIBYTE);
        let mut lease = handle.lease(700_000).await.unwrap();
        lease.fill(7);
        let frame = framed(Prefix::U32Be, &payload);
        let writing = peer_thread(move || peer.write_all(&frame).unwrap());
        let waiting = handle.spawn(async move {
            assert_same(frames.next().await.unwrap().unwrap(), &payload);
        });
        for _ in 0..20 {
            yield_now().await;
        }
        assert!(!waiting.is_finished());
        drop(lease);
        waiting.await.unwrap();
        writing.join().await;
    });
}

#[test]
fn what_can_never_fit_is_an_error_with_both_numbers() {
    with_budget(MEBIBYTE, async |handle| {
        let longest = MEBIBYTE / 4 * 3;
        let error = handle.lease(longest + 1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        assert!(error.to_string().contains("786433 bytes"), "{error}");
        assert!(error.to_string().contains("786432"), "{error}");
        assert_eq!(handle.lease(longest).await.unwrap().len(), longest);
    });
}

#[test]
fn what_the_machine_can_not_hold_is_an_error() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    drive(&mut reactor, async {
        for len in [usize::MAX, isize::MAX as usize, 1 << 60] {
            let error = handle.lease(len).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        }
        assert_eq!(handle.stats().memory_lent, 0);
    });
}

#[test]
fn what_is_fresh_takes_no_memory_until_it_is_filled() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    drive(&mut reactor, async {
        let before = page_faults();
        let mut lease = handle.lease(256 * MEBIBYTE).await.unwrap();
        let lent = page_faults() - before;
        lease[..64 * MEBIBYTE].fill(1);
        let filled = page_faults() - before - lent;
        assert!(lent < 20, "{lent} page faults");
        // With huge pages, where the system has chosen them.
        assert!(filled >= 30, "not put to the test by {filled} page faults");
    });
}

/// How often the kernel has had to make up a page for this thread.
fn page_faults() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    usage.minor_page_faults()
}
