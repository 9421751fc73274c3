//! Several reactors, each on a thread of its own.

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{self, Location};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Context;
use std::thread::{self, JoinHandle};

use crate::drain::Drain;
use crate::reactor::{Builder, Handle, Panic, Remote};
use crate::waiting::{Place, Waiting};

/// A service on several threads: one reactor, and one drain, for each.
///
/// They share nothing but what the caller gives them, and the threads that look up host
/// names. Connections are spread by
/// the kernel: see [`BoundListener::bind_many`](crate::BoundListener::bind_many).
///
/// Dropping it leaves the threads to themselves.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use readinto::{
///     BoundListener, DrainGuard, FrameReader, FrameWriter, Listener, Prefix, Reactor, Shard,
///     Shards, Stream,
/// };
///
/// /// Serves the connections of one thread, until the drain begins.
/// async fn serve(shard: Shard, listener: BoundListener) -> std::io::Result<()> {
///     let listener = listener.attach(&shard.handle)?;
///     let accepting = shard.handle.spawn(accept(shard.clone(), listener));
///     shard.drain.begun().await;
///     accepting.abort();
///     shard.drain.finished().await;
///     Ok(())
/// }
///
/// async fn accept(shard: Shard, listener: Listener) -> std::io::Result<()> {
///     loop {
///         let stream = listener.accept().await?;
///         let guard = shard.drain.enter(); // now, not when the task is first polled
///         shard.handle.spawn(echo(shard.clone(), stream, guard));
///     }
/// }
///
/// async fn echo(shard: Shard, stream: Stream, _guard: DrainGuard) -> std::io::Result<()> {
///     let (read, write) = stream.split();
///     let mut frames = FrameReader::new(read, Prefix::U32Be, 1 << 20).drain(&shard.drain);
///     let mut answers = FrameWriter::new(write, Prefix::U32Be);
///     while let Some(payload) = frames.next().await? {
///         answers.write(payload).await?;
///     }
///     if frames.is_drained() {
///         // The peer may be sending still, and not have read the last answers yet.
///         frames.linger(answers, Duration::from_secs(1)).await?;
///     }
///     Ok(())
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listeners = BoundListener::bind_many(&"127.0.0.1:0".parse()?, 2)?;
/// let address = listeners[0].local_address();
/// let shards = Shards::start(Reactor::builder(), listeners, serve)?;
///
/// let mut reactor = Reactor::new()?;
/// let handle = reactor.handle();
/// reactor.block_on(async {
///     let (read, write) = Stream::connect(&handle, &address).await?.split();
///     let mut answers = FrameReader::new(read, Prefix::U32Be, 1 << 20);
///     FrameWriter::new(write, Prefix::U32Be).write(b"whoever you are").await?;
///     assert_eq!(answers.next().await?, Some(&b"whoever you are"[..]));
///     # Ok::<(), Box<dyn std::error::Error>>(())
/// })??;
///
/// shards.drain();
/// for served in shards.join() {
///     served??;
/// }
/// # Ok(())
/// # }
/// ```
///
/// To pin each thread to a core, have the function that is given to
/// [`start`](Shards::start) do so before it returns its future: it is called on the
/// thread. The crate `core_affinity` knows how.
pub struct Shards<T> {
    shards: Vec<Running<T>>,
}

struct Running<T> {
    stop: Arc<Stop>,
    remote: Remote,
    thread: JoinHandle<io::Result<T>>,
}

/// What the thread of one reactor has: see [`Shards::start`].
///
/// # Examples
///
/// See [`Shards`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Shard {
    /// Which of them it is, from 0.
    pub index: usize,
    /// Its reactor.
    pub handle: Handle,
    /// Its drain, begun by [`Shards::drain`].
    pub drain: Drain,
}

