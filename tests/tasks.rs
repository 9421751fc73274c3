//! Tasks: their outputs, their panics, their ends, and each its turn.

mod support;

use std::cell::{Cell, OnceCell, RefCell};
use std::future::{pending, poll_fn, ready};
use std::panic::panic_any;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use readinto::{Handle, JoinError, JoinHandle, Reactor};

use support::turns::{settle, turn_now, turn_until};
use support::{Transport, connected_pair, run, yield_now};

#[test]
fn a_task_returns_its_output_to_whoever_joins_it() {
    run(async |handle| {
        let early = handle.spawn(async {
            yield_now().await;
            String::from("joined before it ended")
        });
        let late = handle.spawn(ready(String::from("joined after")));
        assert_eq!(early.await.unwrap(), "joined before it ended");
        assert!(late.is_finished());
        assert_eq!(late.await.unwrap(), "joined after");
    });
}

#[test]
fn a_panic_ends_its_task_only_and_its_payload_reaches_the_join_handle() {
    run(async |handle| {
        let (mut here, mut there) = connected_pair(&handle, Transport::Tcp).await;
        let bystander = handle.spawn(async move {
            let mut question = [0; 8];
            there.read_exact_into(&mut question).await.unwrap();
            there.write_all(&question).await.unwrap();
        });
        let first_poll = handle.spawn(async { panic!("at once, number {}", 7) });
        let later = handle.spawn(async {
            yield_now().await;
            panic_any(13_u32);
        });

        let error = first_poll.await.unwrap_err();
        assert_eq!(error.to_string(), "the task panicked: at once, number 7");
        let JoinError::Panicked(panic) = later.await.unwrap_err() else {
            panic!("a panic is not an abort");
        };
        let payload = panic.into_payload();
        assert_eq!(payload.downcast_ref(), Some(&13_u32));

        here.write_all(b"still on").await.unwrap();
        let mut answer = [0; 8];
        here.read_exact_into(&mut answer).await.unwrap();
        bystander.await.unwrap();
        assert_eq!(handle.tasks(), 0);
    });
}

#[test]
fn a_panic_while_a_task_is_dropped_is_reported_like_any_other() {
    run(async |handle| {
        let aborted = handle.spawn(async {
            let _bomb = Bomb;
            pending::<()>().await;
        });
        yield_now().await;
        aborted.abort();
        let error = aborted.await.unwrap_err();
        assert_eq!(error.to_string(), "the task panicked: in a drop");

        let ended = handle.spawn(async { drop(Bomb) });
        assert!(matches!(ended.await, Err(JoinError::Panicked(_))));
        assert_eq!(handle.spawn(ready(1)).await.unwrap(), 1);
    });
}

#[test]
fn an_aborted_task_is_dropped_before_abort_returns() {
    run(async |handle| {
        let (guard, dropped) = dropped();
        let task = handle.spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        yield_now().await;
        assert!(!task.is_finished());
        task.abort();
        assert!(dropped.get() && task.is_finished());
        assert_eq!(handle.tasks(), 0);
        assert!(matches!(task.await, Err(JoinError::Aborted)));
    });
}

#[test]
fn a_task_aborted_before_its_first_poll_is_never_polled() {
    run(async |handle| {
        let (guard, dropped) = dropped();
        let polled = Rc::new(Cell::new(false));
        let polled_inside = polled.clone();
        let task = handle.spawn(async move {
            let _guard = guard;
            polled_inside.set(true);
        });
        task.abort();
        assert!(dropped.get());
        yield_now().await;
        assert!(!polled.get());
        assert!(matches!(task.await, Err(JoinError::Aborted)));
    });
}

