//! How the end of a task reaches whoever waits for it.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use pin_project_lite::pin_project;

use super::Inner;
use super::ready::TaskId;

/// Waits for a task; made by [`Handle::spawn`].
///
/// Awaiting it returns the task's output, or says that it panicked or was
/// aborted. Dropping it leaves the task running on its own; should that task
/// panic, the message goes to [`log::error!`].
///
/// # Cancel safety
///
/// Dropping the handle, or a future that holds `&mut` of it, loses nothing of
/// the task. Once it has returned the output, it must not be polled again.
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let mut reactor = readinto::Reactor::new()?;
/// let handle = reactor.handle();
/// let sum = reactor.block_on(async {
///     let task = handle.spawn(async { 1 + 2 });
///     task.await
/// })?;
/// assert_eq!(sum.unwrap(), 3);
/// # Ok(())
/// # }
/// ```
///
/// [`Handle::spawn`]: super::Handle::spawn
pub struct JoinHandle<T> {
    cell: Rc<OutcomeCell<T>>,
    id: TaskId,
    reactor: Weak<Inner>,
}

impl<T> JoinHandle<T> {
    pub(crate) fn new(cell: Rc<OutcomeCell<T>>, id: TaskId, reactor: &Rc<Inner>) -> JoinHandle<T> {
        JoinHandle {
            cell,
            id,
            reactor: Rc::downgrade(reactor),
        }
    }

    /// Ends the task: its future is dropped and never polled again.
    ///
    /// A task that aborts itself ends when its current poll returns. Aborting
    /// a task that has ended does nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use readinto::JoinError;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut reactor = readinto::Reactor::new()?;
    /// let task = reactor.handle().spawn(std::future::pending::<()>());
    /// task.abort();
    /// assert!(task.is_finished());
    /// assert!(matches!(reactor.block_on(task)?, Err(JoinError::Aborted)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn abort(&self) {
        if let Some(reactor) = self.reactor.upgrade() {
            reactor.tasks.abort(self.id);
        }
    }

    /// Whether the task has ended, one way or another.
    ///
    /// # Examples
    ///
    /// See [`abort`](JoinHandle::abort).
    #[must_use]
    pub fn is_finished(&self) -> bool {
        !matches!(self.cell.0.borrow().result, Progress::Running)
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Cloning and dropping a waker may run anything, so nothing is borrowed then.
        let waker = context.waker().clone();
        let mut state = self.cell.0.borrow_mut();
        match std::mem::replace(&mut state.result, Progress::Taken) {
            Progress::Ended(result) => Poll::Ready(result),
            Progress::Running => {
                state.result = Progress::Running;
                let replaced = state.waker.replace(waker);
                drop(state);
                drop(replaced);
                Poll::Pending
            }
            Progress::Taken => panic!("a JoinHandle was polled after it had returned the output"),
        }
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        // Nobody will ask for the output any more, nor for a panic.
        let mut state = self.cell.0.borrow_mut();
        state.detached = true;
        let waker = state.waker.take();
        let ended = std::mem::replace(&mut state.result, Progress::Taken);
        if matches!(ended, Progress::Running) {
            state.result = Progress::Running;
        }
        drop(state);
        drop(waker);
        report_if_panicked(ended);
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// Why a task has no output: the error of a [`JoinHandle`].
///
/// # Examples
///
/// See [`Panic`].
#[derive(Debug)]
#[non_exhaustive]
pub enum JoinError {
    /// The task panicked.
    Panicked(Panic),
    /// The task was aborted, or its reactor was dropped.
    Aborted,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Panicked(panic) => write!(f, "the task panicked: {}", panic.message()),
            JoinError::Aborted => f.write_str("the task was aborted"),
        }
    }
}

impl std::error::Error for JoinError {}

