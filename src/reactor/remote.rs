//! The one part of a reactor that other threads may hold.
//!
//! `tests/remote_model.rs` compiles this file once more, for a model checker.

use std::any::{Any, type_name};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;

use super::Handle;
use super::awake::AwakeFlag;
use super::queue::{Queue, Refused};
use super::stall::Origin;

/// Work for a reactor, from any thread.
///
/// Made by [`Handle::remote`]; cheap to clone. It does not keep the reactor
/// alive.
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let mut reactor = readinto::Reactor::new()?;
/// let remote = reactor.handle().remote();
/// let (sender, receiver) = crossbeam_channel::bounded(1);
/// let waiting = reactor.handle().spawn(std::future::pending::<()>());
///
/// let thread = std::thread::spawn(move || {
///     // The closure crosses over, then makes a future that never has to.
///     let spawned = remote.spawn(move |_handle| async move {
///         let here = std::rc::Rc::new(7);
///         sender.send(*here).unwrap();
///     });
///     spawned.expect("the reactor is there and has room");
/// });
/// while receiver.is_empty() {
///     reactor.turn(None)?;
/// }
/// assert_eq!(receiver.recv(), Ok(7));
/// # thread.join().unwrap();
/// # drop(waiting);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Remote {
    jobs: Arc<Queue<Box<dyn Job>>>,
    awake: Arc<AwakeFlag>,
}

impl Remote {
    /// Spawns on the reactor the task that `make` returns.
    ///
    /// `make` is called on the reactor's thread, within the new task, so that
    /// only the closure has to be [`Send`]. Closures sent by one thread are
    /// taken in their order. What the reactor has not taken by the time it is
    /// dropped is dropped with it.
    ///
    /// # Errors
    ///
    /// Both give `make` back: [`RemoteSpawnError::Full`] while the reactor has
    /// as many closures waiting as [`Builder::remote_capacity`] allows, and
    /// [`RemoteSpawnError::Gone`] once the reactor has been dropped.
    ///
    /// [`Builder::remote_capacity`]: super::Builder::remote_capacity
    ///
    /// # Examples
    ///
    /// See [`Remote`].
    #[track_caller]
    pub fn spawn<M, F>(&self, make: M) -> Result<(), RemoteSpawnError<M>>
    where
        M: FnOnce(Handle) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let origin = Origin {
            name: type_name::<F>,
            location: Location::caller(),
        };
        match self.jobs.push(Box::new(SpawnJob { make, origin })) {
            Ok(()) => {
                self.awake.notify();
                Ok(())
            }
            Err(Refused::Full(job)) => Err(RemoteSpawnError::Full(unbox(job))),
            Err(Refused::Closed(job)) => Err(RemoteSpawnError::Gone(unbox(job))),
        }
    }

    /// Ends the sleep of the turn that is under way, or else of the next one.
    ///
    /// A thread that waits in [`Reactor::turn`] returns from it. If the turn has slept
    /// already, it is that turn that was ended. If the reactor is gone, nothing happens.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let mut reactor = readinto::Reactor::new()?;
    /// let remote = reactor.handle().remote();
    /// let thread = std::thread::spawn(move || remote.wake());
    /// thread.join().unwrap();
    /// reactor.turn(None)?; // without the wake, this would wait for ever
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`Reactor::turn`]: super::Reactor::turn
    pub fn wake(&self) {
        self.awake.notify();
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("waiting", &self.jobs.len())
            .finish_non_exhaustive()
    }
}

/// Why [`Remote::spawn`] did not spawn, with the closure that it was given.
///
/// # Examples
///
/// See [`Remote`].
#[non_exhaustive]
pub enum RemoteSpawnError<M> {
    /// The reactor has not yet taken what was sent before: try again later.
    Full(M),
    /// The reactor has been dropped: it will never take anything again.
    Gone(M),
}

impl<M> RemoteSpawnError<M> {
    /// The closure that was not sent.
    pub fn into_inner(self) -> M {
        match self {
            RemoteSpawnError::Full(make) | RemoteSpawnError::Gone(make) => make,
        }
    }
}

impl<M> fmt::Display for RemoteSpawnError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RemoteSpawnError::Full(_) => "the reactor's queue for other threads is full",
            RemoteSpawnError::Gone(_) => "the reactor is gone",
        })
    }
}

impl<M> fmt::Debug for RemoteSpawnError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RemoteSpawnError::Full(_) => "Full(..)",
            RemoteSpawnError::Gone(_) => "Gone(..)",
        })
    }
}

impl<M> std::error::Error for RemoteSpawnError<M> {}

/// A closure that has lost its type, until it is run or given back.
pub(crate) trait Job: Any + Send {
    fn run(self: Box<Self>, handle: &Handle);
}

struct SpawnJob<M> {
    make: M,
    origin: Origin,
}

impl<M, F> Job for SpawnJob<M>
where
    M: FnOnce(Handle) -> F + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    fn run(self: Box<Self>, handle: &Handle) {
        let SpawnJob { make, origin } = *self;
        let inside = handle.clone();
        drop(handle.spawn_from(origin, async move { make(inside).await }));
    }
}

fn unbox<M: 'static>(job: Box<dyn Job>) -> M {
    let job: Box<dyn Any> = job;
    match job.downcast::<SpawnJob<M>>() {
        Ok(job) => job.make,
        Err(_) => unreachable!("a refused closure is the one that was sent"),
    }
}

/// The handle that other threads fill the queue with, and the reactor's end.
pub(crate) fn remote(awake: Arc<AwakeFlag>, capacity: usize) -> (Remote, Jobs) {
    let jobs = Arc::new(Queue::new(capacity));
    let remote = Remote {
        jobs: jobs.clone(),
        awake,
    };
    let taken = VecDeque::new();
    (remote, Jobs { jobs, taken })
}

/// The end of the queue that the reactor holds; dropping it drops what waits.
pub(crate) struct Jobs {
    jobs: Arc<Queue<Box<dyn Job>>>,
    /// Empty but while what is in it runs.
    taken: VecDeque<Box<dyn Job>>,
}

impl Jobs {
    /// Spawns what other threads have sent by now.
    pub(crate) fn run(&mut self, handle: &Handle) {
        self.jobs.take(&mut self.taken);
        self.taken.drain(..).for_each(|job| job.run(handle));
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        drop(self.jobs.close());
    }
}
