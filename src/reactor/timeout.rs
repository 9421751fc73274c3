//! A future that is given a time to complete.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::timer::Sleep;

pin_project! {
    /// What [`Handle::timeout`](super::Handle::timeout) returns.
    ///
    /// An `async` block would do, but it would keep room for the future twice.
    pub(super) struct Timeout<F> {
        #[pin]
        future: F,
        #[pin]
        sleep: Sleep,
        after: Duration,
    }
}

impl<F> Timeout<F> {
    /// `sleep` takes the time `after`.
    pub(super) fn new(future: F, sleep: Sleep, after: Duration) -> Timeout<F> {
        Timeout {
            future,
            sleep,
            after,
        }
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(context) {
            return Poll::Ready(Ok(output));
        }
        let after = *this.after;
        let slept = this.sleep.poll(context);
        slept.map(|()| Err(Elapsed { after }))
    }
}

/// The time that was allowed to a future has passed; see [`Handle::timeout`].
///
/// [`Handle::timeout`]: super::Handle::timeout
///
/// # Examples
///
/// See [`Handle::timeout`](super::Handle::timeout).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Elapsed {
    /// How long the future was given.
    pub after: Duration,
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not done within {:?}", self.after)
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}
