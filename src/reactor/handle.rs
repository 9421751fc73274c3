//! The reactor as its tasks see it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::Inner;
use super::join::{JoinHandle, Outcome, OutcomeCell, Reporting};
use super::ready::TaskId;
use super::remote::Remote;
use super::stall::{Origin, StallWatch, TurnLengths};
use super::stats::Stats;
use super::timeout::{Elapsed, Timeout};
use super::timer::Sleep;
use crate::pool::{Fill, Lease};

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
        self.spawn_from(Origin::of(&future), future)
    }

    /// As [`spawn`](Handle::spawn), for who is not the one that spawns.
    pub(super) fn spawn_from<F>(&self, origin: Origin, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
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
    /// sleep of zero lets the others run that are ready; of those that move much, some
    /// ([Fairness](crate#fairness)).
    ///
    /// The kernel's poll counts whole milliseconds, so it may take up to 1 ms
    /// more; a duration beyond what [`Instant`](std::time::Instant) can hold never ends.
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

    /// Gives `future` the time `after`, from this call on, to complete, and drops it
    /// otherwise.
    ///
    /// # Errors
    ///
    /// [`Elapsed`] once the time has passed; `future` has been polled at least
    /// once by then, and its output is preferred when both are there. As with
    /// [`sleep`](Handle::sleep), that is in the turn after the first poll at the
    /// earliest, even if no time is left by then.
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
    pub fn timeout<F: Future>(
        &self,
        after: Duration,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Elapsed>> + use<F> {
        Timeout::new(future, self.sleep(after), after)
    }

    /// Lends `len` bytes of the memory that all connections share, under the
    /// [budget](crate::Builder::memory_budget): for messages that are not a length and
    /// a payload, as those that a [`FrameReader`](crate::FrameReader) reads are.
    ///
    /// If the budget is spent, it waits in order of arrival. One lease for the whole
    /// of a message, cut up where it has several parts, keeps tasks from waiting for
    /// each other in a circle. What was lent before is lent again, and freed when
    /// nobody has needed it for seconds. What is fresh takes addresses only, until it
    /// is filled. It begins 64 bytes behind where the allocator put it, for speed: see
    /// [`read_exact_into`](crate::ReadHalf::read_exact_into).
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
        let lent = poll_fn(|context| {
            self.inner
                .poll_buffer(context, &mut ticket, len, Fill::AtOnce)
        });
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
