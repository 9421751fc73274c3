//! A reactor that polls busily does not sleep while traffic is close, meets
//! deadlines below a millisecond, and sleeps like any other when all is quiet.
//!
//! Each test runs itself once more under strace; see `support/strace.rs`.

mod support;

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use readinto::{FrameReader, FrameWriter, Prefix, Reactor, Stream};
use support::strace::{Call, traced};
use support::turns::drive;
use support::{Transport, peer_thread, stream_and_peer};

fn polling(most: Duration) -> Reactor {
    Reactor::builder().busy_poll(most).build().unwrap()
}

/// In milliseconds; -1 is for ever.
fn timeout(poll: &Call) -> i64 {
    let mut arguments = poll.arguments.rsplit(", ");
    // epoll_pwait has a mask and its size behind it.
    let skip = if poll.name == "epoll_pwait" { 2 } else { 0 };
    arguments.nth(skip).unwrap().parse().expect("a timeout")
}

fn is_sleep(call: &&&Call) -> bool {
    call.is_poll() && timeout(call) != 0
}

#[test]
fn a_peer_that_answers_soon_is_waited_for_without_a_sleep() {
    let workload = || {
        let mut reactor = polling(LONG);
        let handle = reactor.handle();
        let (stream, mut peer) = drive(&mut reactor, stream_and_peer(&handle, Transport::Tcp));
        let client = peer_thread(move || {
            for number in 0..100_u32 {
                peer.write_all(&[0, 0, 0, 4]).unwrap();
                peer.write_all(&number.to_be_bytes()).unwrap();
                let mut answer = [0; 8];
                peer.read_exact(&mut answer).unwrap();
                assert_eq!(answer[4..], number.to_be_bytes());
            }
        });
        drive(&mut reactor, echo(stream));
        drive(&mut reactor, client.join());
    };
    let name = "a_peer_that_answers_soon_is_waited_for_without_a_sleep";
    if let Some(trace) = traced(name, workload) {
        let calls = trace.of_the_reactor();
        assert!(calls.iter().filter(|call| call.is_poll()).count() > 100);
        assert_eq!(calls.iter().filter(is_sleep).count(), 0);
    }
}

/// Whether it may is the kernel's affair.
#[test]
#[cfg(target_os = "linux")]
fn the_kernel_is_asked_to_poll_the_network_card_for_as_long() {
    let pair = |most| {
        let mut reactor = polling(most);
        let handle = reactor.handle();
        drop(drive(
            &mut reactor,
            stream_and_peer(&handle, Transport::Tcp),
        ));
    };
    let name = "the_kernel_is_asked_to_poll_the_network_card_for_as_long";
    let workload = || {
        pair(Duration::from_micros(50));
        pair(Duration::ZERO);
    };
    if let Some(trace) = traced(name, workload) {
        let calls = trace.of_the_reactor();
        let asked: Vec<_> = calls
            .iter()
            .filter(|call| call.name == "setsockopt" && call.arguments.contains("SO_BUSY_POLL"))
            .map(|call| &call.arguments)
            .collect();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(asked[0].ends_with("[50], 4"), "{asked:?}");
    }
}

#[test]
fn another_thread_that_calls_meanwhile_needs_no_system_call() {
    let workload = || {
        let mut reactor = polling(LONG);
        let remote = reactor.handle().remote();
        drive(&mut reactor, async {
            for _ in 0..20 {
                let remote = remote.clone();
                peer_thread(move || {
                    thread::sleep(Duration::from_millis(1));
                    remote.spawn(|_| async {}).unwrap();
                })
                .join()
                .await;
            }
        });
    };
    let name = "another_thread_that_calls_meanwhile_needs_no_system_call";
    if let Some(trace) = traced(name, workload) {
        let calls = trace.of_the_reactor();
        assert_eq!(calls.iter().filter(is_sleep).count(), 0);
        // An eventfd takes eight bytes.
        let is_wake = |call: &&Call| call.name == "write" && call.given() == 8;
        let wakes = trace.of_other_threads().into_iter().filter(is_wake).count();
        // Between two turns, for some instructions, it takes one.
        assert!(wakes <= 20, "{wakes} of 40");
    }
}

#[test]
fn a_quiet_reactor_sleeps() {
    let workload = || {
        let mut reactor = polling(Duration::from_micros(200));
        let handle = reactor.handle();
        let (stream, mut peer) = drive(&mut reactor, stream_and_peer(&handle, Transport::Tcp));
        let client = peer_thread(move || {
            for _ in 0..20 {
                thread::sleep(Duration::from_millis(10));
                peer.write_all(&[0, 0, 0, 0]).unwrap();
                peer.read_exact(&mut [0; 4]).unwrap();
            }
        });
        drive(&mut reactor, echo(stream));
        drive(&mut reactor, client.join());
    };
    if let Some(trace) = traced("a_quiet_reactor_sleeps", workload) {
        let calls = trace.of_the_reactor();
        let sleeps = calls.iter().filter(is_sleep).count();
        let polls = calls.iter().filter(|call| call.is_poll()).count();
        assert!(sleeps >= 20, "{sleeps} sleeps");
        // Waits that are too long for it end the polling after a few.
        assert!(polls < 20 * sleeps, "{polls} polls for {sleeps} sleeps");
    }
}

#[test]
fn the_last_milliseconds_before_a_deadline_are_not_slept() {
    let workload = || {
        let mut reactor = polling(Duration::from_micros(10));
        let handle = reactor.handle();
        drive(&mut reactor, async {
            for micros in [50, 500, 1_500, 100_000] {
                let (start, span) = (Instant::now(), Duration::from_micros(micros));
                handle.sleep(span).await;
                assert!(start.elapsed() >= span, "it ended early");
            }
        });
    };
    let name = "the_last_milliseconds_before_a_deadline_are_not_slept";
    if let Some(trace) = traced(name, workload) {
        let calls = trace.of_the_reactor();
        let sleeps: Vec<_> = calls
            .iter()
            .filter(is_sleep)
            .map(|call| timeout(call))
            .collect();
        // Only the last one is slept, and not to its end.
        let [sleep] = sleeps[..] else {
            panic!("{sleeps:?}");
        };
        assert!((50..99).contains(&sleep), "{sleeps:?}");
    }
}

async fn echo(stream: Stream) {
    let (read, write) = stream.split();
    let mut questions = FrameReader::new(read, Prefix::U32Be, 100);
    let mut answers = FrameWriter::new(write, Prefix::U32Be);
    while let Some(question) = questions.next().await.unwrap() {
        answers.write(question).await.unwrap();
    }
}

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);
