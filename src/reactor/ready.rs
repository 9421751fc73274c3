//! The ready queue that wakers fill, from any thread.
//!
//! Waking a task puts its name on the queue, once until it is polled, and then ends
//! the loop's sleep.
//!
//! `tests/remote_model.rs` compiles this file once more, with the atomics and the
//! channels of a model checker.

use std::sync::Arc;
use std::task::Wake;

use super::atomic::{AtomicBool, Ordering};
use super::awake::AwakeFlag;
use super::channel::{Receiver, Sender, TrySendError, bounded, unbounded};

/// Names a task for as long as its reactor lives; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId {
    pub(super) slot: usize,
    pub(super) generation: u64,
}

impl TaskId {
    /// Names no task.
    pub(crate) const NONE: TaskId = TaskId {
        slot: NO_SLOT,
        generation: 0,
    };
}

/// The slot of what is in no table.
pub(super) const NO_SLOT: usize = usize::MAX;

/// How many names the queue holds before it allocates. Tasks that wait for a socket by
/// their own waker are woken without it (see `task.rs`), however many are ready at once.
const QUEUE_CAPACITY: usize = 2048;

/// The end of the ready queue that wakers hold; any thread may push.
#[derive(Debug)]
pub(crate) struct ReadySender {
    queue: Sender<TaskId>,
    /// Takes what the bounded queue has no room for, at the price of an
    /// allocation for every 31 names.
    overflow: Sender<TaskId>,
    awake: Arc<AwakeFlag>,
}

impl ReadySender {
    fn push(&self, id: TaskId) {
        // A closed queue means that the reactor is gone, and its tasks with it.
        if let Err(TrySendError::Full(id)) = self.queue.try_send(id) {
            let _ = self.overflow.send(id);
        }
        self.awake.notify();
    }

    /// See [`AwakeFlag::notify_if_idle`].
    pub(crate) fn notify_if_idle(&self) {
        self.awake.notify_if_idle();
    }
}

/// The end of the ready queue that the reactor holds.
#[derive(Debug)]
pub(crate) struct ReadyReceiver {
    queue: Receiver<TaskId>,
    overflow: Receiver<TaskId>,
}

impl ReadyReceiver {
    /// Takes out what is queued now; what is pushed meanwhile stays.
    pub(crate) fn take_queued(&self) -> impl Iterator<Item = TaskId> {
        // Both lengths are fixed before anything is taken: tasks that wake
        // themselves for ever would keep the first queue from running dry.
        let queued = self.queue.try_iter().take(self.queue.len());
        let overflowed = self.overflow.try_iter().take(self.overflow.len());
        queued.chain(overflowed)
    }
}

/// A queue of ready tasks whose pushes end the sleep that `awake` guards.
pub(crate) fn ready_queue(awake: Arc<AwakeFlag>) -> (Arc<ReadySender>, ReadyReceiver) {
    let (queue_sender, queue) = bounded(QUEUE_CAPACITY);
    let (overflow_sender, overflow) = unbounded();
    let sender = ReadySender {
        queue: queue_sender,
        overflow: overflow_sender,
        awake,
    };
    (Arc::new(sender), ReadyReceiver { queue, overflow })
}

/// What a task's waker points to.
#[derive(Debug)]
pub(crate) struct TaskWaker {
    id: TaskId,
    /// Whether the id is in the queue, or never needs to be there again.
    queued: AtomicBool,
    ready: Arc<ReadySender>,
}

impl TaskWaker {
    pub(crate) fn new(id: TaskId, ready: Arc<ReadySender>) -> Arc<TaskWaker> {
        Arc::new(TaskWaker {
            id,
            queued: AtomicBool::new(false),
            ready,
        })
    }

    pub(crate) fn id(&self) -> TaskId {
        self.id
    }

    /// Whoever says so is to queue the id; tells whether that has been done.
    #[must_use]
    pub(crate) fn set_queued(&self) -> bool {
        self.queued.swap(true, Ordering::AcqRel)
    }

    /// The task is about to be polled: wake-ups count again from here on.
    pub(crate) fn set_polled(&self) {
        self.queued.swap(false, Ordering::AcqRel);
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.set_queued() {
            self.ready.push(self.id);
        }
    }
}
