//! Who waits, in the cheapest form.
//!
//! A task that waits by its own waker is noted by its name, and woken on the
//! reactor's thread without anything atomic. Any other waker (one that a
//! combinator has made, or another executor's) is kept as it is.

use std::task::Waker;

use super::ready::TaskId;
use super::task::TaskTable;

/// Somebody to wake.
#[derive(Debug)]
pub(crate) enum Parked {
    Task(TaskId),
    Foreign(Waker),
}

impl Parked {
    pub(crate) fn new(waker: &Waker, tasks: &TaskTable) -> Parked {
        match tasks.running_by(waker) {
            Some(id) => Parked::Task(id),
            None => Parked::Foreign(waker.clone()),
        }
    }

    /// A waker that is not ours may run anything: nothing may be borrowed.
    pub(crate) fn wake(self, tasks: &TaskTable) {
        match self {
            Parked::Task(id) => tasks.wake(id),
            Parked::Foreign(waker) => waker.wake(),
        }
    }
}
