//! The task table and the queue of tasks to run.
//!
//! A task is a boxed future in a slab. Its waker names it by slot and
//! generation, so that one that outlives its task wakes nobody else. Waking
//! puts that name on a queue, once until the task is polled; whoever runs the
//! queue polls as many tasks as it held at the start, so that tasks woken
//! meanwhile, a task that wakes itself among them, wait for the next turn.
//!
//! There are two: a waker, which any thread may hold, puts the name on a
//! channel (`ready.rs`); the reactor itself, when a socket is ready, on a plain
//! queue, to which it also moves what is in the channel.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, RawWakerVTable, Waker};

use slab::Slab;

use super::join::Outcome;
use super::ready::{NO_SLOT, ReadyReceiver, ReadySender, TaskId, TaskWaker};
use super::stall::Origin;

/// A spawned future with what is needed to poll it and to report its end.
struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    waker: Waker,
    outcome: Rc<dyn Outcome>,
    origin: Origin,
}

struct Slot {
    header: Arc<TaskWaker>,
    /// `None` while the task is being polled.
    task: Option<Task>,
    /// Aborted while it was being polled: it ends when the poll returns.
    aborted: bool,
}

/// All tasks of one reactor.
pub(crate) struct TaskTable {
    slots: RefCell<Slab<Slot>>,
    next_generation: Cell<u64>,
    /// Those that the reactor has woken.
    runnable: RefCell<VecDeque<TaskId>>,
    running: Cell<Option<Running>>,
    ready: Arc<ReadySender>,
    /// Tests have tasks run in an order that nobody could count on.
    shuffle: Cell<Option<u64>>,
}

/// The task that is being polled, and what its waker is made of.
#[derive(Clone, Copy)]
struct Running {
    id: TaskId,
    data: *const (),
    vtable: &'static RawWakerVTable,
}

impl TaskTable {
    pub(crate) fn new(ready: Arc<ReadySender>) -> TaskTable {
        TaskTable {
            slots: RefCell::default(),
            next_generation: Cell::new(1),
            runnable: RefCell::default(),
            running: Cell::new(None),
            ready,
            shuffle: Cell::new(None),
        }
    }

    /// Has tasks that are ready together run in an order that `seed` decides.
    pub(crate) fn shuffle(&self, seed: u64) {
        // Zero would stay zero.
        self.shuffle.set(Some(seed | 1));
    }

    /// The task that is being polled, if `waker` is its own.
    pub(crate) fn running_by(&self, waker: &Waker) -> Option<TaskId> {
        let running = self.running.get()?;
        let same = waker.data() == running.data && std::ptr::eq(waker.vtable(), running.vtable);
        same.then_some(running.id)
    }

