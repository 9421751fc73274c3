//! A socket that is registered with the poll: dropping it is deregistering it.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use mio::unix::SourceFd;
use mio::{Interest, Token};

use super::Inner;
use super::budget::Wish;
use super::scheduled_io::{Direction, ScheduledIo};

/// A source that could not be registered, and why.
pub(crate) struct Unregistered<S> {
    pub(crate) source: S,
    pub(crate) error: io::Error,
}

impl<S> From<Unregistered<S>> for io::Error {
    fn from(unregistered: Unregistered<S>) -> io::Error {
        unregistered.error
    }
}

/// Owns `source` and its registration, once and for both directions.
pub(crate) struct Registration<S: AsFd> {
    inner: Rc<Inner>,
    io: Rc<ScheduledIo>,
    token: Token,
    source: S,
}

impl<S: AsFd> Registration<S> {
    /// Registers a non-blocking `source`.
    ///
    /// # Errors
    ///
    /// Those of `epoll_ctl`, and `NotConnected` if the reactor is gone.
    pub(crate) fn new(
        inner: &Rc<Inner>,
        source: S,
        io: ScheduledIo,
    ) -> Result<Self, Unregistered<S>> {
        if let Err(error) = inner.ensure_open() {
            return Err(Unregistered { source, error });
        }
        let io = Rc::new(io);
        let token = Token(inner.ios.borrow_mut().insert(io.clone()));
        let registered =
            inner
                .registry
                .register(&mut SourceFd(&source.as_fd().as_raw_fd()), token, INTEREST);
        if let Err(error) = registered {
            inner.ios.borrow_mut().remove(token.0);
            return Err(Unregistered { source, error });
        }
        Ok(Registration {
            inner: inner.clone(),
            io,
            token,
            source,
        })
    }

    pub(crate) fn source(&self) -> &S {
        &self.source
    }

    pub(crate) fn inner(&self) -> &Rc<Inner> {
        &self.inner
    }

    /// Whether a system call in this direction is worth making.
    pub(crate) fn is_ready(&self, direction: Direction) -> bool {
        self.io.is_ready(direction)
    }

    /// Whether no task but the one that runs is ready.
    pub(crate) fn is_alone(&self) -> bool {
        !self.inner.is_any_ready()
    }

    /// Has the next operation make its system call, whatever the last one said.
    pub(crate) fn look_again(&self, direction: Direction) {
        self.io.set_ready(direction);
    }

    /// Tells that reads may stop short of what has arrived.
    pub(crate) fn expect_marks(&self) {
        self.io.expect_marks();
    }

    /// Makes one system call that moves bytes, as readiness and budget allow.
    ///
    /// `call` gets the number of bytes that it may move, and returns how many it moved.
    /// `Pending` means that the task is parked, or is queued again because its budget is
    /// spent.
    ///
    /// # Errors
    ///
    /// Those of `call` but `WouldBlock` and `Interrupted`, and `NotConnected`
    /// if the task would have to wait for a reactor that is gone.
    pub(crate) fn poll_transfer(
        &self,
        context: &Context<'_>,
        direction: Direction,
        wish: Wish,
        unit: impl FnOnce() -> usize,
        mut call: impl FnMut(&S, usize) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let chunk = ready!(self.poll_grant(context, direction, wish, unit))?;
        let moved = ready!(self.poll_call(context, direction, |source| call(source, chunk)))?;
        self.inner.budget.charge(moved);
        let counted = match direction {
            Direction::Read => &self.inner.counters.bytes_in,
            Direction::Write => &self.inner.counters.bytes_out,
        };
        counted.add(moved as u64);
        if moved < chunk {
            self.io.clear_after_short_call(direction);
        }
        Poll::Ready(Ok(moved))
    }

    /// Makes one system call that moves nothing, which costs the task as much of
    /// its budget as one that moves a single byte.
    ///
    /// # Errors
    ///
    /// As [`poll_transfer`](Registration::poll_transfer).
    pub(crate) fn poll_operation<T>(
        &self,
        context: &Context<'_>,
        direction: Direction,
        call: impl FnMut(&S) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        ready!(self.poll_grant(context, direction, Wish::UpTo(1), || 1))?;
        let result = ready!(self.poll_call(context, direction, call));
        self.inner.budget.charge_operation();
        Poll::Ready(result)
    }

    /// How many bytes the next system call may move, if one is worth making.
    fn poll_grant(
        &self,
        context: &Context<'_>,
        direction: Direction,
        wish: Wish,
        unit: impl FnOnce() -> usize,
    ) -> Poll<io::Result<usize>> {
        if !self.io.is_ready(direction) {
            return self.park(context, direction);
        }
        if self.inner.closed.get() {
            // No turn will ever renew it.
            self.inner.budget.reset();
        }
        match self.inner.budget.grant(wish, unit) {
            Some(chunk) => Poll::Ready(Ok(chunk)),
            None => {
                self.inner.counters.budget_yields.add(1);
                self.inner.resume_later(context.waker());
                Poll::Pending
            }
        }
    }

    fn poll_call<T>(
        &self,
        context: &Context<'_>,
        direction: Direction,
        mut call: impl FnMut(&S) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            match call(&self.source) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.inner.counters.would_block.add(1);
                    self.io.clear(direction);
                    return self.park(context, direction);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Waits until the kernel has reported this direction ready.
    pub(crate) fn poll_ready(
        &self,
        context: &Context<'_>,
        direction: Direction,
    ) -> Poll<io::Result<()>> {
        if self.io.is_ready(direction) {
            return Poll::Ready(Ok(()));
        }
        self.park(context, direction)
    }

    fn park<T>(&self, context: &Context<'_>, direction: Direction) -> Poll<io::Result<T>> {
        self.inner.ensure_open()?;
        self.io.park(direction, context.waker(), &self.inner.tasks);
        Poll::Pending
    }
}

impl<S: AsFd> Drop for Registration<S> {
    fn drop(&mut self) {
        self.inner.ios.borrow_mut().remove(self.token.0);
        let fd = self.source.as_fd().as_raw_fd();
        // Closing the socket would do, were it not that somebody may hold a
        // duplicate, whose events would then arrive for ever.
        if let Err(error) = self.inner.registry.deregister(&mut SourceFd(&fd)) {
            log::error!("cannot deregister a socket: {error}");
        }
    }
}

/// What every socket is registered for. Urgent data is not for us, but it cuts
/// reads short: see [`ScheduledIo::clear_after_short_call`].
#[cfg(any(target_os = "linux", target_os = "android"))]
const INTEREST: Interest = Interest::READABLE
    .add(Interest::WRITABLE)
    .add(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);
