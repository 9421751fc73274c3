//! The task table and the queue of tasks to run.
//!
//! A task is a boxed future in a slab. Its waker names it by slot and
//! generation, so that one that outlives its task wakes nobody else. Waking
//! puts that name on a queue, once until the task is polled; whoever runs the
//! queue polls at most as many tasks as it held at the start, so that tasks woken
//! meanwhile, a task that wakes itself among them, wait for the next turn.
//!
//! A waker, which any thread may hold, puts the name on a channel (`ready.rs`); the
//! reactor itself, when a socket is ready, on a plain queue (`run_queue.rs`), to which
//! it also moves what is in the channel.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, RawWakerVTable, Waker};

use slab::Slab;

use super::budget::Budget;
use super::join::Outcome;
use super::ready::{NO_SLOT, ReadyReceiver, ReadySender, TaskId, TaskWaker};
use super::run_queue::{Flow, RunQueue};
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
    /// As its last poll showed.
    flow: Flow,
    /// Aborted while it was being polled: it ends when the poll returns.
    aborted: bool,
}

/// All tasks of one reactor.
pub(crate) struct TaskTable {
    slots: RefCell<Slab<Slot>>,
    next_generation: Cell<u64>,
    /// Those that the reactor has woken.
    runnable: RefCell<RunQueue>,
    running: Cell<Option<Running>>,
    ready: Arc<ReadySender>,
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
        }
    }

    /// Has tasks that are ready together run in an order that `seed` decides.
    pub(crate) fn shuffle(&self, seed: u64) {
        self.runnable.borrow_mut().shuffle(seed);
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

    /// Has the task polled in a turn to come. Only the reactor may call this: it
    /// does not end its sleep.
    pub(crate) fn wake(&self, id: TaskId) {
        let mut flow = Flow::default();
        if id.slot != NO_SLOT {
            let slots = self.slots.borrow();
            let slot = slots.get(id.slot).filter(|slot| slot.header.id() == id);
            match slot {
                Some(slot) if !slot.header.set_queued() => flow = slot.flow,
                _ => return,
            }
        }
        self.runnable.borrow_mut().push(id, flow);
    }

    /// Adds the tasks that wakers have named to those that are to be polled.
    pub(crate) fn take_woken(&self, woken: &ReadyReceiver) {
        let slots = self.slots.borrow();
        let mut runnable = self.runnable.borrow_mut();
        for id in woken.take_queued() {
            let slot = slots.get(id.slot).filter(|slot| slot.header.id() == id);
            runnable.push(id, slot.map_or_else(Flow::default, |slot| slot.flow));
        }
    }

    /// How many tasks are to be polled.
    #[inline]
    pub(crate) fn runnable(&self) -> usize {
        self.runnable.borrow().len()
    }

    /// How many of them are of this flow.
    #[inline]
    pub(crate) fn runnable_of(&self, flow: Flow) -> usize {
        self.runnable.borrow().len_of(flow)
    }

    /// The next one of this flow; of the first `candidates` of them, if the order is
    /// shuffled.
    #[inline]
    pub(crate) fn next_runnable(&self, flow: Flow, candidates: usize) -> Option<TaskId> {
        self.runnable.borrow_mut().pop(flow, candidates)
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
            flow: Flow::default(),
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
    /// ended. What it spends of `budget` tells which flow it is.
    pub(crate) fn run(&self, id: TaskId, budget: &Budget) -> Option<Origin> {
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
            slot.flow = budget.flow();
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