/// What a task panicked with.
///
/// # Examples
///
/// ```
/// use readinto::JoinError;
///
/// # fn main() -> std::io::Result<()> {
/// let mut reactor = readinto::Reactor::new()?;
/// let task = reactor.handle().spawn(async { panic!("no {}", "more") });
/// let Err(JoinError::Panicked(panic)) = reactor.block_on(task)? else {
///     unreachable!()
/// };
/// assert_eq!(panic.message(), "no more");
/// # Ok(())
/// # }
/// ```
pub struct Panic {
    message: String,
    // A payload can only be sent between threads, and errors are expected to
    // be shared as well. Nobody ever waits for this lock.
    payload: Mutex<Box<dyn Any + Send>>,
}

impl Panic {
    pub(crate) fn new(payload: Box<dyn Any + Send>) -> Panic {
        let message = if let Some(text) = payload.downcast_ref::<&str>() {
            (*text).to_owned()
        } else if let Some(text) = payload.downcast_ref::<String>() {
            text.clone()
        } else {
            "(a payload that is not text)".to_owned()
        };
        Panic {
            message,
            payload: Mutex::new(payload),
        }
    }

    /// The text of the panic, where it has one.
    ///
    /// # Examples
    ///
    /// See [`Panic`].
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The payload; [`std::panic::resume_unwind`] passes the panic on.
    #[must_use]
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.payload
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panic").field(&self.message).finish()
    }
}

pin_project! {
    /// A task's future, which leaves its output where the [`JoinHandle`] finds it.
    ///
    /// An `async` block would do, but it would keep room for the future twice:
    /// as what it captures, and as what it awaits.
    pub(crate) struct Reporting<F: Future> {
        #[pin]
        future: Option<F>,
        report: Rc<OutcomeCell<F::Output>>,
    }
}

impl<F: Future> Reporting<F> {
    pub(crate) fn new(future: F, report: Rc<OutcomeCell<F::Output>>) -> Reporting<F> {
        Reporting {
            future: Some(future),
            report,
        }
    }
}

impl<F: Future> Future for Reporting<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            return Poll::Ready(());
        };
        let output = ready!(future.poll(context));
        this.future.set(None);
        this.report.finished(output);
        Poll::Ready(())
    }
}

/// Where a task of any output type reports that it has none.
pub(crate) trait Outcome {
    fn panicked(&self, payload: Box<dyn Any + Send>);
    fn aborted(&self);
}

/// The place that a task and its [`JoinHandle`] share.
pub(crate) struct OutcomeCell<T>(RefCell<OutcomeState<T>>);

struct OutcomeState<T> {
    result: Progress<T>,
    waker: Option<Waker>,
    detached: bool,
}

enum Progress<T> {
    Running,
    Ended(Result<T, JoinError>),
    Taken,
}

impl<T> OutcomeCell<T> {
    pub(crate) fn new() -> OutcomeCell<T> {
        OutcomeCell(RefCell::new(OutcomeState {
            result: Progress::Running,
            waker: None,
            detached: false,
        }))
    }

    pub(crate) fn finished(&self, output: T) {
        self.end(Ok(output));
    }

    /// The first end counts: a task that is aborted after it has finished, or
    /// whose future panics while it is dropped, has still finished.
    fn end(&self, result: Result<T, JoinError>) {
        let mut state = self.0.borrow_mut();
        let late = !matches!(state.result, Progress::Running);
        let unheard = if late || state.detached {
            state.result = match std::mem::replace(&mut state.result, Progress::Taken) {
                Progress::Running => Progress::Taken,
                ended => ended,
            };
            Progress::Ended(result)
        } else {
            state.result = Progress::Ended(result);
            Progress::Taken
        };
        let waker = state.waker.take();
        drop(state);
        report_if_panicked(unheard);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Outcome for OutcomeCell<T> {
    fn panicked(&self, payload: Box<dyn Any + Send>) {
        self.end(Err(JoinError::Panicked(Panic::new(payload))));
    }

    fn aborted(&self) {
        self.end(Err(JoinError::Aborted));
    }
}

/// A panic that no [`JoinHandle`] will report must not pass in silence.
fn report_if_panicked<T>(unheard: Progress<T>) {
    if let Progress::Ended(Err(error @ JoinError::Panicked(_))) = unheard {
        log::error!("{error}");
    }
}
