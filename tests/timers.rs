//! Deadlines: never early, in their order, gone when nobody wants them.

mod support;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn, ready};
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use readinto::Reactor;

use support::turns::{drive, settle, turn_now, turn_until};
use support::{Transport, connected_pair, run, yield_now};

#[test]
fn a_sleep_is_never_shorter_than_asked() {
    run(async |handle| {
        for micros in [0, 1, 500, 999, 1000, 1001, 1999, 5300] {
            let asked = Duration::from_micros(micros);
            let start = Instant::now();
            handle.sleep(asked).await;
            assert!(start.elapsed() >= asked, "{asked:?}");
        }
    });
}

#[test]
fn sleeps_end_in_the_order_of_their_deadlines() {
    run(async |handle| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let mut micros: Vec<u64> = (0..200).map(|step| 20_000 + step * 37).collect();
        fastrand::Rng::with_seed(1).shuffle(&mut micros);
        let tasks: Vec<_> = micros
            .into_iter()
            .map(|micros| {
                let asked = Duration::from_micros(micros);
                let earliest = Instant::now() + asked;
                let sleep = handle.sleep(asked);
                let latest = Instant::now() + asked;
                let order = order.clone();
                handle.spawn(async move {
                    sleep.await;
                    order.borrow_mut().push((earliest, latest));
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let order = order.borrow();
        assert_eq!(order.len(), 200);
        assert!(order.is_sorted_by(|first, second| first.0 <= second.1));
    });
}

#[test]
fn a_sleep_of_nothing_lets_the_others_run_and_ends_in_the_next_turn() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let slept = Rc::new(Cell::new(0));
    let (counter, sleeper) = (slept.clone(), handle.clone());
    let sleeping = handle.spawn(async move {
        loop {
            sleeper.sleep(Duration::ZERO).await;
            counter.set(counter.get() + 1);
        }
    });
    assert_eq!(turn_now(&mut reactor).tasks, 1);
    for turn in 1..=10 {
        let other = handle.spawn(async {});
        assert_eq!(turn_now(&mut reactor).tasks, 2);
        assert!(other.is_finished());
        assert_eq!(slept.get(), turn);
    }
    sleeping.abort();
}

#[test]
fn a_sleep_beyond_the_clock_never_ends_and_disturbs_nothing() {
    run(async |handle| {
        let never = handle.spawn(handle.sleep(Duration::MAX));
        let centuries = Duration::from_secs(300 * 365 * 86_400);
        let nearly_never = handle.spawn(handle.sleep(centuries));
        handle.sleep(MILLISECOND).await;
        assert_eq!(handle.timeout(Duration::MAX, ready(1)).await, Ok(1));
        handle.sleep(MILLISECOND).await;
        assert!(!never.is_finished() && !nearly_never.is_finished());
    });
}

#[test]
fn a_sleep_that_is_dropped_leaves_no_deadline_behind() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let far = handle.spawn(handle.sleep(Duration::from_secs(3600)));
    settle(&mut reactor);
    let far_deadline = turn_now(&mut reactor).next_deadline.expect("one is armed");
    let near = handle.spawn(handle.sleep(Duration::from_secs(60)));
    settle(&mut reactor);
    let near_deadline = turn_now(&mut reactor).next_deadline.expect("two are armed");
    assert!(near_deadline < far_deadline);

    near.abort();
    assert_eq!(turn_now(&mut reactor).next_deadline, Some(far_deadline));
    far.abort();
    assert_eq!(turn_now(&mut reactor).next_deadline, None);
}

#[test]
fn ten_thousand_sleeps_all_end_and_none_is_early() {
    run(async |handle| {
        let tasks: Vec<_> = (0..10_000)
            .map(|number| {
                let handle = handle.clone();
                handle.clone().spawn(async move {
                    let asked = Duration::from_micros(number * 7919 % 50_000);
                    let start = Instant::now();
                    handle.sleep(asked).await;
                    start.elapsed() >= asked
                })
            })
            .collect();
        for task in tasks {
            assert!(task.await.unwrap());
        }
    });
}

#[test]
fn a_timeout_prefers_the_output_when_both_are_there() {
    run(async |handle| {
        assert_eq!(handle.timeout(Duration::ZERO, ready(1)).await, Ok(1));

        let sleep = handle.sleep(MILLISECOND);
        let both = handle.spawn({
            let handle = handle.clone();
            async move { handle.timeout(MILLISECOND, sleep).await }
        });
        yield_now().await;
        // No turn until both deadlines have passed.
        let until = Instant::now() + 3 * MILLISECOND;
        while Instant::now() < until {}
        assert_eq!(both.await.unwrap(), Ok(()));
    });
}

/// One that is made before it is awaited has less left then, as a sleep has.
#[test]
fn a_timeout_counts_from_when_it_is_made() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let hour = Duration::from_secs(3600);
    let long = handle.timeout(hour, pending::<()>());
    let latest = Instant::now() + hour;
    let late = handle.timeout(MILLISECOND, pending::<()>());
    let there = handle.timeout(MILLISECOND, ready(1));
    let until = Instant::now() + 2 * MILLISECOND;
    while Instant::now() < until {}

    let long = handle.spawn(long);
    assert!(turn_now(&mut reactor).next_deadline.unwrap() <= latest);
    long.abort();
    let (late, there) = (handle.spawn(late), handle.spawn(there));
    assert_eq!(turn_now(&mut reactor).tasks, 2);
    assert!(there.is_finished() && !late.is_finished());
    assert_eq!(turn_now(&mut reactor).tasks, 1, "its time was over before");
    assert_eq!(
        drive(&mut reactor, late).unwrap().unwrap_err().after,
        MILLISECOND
    );
    assert_eq!(drive(&mut reactor, there).unwrap(), Ok(1));
}