    /// Polls what `waker` wakes, by its name in between.
    pub(crate) fn while_running<T>(
        &self,
        id: TaskId,
        waker: &Waker,
        poll: impl FnOnce() -> T,
    ) -> T {
        struct Until<'a>(&'a Cell<Option<Running>>);
        impl Drop for Until<'_> {
            fn drop(&mut self) {
                self.0.set(None);
            }
        }
        self.running.set(Some(Running {
            id,
            data: waker.data(),
            vtable: waker.vtable(),
        }));
        let _until = Until(&self.running);
        poll()
    }

    /// Has the task polled in the next turn. Only the reactor may call this: it
    /// does not end its sleep.
    pub(crate) fn wake(&self, id: TaskId) {
        if id.slot != NO_SLOT {
            let slots = self.slots.borrow();
            let slot = slots.get(id.slot).filter(|slot| slot.header.id() == id);
            if slot.is_none_or(|slot| slot.header.set_queued()) {
                return;
            }
        }
        self.runnable.borrow_mut().push_back(id);
    }

    /// Adds the tasks that wakers have named to those that are to be polled.
    pub(crate) fn take_woken(&self, woken: &ReadyReceiver) {
        self.runnable.borrow_mut().extend(woken.take_queued());
    }

    /// How many tasks are to be polled.
    pub(crate) fn runnable(&self) -> usize {
        self.runnable.borrow().len()
    }

    /// The next one; of the first `candidates` of them, if the order is shuffled.
    pub(crate) fn next_runnable(&self, candidates: usize) -> Option<TaskId> {
        let mut runnable = self.runnable.borrow_mut();
        if let Some(state) = self.shuffle.get() {
            let state = xorshift(state);
            self.shuffle.set(Some(state));
            let candidates = candidates.min(runnable.len()).max(1);
            if !runnable.is_empty() {
                runnable.swap(0, (state % candidates as u64) as usize);
            }
        }
        runnable.pop_front()
    }

    /// How many tasks have not ended yet.
    pub(crate) fn len(&self) -> usize {
        self.slots.borrow().len()
    }

    /// Adds a task and queues its first poll.
    pub(crate) fn insert(
        &self,
        future: Pin<Box<dyn Future<Output = ()>>>,
        outcome: Rc<dyn Outcome>,
        origin: Origin,
    ) -> TaskId {
        let generation = self.generation();
        let mut slots = self.slots.borrow_mut();
        let entry = slots.vacant_entry();
        let id = TaskId {
            slot: entry.key(),
            generation,
        };
        let header = TaskWaker::new(id, self.ready.clone());
        entry.insert(Slot {
            task: Some(Task {
                future,
                waker: header.clone().into(),
                outcome,
                origin,
            }),
            header,
            aborted: false,
        });
        drop(slots);
        self.wake(id);
        self.ready.notify_if_idle();
        id
    }

    /// A waker for a future that is in no table: the one of `block_on`.
    pub(crate) fn root_waker(&self) -> Arc<TaskWaker> {
        let id = TaskId {
            slot: NO_SLOT,
            generation: self.generation(),
        };
        TaskWaker::new(id, self.ready.clone())
    }

    /// Polls the task once, and returns where it comes from; `None` if it has already
    /// ended.
    pub(crate) fn run(&self, id: TaskId) -> Option<Origin> {
        let mut task = self.take(id)?;
        let origin = task.origin;
        let Task { future, waker, .. } = &mut task;
        let poll = catch_unwind(AssertUnwindSafe(|| {
            self.while_running(id, waker, || {
                future.as_mut().poll(&mut Context::from_waker(waker))
            })
        }));

        let mut slots = self.slots.borrow_mut();
        let slot = &mut slots[id.slot];
        if matches!(poll, Ok(Poll::Pending)) && !slot.aborted {
            slot.task = Some(task);
            return Some(origin);
        }
        slots.remove(id.slot);
        drop(slots);
        match poll {
            Ok(Poll::Ready(())) => end(task, None),
            Ok(Poll::Pending) => abort(task),
            Err(panic) => end(task, Some(panic)),
        }
        Some(origin)
    }

    /// Ends the task without polling it again.
    pub(crate) fn abort(&self, id: TaskId) {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(id.slot).filter(|slot| slot.header.id() == id) else {
            return;
        };
        match slot.task.take() {
            Some(task) => {
                slots.remove(id.slot);
                drop(slots);
                abort(task);
            }
            None => slot.aborted = true,
        }
    }

    /// Ends every task. The caller sees to it that none is added meanwhile.
    pub(crate) fn abort_all(&self) {
        // Dropping a future may run anything, so nothing stays borrowed.
        let slots = std::mem::take(&mut *self.slots.borrow_mut());
        for task in slots.into_iter().filter_map(|(_, slot)| slot.task) {
            abort(task);
        }
    }

    fn generation(&self) -> u64 {
        let generation = self.next_generation.get();
        self.next_generation.set(generation + 1);
        generation
    }

    /// Takes the task out of its slot, to be polled.
    fn take(&self, id: TaskId) -> Option<Task> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots
            .get_mut(id.slot)
            .filter(|slot| slot.header.id() == id)?;
        slot.header.set_polled();
        slot.task.take()
    }
}

/// Marsaglia's generator of 64 bits, with the shifts 13, 7 and 17 (Journal of
/// Statistical Software 8, 2003).
fn xorshift(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    state
}

/// Drops the future, then reports how the task ended.
fn end(task: Task, panic: Option<Box<dyn Any + Send>>) {
    let Task {
        future, outcome, ..
    } = task;
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(future)));
    if let Some(panic) = panic.or(dropped.err()) {
        outcome.panicked(panic);
    }
}

fn abort(task: Task) {
    let outcome = task.outcome.clone();
    end(task, None);
    outcome.aborted();
}
