//! The reactor as its tasks see it, and what lies behind that handle.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use mio::Registry;
use slab::Slab;

use super::awake::AwakeFlag;
use super::budget::Budget;
use super::join::{JoinHandle, Outcome, OutcomeCell, Reporting};
use super::parked::Parked;
use super::ready::{ReadyReceiver, TaskId};
use super::remote::Remote;
use super::scheduled_io::ScheduledIo;
use super::spin;
use super::stall::{Origin, StallWatch, TurnLengths};
use super::stats::{Counters, Stats};
use super::task::TaskTable;
use super::timer::{Elapsed, Sleep, Timers};
use crate::pool::{Buffer, Lease, Pool, Ticket};

/// A reactor, as its tasks see it: to spawn, to sleep, to open sockets.
///
/// Cheap to clone, and bound to the reactor's thread:
///
/// ```compile_fail
/// let handle = readinto::Reactor::new().unwrap().handle();
/// std::thread::spawn(move || drop(handle));
/// ```
#[derive(Clone)]
pub struct Handle {
    pub(crate) inner: Rc<Inner>,
}

impl Handle {
    /// Starts a task; it is first polled in the reactor's next turn.
    ///
    /// A panic in the task ends that task only; the [`JoinHandle`] reports it.
    /// On a reactor that has been dropped, the task ends as aborted at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let mut reactor = readinto::Reactor::new()?;
    /// let handle = reactor.handle();
    /// let failed = reactor.block_on(async {
    ///     handle.spawn(async { panic!("only me") }).await
    /// })?;
    /// assert!(failed.unwrap_err().to_string().contains("only me"));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let origin = Origin::of(&future);
        let cell = Rc::new(OutcomeCell::new());
        if self.inner.closed.get() {
            drop(future);
            cell.aborted();
            return JoinHandle::new(cell, TaskId::NONE, &self.inner);
        }
        let task = Box::pin(Reporting::new(future, cell.clone()));
        let id = self.inner.tasks.insert(task, cell.clone(), origin);
        self.inner.counters.spawned.add(1);
        JoinHandle::new(cell, id, &self.inner)
    }

    /// Waits for `duration`, never less, and in any case for the next turn: a
    /// sleep of zero lets everything else run that is ready.
    ///
    /// The kernel's poll counts whole milliseconds, so it may take up to 1 ms
    /// more; a duration beyond what [`Instant`] can hold never ends.
    ///
    /// # Cancel safety
    ///
    /// See [`Sleep`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> std::io::Result<()> {
    /// let mut reactor = readinto::Reactor::new()?;
    /// let start = Instant::now();
    /// reactor.block_on(reactor.handle().sleep(Duration::from_millis(2)))?;
    /// assert!(start.elapsed() >= Duration::from_millis(2));
    /// # Ok(())
    /// # }
    /// ```
    pub fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(self.inner.clone(), duration)
    }

    /// Gives `future` the time `after` to complete, and drops it otherwise.
    ///
    /// # Errors
    ///
    /// [`Elapsed`] once the time has passed; `future` has been polled at least
    /// once by then, and its output is preferred when both are there.
    ///
    /// # Cancel safety
    ///
    /// As that of `future`. Mind that a timeout *is* a cancellation: see
    /// [`Stream::read_exact_into`](crate::Stream::read_exact_into).
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> std::io::Result<()> {
    /// let mut reactor = readinto::Reactor::new()?;
    /// let handle = reactor.handle();
    /// let never = std::future::pending::<()>();
    /// let late = reactor.block_on(handle.timeout(Duration::from_millis(2), never))?;
    /// assert_eq!(late.unwrap_err().after, Duration::from_millis(2));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn timeout<F: Future>(
        &self,
        after: Duration,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        let mut sleep = pin!(self.sleep(after));
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            sleep
                .as_mut()
                .poll(context)
                .map(|()| Err(Elapsed { after }))
        })
        .await
    }

    /// Lends `len` bytes of the memory that all connections share, under the
    /// [budget](crate::Builder::memory_budget): for messages that are not a length and
    /// a payload, as those that a [`FrameReader`](crate::FrameReader) reads are.
    ///
    /// If the budget is spent, it waits in order of arrival. One lease for the whole
    /// of a message, cut up where it has several parts, keeps tasks from waiting for
    /// each other in a circle. What was lent before is lent again, and freed when
    /// nobody has needed it for seconds. What is fresh takes addresses only, until it
    /// is filled.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::OutOfMemory`] if `len` is more than three quarters of the
    /// budget, which can never be lent, or if the system has no memory;
    /// [`io::ErrorKind::NotConnected`] if it would have to wait for a reactor that is
    /// gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up its place in the queue, and nothing else.
    ///
    /// # Examples
    ///
    /// A message of two arrays, whose lengths come first:
    ///
    /// ```
    /// use std::io;
    ///
    /// use readinto::{Handle, Stream};
    ///
    /// async fn sum(handle: &Handle, stream: &mut Stream) -> io::Result<u64> {
    ///     let mut lengths = [0; 2];
    ///     stream.read_exact_into(&mut lengths).await?;
    ///     let [first, second] = lengths.map(usize::from);
    ///     let mut message = handle.lease(first + second).await?;
    ///     stream.read_exact_into(&mut message).await?;
    ///     let (first, second) = message.split_at(first);
    ///     Ok(first.iter().chain(second).map(|&byte| u64::from(byte)).sum())
    /// }
    /// ```
    pub async fn lease(&self, len: usize) -> io::Result<Lease> {
        let longest = self.inner.pool.longest();
        if len > longest {
            return Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                format!("{len} bytes, above the {longest} that the memory budget can hold"),
            ));
        }
        let mut ticket = None;
        let lent = poll_fn(|context| self.inner.poll_buffer(context, &mut ticket, len));
        Lease::new(lent.await?).map_err(|_| {
            let message = format!("no memory for {len} bytes");
            io::Error::new(io::ErrorKind::OutOfMemory, message)
        })
    }

    /// The means to reach this reactor from other threads.
    ///
    /// # Examples
    ///
    /// See [`Remote`].
    pub fn remote(&self) -> Remote {
        self.inner.remote.clone()
    }

    /// How many spawned tasks have not ended yet, the one that asks included.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let reactor = readinto::Reactor::new()?;
    /// let task = reactor.handle().spawn(std::future::pending::<()>());
    /// assert_eq!(reactor.handle().tasks(), 1);
    /// task.abort();
    /// assert_eq!(reactor.handle().tasks(), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.inner.tasks.len()
    }

    /// What the reactor has done so far, and what it holds.
    ///
    /// # Examples
    ///
    /// See [`Stats`].
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            tasks: self.inner.tasks.len() as u64,
            sockets: self.inner.ios.borrow().len() as u64,
            memory_lent: self.inner.pool.lent_bytes() as u64,
            memory_idle: self.inner.pool.idle_bytes() as u64,
            ..self.inner.counters.so_far()
        }
    }

    /// How long turns took, if [`Builder::watch_stalls`](super::Builder::watch_stalls)
    /// has them timed.
    ///
    /// # Examples
    ///
    /// See there.
    #[must_use]
    pub fn turn_lengths(&self) -> Option<TurnLengths> {
        self.inner.stall_watch.as_ref().map(StallWatch::turns)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_as("Handle", f)
    }
}

/// What the reactor shares with its handles and sockets, on its one thread.
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
    /// When this turn began, once somebody has asked.
    pub(super) turn_began: Cell<Option<Instant>>,
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

    pub(super) fn turn_begins(&self) {
        if let Some(watch) = &self.stall_watch {
            watch.turn_begins();
        }
    }

    pub(super) fn poll_ended(&self, origin: Origin) {
        if let Some(watch) = &self.stall_watch
            && watch.poll_ended(origin)
        {
            self.counters.stalls.add(1);
        }
    }

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
    ) -> Poll<io::Result<Buffer>> {
        let waited = ticket.is_some();
        let lent = self.pool.poll_buffer(context, ticket, len);
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

    /// The time, as it was when somebody first asked in this turn: cheaper than
    /// the clock where many ask, and late by no more than a turn.
    pub(crate) fn now(&self) -> Instant {
        let now = self.turn_began.get().unwrap_or_else(Instant::now);
        self.turn_began.set(Some(now));
        now
    }

    /// Whether anything but what runs now is ready to run.
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

    pub(super) fn fire_timers(&self) {
        if self.timers.borrow().next_deadline().is_some() {
            let now = self.now();
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