#[test]
fn a_task_that_aborts_itself_ends_when_its_poll_returns() {
    run(async |handle| {
        let (guard, dropped) = dropped();
        let dropped_inside = dropped.clone();
        let itself = Rc::new(OnceCell::<JoinHandle<()>>::new());
        let itself_inside = itself.clone();
        let task = handle.spawn(async move {
            let _guard = guard;
            itself_inside.get().expect("spawned before polled").abort();
            assert!(!dropped_inside.get(), "dropped while it was running");
            pending().await
        });
        assert!(itself.set(task).is_ok());
        yield_now().await;
        yield_now().await;
        assert!(dropped.get());
        let task = Rc::into_inner(itself).and_then(OnceCell::into_inner);
        let outcome = task.expect("the task's clone went with it").await;
        assert!(matches!(outcome, Err(JoinError::Aborted)));
        assert_eq!(handle.tasks(), 0);
    });
}

#[test]
fn a_task_that_completes_in_the_poll_in_which_it_was_aborted_has_completed() {
    run(async |handle| {
        let itself = Rc::new(OnceCell::<JoinHandle<u32>>::new());
        let itself_inside = itself.clone();
        let task = handle.spawn(async move {
            itself_inside.get().expect("spawned before polled").abort();
            5
        });
        assert!(itself.set(task).is_ok());
        yield_now().await;
        yield_now().await;
        let task = Rc::into_inner(itself).and_then(OnceCell::into_inner);
        assert_eq!(
            task.expect("the task's clone went with it").await.unwrap(),
            5
        );
    });
}

#[test]
fn aborting_a_task_that_has_ended_changes_nothing() {
    run(async |handle| {
        let task = handle.spawn(ready(21));
        yield_now().await;
        assert!(task.is_finished());
        // Its slot may have a new owner by now, which must not be hit.
        let successor = handle.spawn(ready(22));
        task.abort();
        assert_eq!(task.await.unwrap(), 21);
        assert_eq!(successor.await.unwrap(), 22);
    });
}

#[test]
fn a_task_can_abort_another_that_waits_for_its_socket() {
    run(async |handle| {
        let (mut here, mut there) = connected_pair(&handle, Transport::Tcp).await;
        let reader = handle.spawn(async move { there.read_exact_into(&mut [0]).await });
        yield_now().await;
        handle
            .spawn(async move {
                reader.abort();
                assert!(matches!(reader.await, Err(JoinError::Aborted)));
            })
            .await
            .unwrap();
        let error = here.read_exact_into(&mut [0]).await.unwrap_err();
        assert!(error.to_string().starts_with("the stream ended"), "{error}");
    });
}

/// Whoever polls, it is the waker that counts.
#[test]
fn a_socket_wakes_the_task_whose_waker_it_was_polled_with() {
    run(async |handle| {
        let (mut here, mut there) = connected_pair(&handle, Transport::Tcp).await;
        let waker = Rc::new(OnceCell::new());
        let given = waker.clone();
        let woken = handle.spawn(poll_fn(move |context| {
            match given.set(context.waker().clone()) {
                Ok(()) => Poll::Pending,
                Err(_) => Poll::Ready("woken"),
            }
        }));
        yield_now().await;
        let mut context = Context::from_waker(waker.get().unwrap());
        let mut byte = [0];
        let mut read = pin!(here.read_exact_into(&mut byte));
        assert!(read.as_mut().poll(&mut context).is_pending());
        there.write_all(b"x").await.unwrap();
        assert_eq!(woken.await.unwrap(), "woken");
    });
}

#[test]
fn a_task_whose_join_handle_is_dropped_goes_on() {
    run(async |handle| {
        let done = Rc::new(Cell::new(false));
        let done_inside = done.clone();
        drop(handle.spawn(async move {
            yield_now().await;
            done_inside.set(true);
        }));
        drop(handle.spawn(async { panic!("heard by nobody, harming nobody") }));
        while handle.tasks() > 0 {
            yield_now().await;
        }
        assert!(done.get());
    });
}

#[test]
fn tasks_spawn_tasks_to_any_depth() {
    fn descend(handle: Handle, depth: usize) -> JoinHandle<usize> {
        handle.clone().spawn(async move {
            match depth {
                0 => 0,
                _ => 1 + descend(handle, depth - 1).await.unwrap(),
            }
        })
    }
    run(async |handle| {
        assert_eq!(descend(handle.clone(), 1000).await.unwrap(), 1000);
        assert_eq!(handle.tasks(), 0);
    });
}

