//! What a reactor shares with its handles and sockets.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use mio::Registry;
use slab::Slab;

use super::awake::AwakeFlag;
use super::budget::Budget;
use super::parked::Parked;
use super::ready::ReadyReceiver;
use super::remote::Remote;
use super::scheduled_io::ScheduledIo;
use super::spin;
use super::stall::{Origin, StallWatch};
use super::stats::Counters;
use super::task::TaskTable;
use super::timer::Timers;
use crate::pool::{Buffer, Fill, Pool, Ticket};

/// What all of them hold, on the reactor's one thread.
pub(crate) struct Inner {
    pub(super) registry: Registry,
    pub(super) awake: Arc<AwakeFlag>,
    pub(super) ios: RefCell<Slab<Rc<ScheduledIo>>>,
    pub(super) timers: RefCell<Timers>,
    pub(super) tasks: TaskTable,
    pub(super) ready: ReadyReceiver,
    /// The future of `block_on` was woken and has not been polled since.
    pub(super) root_ready: Cell<bool>,
    pub(crate) budget: Budget,
    /// Those whose budget is spent, until others have had their turn.
    pub(super) spent: RefCell<Vec<Parked>>,
    /// The memory that all connections share.
    pub(crate) pool: Rc<Pool>,
    /// For how long the kernel is to poll the network card, zero for not.
    pub(crate) busy_poll: Duration,
    pub(super) remote: Remote,
    pub(crate) counters: Counters,
    pub(super) stall_watch: Option<StallWatch>,
    /// The reactor has been dropped: nothing will ever be woken again.
    pub(super) closed: Cell<bool>,
}

impl Inner {
    /// Fails once the reactor has been dropped.
    pub(crate) fn ensure_open(&self) -> io::Result<()> {
        if self.closed.get() {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "the reactor of this socket is gone",
            ));
        }
        Ok(())
    }

    #[inline]
    pub(super) fn turn_begins(&self) {
        if let Some(watch) = &self.stall_watch {
            watch.turn_begins();
        }
    }

    #[inline]
    pub(super) fn poll_ended(&self, origin: Origin) {
        if let Some(watch) = &self.stall_watch
            && watch.poll_ended(origin)
        {
            self.counters.stalls.add(1);
        }
    }

    #[inline]
    pub(super) fn turn_ended(&self) {
        if let Some(watch) = &self.stall_watch {
            watch.turn_ended();
        }
    }

    /// Lends a buffer of the shared memory for a frame of `len` bytes.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the task would have to wait for a reactor that is gone.
    pub(crate) fn poll_buffer(
        &self,
        context: &Context<'_>,
        ticket: &mut Option<Ticket>,
        len: usize,
        fill: Fill,
    ) -> Poll<io::Result<Buffer>> {
        let waited = ticket.is_some();
        let lent = self.pool.poll_buffer(context, ticket, len, fill);
        if ticket.is_some() && !waited {
            self.counters.memory_waits.add(1);
        }
        if lent.is_pending()
            && let Err(error) = self.ensure_open()
        {
            *ticket = None;
            return Poll::Ready(Err(error));
        }
        lent.map(Ok)
    }

    /// Whether anything but what runs now is ready to run.
    #[inline]
    pub(super) fn is_any_ready(&self) -> bool {
        self.root_ready.get()
            || self.tasks.runnable() > 0
            || !self.spent.borrow().is_empty()
            || self.awake.is_notified()
    }

    /// Wakes a task whose budget is spent in the next turn, behind those whose
    /// sockets have become ready by then.
    pub(super) fn resume_later(&self, waker: &Waker) {
        let parked = Parked::new(waker, &self.tasks);
        self.spent.borrow_mut().push(parked);
        self.awake.notify_if_idle();
    }

    /// Wakes those tasks.
    #[inline]
    pub(super) fn resume_spent(&self) {
        if self.spent.borrow().is_empty() {
            return;
        }
        let mut parked = self.spent.take();
        parked.drain(..).for_each(|parked| parked.wake(&self.tasks));
        // A waker that is not ours may have come back here.
        let mut spent = self.spent.borrow_mut();
        if spent.is_empty() {
            *spent = parked;
        }
    }

    /// How long the poll may wait: up to `limit`, not beyond a deadline.
    ///
    /// The kernel counts whole milliseconds, so a deadline is overshot by up to
    /// one, unless the wait is to end `early`, by up to [`spin::FINAL`].
    #[inline]
    pub(super) fn time_to_wait(&self, limit: Option<Duration>, early: bool) -> Option<Duration> {
        let deadline = self.timers.borrow().next_deadline();
        let until = deadline.map(|deadline| {
            let until = deadline.saturating_duration_since(Instant::now());
            match early {
                true => whole_milliseconds(until.saturating_sub(spin::FINAL / 2)),
                false => until,
            }
        });
        earlier(earlier(limit, until), self.pool.time_to_sweep())
    }

    #[inline]
    pub(super) fn fire_timers(&self) {
        if self.timers.borrow().next_deadline().is_some() {
            let now = Instant::now();
            self.fire(|timers| timers.fire_due(now));
        }
    }

    /// Wakes whoever still waits, to see that the reactor is gone.
    pub(super) fn wake_all(&self) {
        self.fire(Timers::fire_next);
        self.resume_spent();
        self.pool.wake_all();
        let ios: Vec<_> = self.ios.borrow().iter().map(|(_, io)| io.clone()).collect();
        for io in ios {
            io.wake_all(&self.tasks);
        }
    }

    fn fire(&self, mut next: impl FnMut(&mut Timers) -> Option<Waker>) {
        // A waker may be anybody's, so it runs outside of the borrow.
        while let Some(waker) = {
            let mut timers = self.timers.borrow_mut();
            next(&mut timers)
        } {
            waker.wake();
        }
    }

    pub(super) fn fmt_as(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("tasks", &self.tasks.len())
            .field("sockets", &self.ios.borrow().len())
            .finish_non_exhaustive()
    }
}

fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn whole_milliseconds(duration: Duration) -> Duration {
    duration - Duration::from_nanos(u64::from(duration.subsec_nanos() % 1_000_000))
}