#[test]
fn a_timeout_polls_its_future_at_least_once_and_drops_it_when_it_elapses() {
    run(async |handle| {
        for after in [Duration::ZERO, MILLISECOND] {
            let resource = Rc::new(Cell::new(0));
            let held = resource.clone();
            let late = handle.timeout(
                after,
                poll_fn(move |_| {
                    held.set(held.get() + 1);
                    Poll::<()>::Pending
                }),
            );
            let error = late.await.unwrap_err();
            assert_eq!(error.after, after);
            assert_eq!(error.to_string(), format!("not done within {after:?}"));
            assert_eq!(io::Error::from(error).kind(), ErrorKind::TimedOut);
            assert!(resource.get() >= 1);
            assert_eq!(Rc::strong_count(&resource), 1);
        }
    });
}

#[test]
fn a_timeout_that_was_not_needed_leaves_no_deadline_behind() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let task = handle.clone().spawn(async move {
        for _ in 0..1000 {
            let hour = Duration::from_secs(3600);
            handle.timeout(hour, yield_now()).await.unwrap();
        }
    });
    turn_until(&mut reactor, || task.is_finished());
    assert_eq!(turn_now(&mut reactor).next_deadline, None);
}

#[test]
fn a_deadline_fires_once_and_then_leaves_the_reactor_idle() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let done = Rc::new(Cell::new(false));
    let done_inside = done.clone();
    let mut sleep = Box::pin(handle.sleep(MILLISECOND));
    let kept = handle.spawn(async move {
        sleep.as_mut().await;
        done_inside.set(true);
        // The sleep is still there, and is not to wake anybody again.
        pending::<()>().await;
        drop(sleep);
    });
    turn_until(&mut reactor, || done.get());

    let idle = 20 * MILLISECOND;
    let start = Instant::now();
    let turn = reactor.turn(Some(idle)).unwrap();
    assert!(start.elapsed() >= idle, "something ended the wait");
    assert_eq!(
        (turn.tasks, turn.more, turn.next_deadline),
        (0, false, None)
    );
    assert!(!kept.is_finished());
}

#[test]
fn a_sleep_wakes_whoever_polled_it_last() {
    run(async |handle| {
        let mut sleep = Box::pin(handle.sleep(2 * MILLISECOND));
        let polled = poll_fn(|context| Poll::Ready(sleep.as_mut().poll(context))).await;
        assert!(polled.is_pending());
        // The future of `block_on` has polled it; from here on it is a task's.
        handle.spawn(sleep).await.unwrap();
    });
}

#[test]
fn a_task_whose_deadline_fires_while_another_aborts_it_just_ends() {
    run(async |handle| {
        let victim = handle.spawn(handle.sleep(MILLISECOND));
        let victim = Rc::new(victim);
        let sleep = handle.sleep(Duration::ZERO);
        let aborts = victim.clone();
        let killer = handle.spawn(async move {
            sleep.await;
            yield_now().await;
            let until = Instant::now() + 3 * MILLISECOND;
            while Instant::now() < until {}
            // Due by now, and fired in the next turn at the latest.
            yield_now().await;
            aborts.abort();
        });
        killer.await.unwrap();
        let victim = Rc::into_inner(victim).expect("the killer has ended");
        assert!(victim.is_finished());
        handle.sleep(MILLISECOND).await;
        assert_eq!(handle.tasks(), 0);
    });
}

#[test]
fn a_timeout_around_a_read_lets_the_stream_go_on_if_nothing_had_come() {
    run(async |handle| {
        let (mut here, mut there) = connected_pair(&handle, Transport::Tcp).await;
        let mut byte = [0];
        for _ in 0..3 {
            let read = there.read_exact_into(&mut byte);
            assert!(handle.timeout(MILLISECOND, read).await.is_err());
        }
        here.write_all(b"x").await.unwrap();
        there.read_exact_into(&mut byte).await.unwrap();
        assert_eq!(&byte, b"x");
    });
}

const MILLISECOND: Duration = Duration::from_millis(1);