impl<T: Send + 'static> Shards<T> {
    /// Starts a thread with a reactor for each of `seeds`, and on it the future that
    /// `main` makes of its [`Shard`] and its seed. A thread ends with its future;
    /// tasks that are left then are dropped.
    ///
    /// Each reactor has the settings of `builder`: a memory budget, say, is that of
    /// one of them.
    ///
    /// # Errors
    ///
    /// Those of starting a thread and of [`Builder::build`]. The threads that have
    /// started by then are told to drain.
    ///
    /// # Examples
    ///
    /// See [`Shards`].
    #[track_caller]
    pub fn start<S, M, F>(
        builder: Builder,
        seeds: impl IntoIterator<Item = S>,
        main: M,
    ) -> io::Result<Shards<T>>
    where
        S: Send + 'static,
        M: Fn(Shard, S) -> F + Send + Sync + 'static,
        F: Future<Output = T> + 'static,
    {
        let location = Location::caller();
        let main = Arc::new(main);
        let mut shards = Shards { shards: Vec::new() };
        for (index, seed) in seeds.into_iter().enumerate() {
            let (builder, main) = (builder.clone(), main.clone());
            let started = Running::start(index, builder, location, move |shard| main(shard, seed));
            match started {
                Ok(running) => shards.shards.push(running),
                Err(error) => {
                    shards.drain();
                    return Err(error);
                }
            }
        }
        Ok(shards)
    }

    /// The way to each of their reactors, in order.
    ///
    /// # Examples
    ///
    /// What all of them have done so far:
    ///
    /// ```
    /// use readinto::{Reactor, Shards, Stats};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let shards = Shards::start(Reactor::builder(), 0..2, |shard, _| async move {
    ///     shard.drain.begun().await;
    /// })?;
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// for remote in shards.remotes() {
    ///     let sender = sender.clone();
    ///     remote.spawn(move |handle| async move {
    ///         let _ = sender.send(handle.stats());
    ///     })?;
    /// }
    /// drop(sender);
    /// let all = receiver.iter().fold(Stats::default(), |all, stats| all.plus(&stats));
    /// assert_eq!(all.spawned, 2);
    /// # shards.drain();
    /// # shards.join();
    /// # Ok(())
    /// # }
    /// ```
    pub fn remotes(&self) -> impl Iterator<Item = &Remote> {
        self.shards.iter().map(|running| &running.remote)
    }

    /// Begins the [`Drain`] of each. It does not wait for them.
    ///
    /// # Examples
    ///
    /// See [`Shards`].
    pub fn drain(&self) {
        self.shards.iter().for_each(|running| running.stop.ask());
    }

    /// Waits until all have ended, and returns what their futures have returned, in
    /// order.
    ///
    /// # Errors
    ///
    /// In the place of each: [`ShardError::Panicked`] if its future panicked, and
    /// [`ShardError::Io`] for an error of the kernel's poll. Neither ends the others.
    ///
    /// # Examples
    ///
    /// See [`Shards`].
    pub fn join(self) -> Vec<Result<T, ShardError>> {
        let threads = self.shards.into_iter().map(|running| running.thread);
        let joined = threads.map(|thread| match thread.join() {
            Ok(ended) => ended.map_err(|source| ShardError::Io { source }),
            Err(payload) => Err(ShardError::Panicked(Panic::new(payload))),
        });
        joined.collect()
    }
}

impl<T: Send + 'static> Running<T> {
    /// Returns once the reactor is there, or can't be.
    fn start<F: Future<Output = T>>(
        index: usize,
        builder: Builder,
        location: &'static Location<'static>,
        main: impl FnOnce(Shard) -> F + Send + 'static,
    ) -> io::Result<Running<T>> {
        let stop = Arc::new(Stop::default());
        let asked = stop.clone();
        let (built, is_built) = mpsc::sync_channel(1);
        let name = format!("shard-{index}");
        let thread = thread::Builder::new().name(name).spawn(move || {
            let mut reactor = builder.build()?;
            // Nobody listens any more only if the caller's thread has gone.
            let _ = built.send(reactor.handle().remote());
            let shard = Shard {
                index,
                handle: reactor.handle(),
                drain: Drain::new(),
            };
            let drain = shard.drain.clone();
            let mut main = pin!(main(shard));
            let mut place = asked.waiting.place();
            let driven = poll_fn(|context| {
                if !drain.has_begun() && asked.is_asked(&mut place, context) {
                    drain.begin();
                }
                main.as_mut().poll(context)
            });
            reactor.block_on_as::<F, _>(location, driven)
        })?;
        match is_built.recv() {
            Ok(remote) => Ok(Running {
                stop,
                remote,
                thread,
            }),
            Err(_) => match thread.join() {
                Ok(ended) => Err(ended.err().expect("no reactor, so no output")),
                Err(payload) => panic::resume_unwind(payload),
            },
        }
    }
}

impl<T> fmt::Debug for Shards<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shards")
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}

/// Why a thread has no output: the error of [`Shards::join`].
///
/// # Examples
///
/// ```
/// use readinto::{Reactor, ShardError, Shards};
///
/// # fn main() -> std::io::Result<()> {
/// let shards = Shards::start(Reactor::builder(), 0..2, |_, seed| async move {
///     assert_eq!(seed, 0, "no more than one");
/// })?;
/// let ended = shards.join();
/// assert!(ended[0].is_ok());
/// let Err(ShardError::Panicked(panic)) = &ended[1] else {
///     unreachable!()
/// };
/// assert!(panic.message().contains("no more than one"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ShardError {
    /// The future panicked, or the function that was to make it.
    Panicked(Panic),
    /// An error of the kernel's poll, as in
    /// [`Reactor::block_on`](crate::Reactor::block_on).
    #[non_exhaustive]
    Io {
        /// What the kernel said.
        source: io::Error,
    },
}

impl fmt::Display for ShardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShardError::Panicked(panic) => write!(f, "a shard panicked: {}", panic.message()),
            ShardError::Io { source } => source.fmt(f),
        }
    }
}

impl Error for ShardError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ShardError::Panicked(_) => None,
            ShardError::Io { source } => Some(source),
        }
    }
}

/// The word to stop, from any thread to one.
#[derive(Debug, Default)]
struct Stop {
    asked: AtomicBool,
    waiting: Waiting,
}

impl Stop {
    fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.waiting.wake();
    }

    /// Whether it was given; if not, who polls is woken once it is.
    fn is_asked(&self, place: &mut Place<'_>, context: &Context<'_>) -> bool {
        let is_asked = || self.asked.load(Ordering::Acquire);
        is_asked() || {
            place.register(context.waker());
            is_asked()
        }
    }
}
