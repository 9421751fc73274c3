//! A panic that no join handle reports goes to the log: it never passes in
//! silence, nor is it told twice.

mod support;

use std::cell::RefCell;
use std::future::pending;
use std::sync::Once;

use log::{LevelFilter, Log, Metadata, Record};
use readinto::{Handle, JoinError};
use support::{run, yield_now};

#[test]
fn a_panic_of_a_task_whose_join_handle_is_gone_is_logged() {
    let logged = logged(async |handle| {
        drop(handle.spawn(async { panic!("unheard") }));
        yield_now().await;
    });
    assert_eq!(logged, ["ERROR the task panicked: unheard"]);
}

#[test]
fn a_panic_whose_join_handle_is_dropped_unasked_is_logged() {
    let logged = logged(async |handle| {
        let task = handle.spawn(async { panic!("unasked") });
        yield_now().await;
        assert!(task.is_finished());
    });
    assert_eq!(logged, ["ERROR the task panicked: unasked"]);
}

#[test]
fn a_panic_that_a_join_handle_reports_is_not_logged() {
    let logged = logged(async |handle| {
        let task = handle.spawn(async { panic!("heard") });
        let Err(JoinError::Panicked(panic)) = task.await else {
            panic!("not reported");
        };
        assert_eq!(panic.message(), "heard");
    });
    assert!(logged.is_empty(), "{logged:?}");
}

#[test]
fn a_task_that_is_aborted_or_not_asked_for_its_output_is_not_logged() {
    let logged = logged(async |handle| {
        handle.spawn(pending::<()>()).abort();
        drop(handle.spawn(async { "an output" }));
        yield_now().await;
        assert_eq!(handle.tasks(), 0);
    });
    assert!(logged.is_empty(), "{logged:?}");
}

/// Runs `test`, and returns what the library has logged meanwhile.
fn logged(test: impl AsyncFnOnce(Handle)) -> Vec<String> {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        log::set_logger(&Collecting).expect("the only logger");
        log::set_max_level(LevelFilter::Trace);
    });
    run(test);
    LOGGED.take()
}

struct Collecting;

impl Log for Collecting {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if record.target().starts_with("readinto") {
            let line = format!("{} {}", record.level(), record.args());
            LOGGED.with_borrow_mut(|logged| logged.push(line));
        }
    }

    fn flush(&self) {}
}

thread_local! {
    /// Each test runs its reactor on its own thread.
    static LOGGED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}