#[test]
fn ten_thousand_tasks_end_each_with_its_own_output() {
    run(async |handle| {
        let spawner = handle.clone();
        let tasks: Vec<_> = (0..10_000_u64)
            .map(|number| {
                let handle = spawner.clone();
                spawner.spawn(async move {
                    handle.sleep(Duration::from_micros(number % 700)).await;
                    yield_now().await;
                    number
                })
            })
            .collect();
        assert_eq!(handle.tasks(), 10_000);
        for (expected, task) in (0..).zip(tasks) {
            assert_eq!(task.await.unwrap(), expected);
        }
        assert_eq!(handle.tasks(), 0);
    });
}

#[test]
fn a_task_is_polled_once_per_turn_however_often_it_is_woken() {
    let mut reactor = Reactor::new().unwrap();
    let polls = Rc::new(Cell::new(0));
    let polls_inside = polls.clone();
    let task = reactor.handle().spawn(poll_fn(move |context| {
        polls_inside.set(polls_inside.get() + 1);
        for _ in 0..10 {
            context.waker().wake_by_ref();
        }
        Poll::<()>::Pending
    }));
    for turn in 1..=100 {
        assert_eq!(turn_now(&mut reactor).tasks, 1);
        assert_eq!(polls.get(), turn);
    }
    task.abort();
    settle(&mut reactor);
    assert_eq!(polls.get(), 100);
}

/// More tasks than the ready queue holds without allocating.
#[test]
fn thousands_of_tasks_that_wake_themselves_for_ever_are_all_polled_in_each_turn() {
    const TASKS: usize = 5000;
    let mut reactor = Reactor::new().unwrap();
    let polls = Rc::new(RefCell::new(vec![0; TASKS]));
    for number in 0..TASKS {
        let polls = polls.clone();
        drop(reactor.handle().spawn(async move {
            loop {
                polls.borrow_mut()[number] += 1;
                yield_now().await;
            }
        }));
    }
    for turn in 1..=5 {
        assert_eq!(turn_now(&mut reactor).tasks, TASKS);
        let polls = polls.borrow();
        let (least, most) = (polls.iter().min(), polls.iter().max());
        assert_eq!((least, most), (Some(&turn), Some(&turn)));
    }
}

#[test]
fn a_task_that_wakes_itself_for_ever_starves_neither_io_nor_timers_nor_block_on() {
    run(async |handle| {
        let spinner = handle.spawn(async {
            loop {
                yield_now().await;
            }
        });
        let (mut here, mut there) = connected_pair(&handle, Transport::Tcp).await;
        let echo = handle.spawn(async move {
            let mut byte = [0];
            while there.read_exact_into(&mut byte).await.is_ok() {
                there.write_all(&byte).await.unwrap();
            }
        });
        for round in 0..100 {
            here.write_all(&[round]).await.unwrap();
            let mut answer = [0];
            here.read_exact_into(&mut answer).await.unwrap();
            assert_eq!(answer, [round]);
            handle.sleep(Duration::from_micros(100)).await;
        }
        drop(here);
        echo.await.unwrap();
        assert!(!spinner.is_finished());
    });
}

#[test]
fn a_task_that_ends_wakes_its_joiner_in_the_next_turn() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let task = handle.spawn(yield_now());
    let joiner = handle.spawn(task);
    turn_until(&mut reactor, || joiner.is_finished());
    assert_eq!(reactor.handle().tasks(), 0);
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in a drop");
    }
}

/// A value to hold, and a flag that is set when it is dropped.
fn dropped() -> (impl Sized + 'static, Rc<Cell<bool>>) {
    struct Guard(Rc<Cell<bool>>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let flag = Rc::new(Cell::new(false));
    (Guard(flag.clone()), flag)
}
