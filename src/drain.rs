//! An orderly end: finish what has begun, and begin nothing more.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::waiting::Places;

/// Tells the connections of a service to finish, and waits until they have.
///
/// - Each connection [enters](Drain::enter), and is counted until it leaves.
/// - [`begin`](Drain::begin) says that the end has come. A
///   [`FrameReader`](crate::FrameReader) that was
///   [told of it](crate::FrameReader::drain) still returns the frames that had
///   arrived by then, also the one that had only begun to, and what lies behind it in
///   the socket when it has come; then it ends as if the peer had ended the stream. So a
///   loop over frames need not know of it.
/// - [`finished`](Drain::finished) waits for the last to leave. How long it may
///   take is up to who waits: [`Handle::timeout`](crate::Handle::timeout).
///
/// Clones are the same drain. It needs no signals, nor a reactor, and stays on its
/// thread: a service on several has one for each, as [`Shards`](crate::Shards) do. From
/// another thread, or on a signal, a task begins it that waits for the
/// [word](crate::channel::to_task):
///
/// ```
/// use std::thread;
///
/// use readinto::{Drain, Handle, channel};
/// use signal_hook::consts::{SIGINT, SIGTERM};
/// use signal_hook::iterator::Signals;
///
/// fn drain_on_a_signal(handle: &Handle, drain: &Drain) -> std::io::Result<()> {
///     let mut signals = Signals::new([SIGINT, SIGTERM])?;
///     let (sender, mut signal) = channel::to_task(1);
///     thread::spawn(move || signals.forever().next().map(|signal| sender.send(signal)));
///     let drain = drain.clone();
///     handle.spawn(async move {
///         signal.recv().await;
///         drain.begin();
///     });
///     Ok(())
/// }
/// ```
///
/// # Examples
///
/// An echo service that ends without losing an answer:
///
/// ```
/// use std::io;
/// use std::time::Duration;
///
/// use readinto::{Drain, DrainGuard, FrameReader, FrameWriter, Handle, Listener, Prefix};
/// use readinto::{Reactor, Stream};
///
/// async fn serve(handle: Handle, listener: Listener, drain: Drain) -> io::Result<()> {
///     loop {
///         let stream = listener.accept().await?;
///         let guard = drain.enter(); // now, not when the task is first polled
///         handle.spawn(connection(stream, drain.clone(), guard));
///     }
/// }
///
/// async fn connection(stream: Stream, drain: Drain, _guard: DrainGuard) -> io::Result<()> {
///     let (read, write) = stream.split();
///     let mut frames = FrameReader::new(read, Prefix::U32Be, 1 << 20).drain(&drain);
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
/// let mut reactor = Reactor::new()?;
/// let handle = reactor.handle();
/// let listener = Listener::bind(&handle, &"127.0.0.1:0".parse()?)?;
/// let address = listener.local_address();
/// let drain = Drain::new();
/// let accepting = handle.spawn(serve(handle.clone(), listener, drain.clone()));
///
/// reactor.block_on(async {
///     let (read, write) = Stream::connect(&handle, &address).await?.split();
///     let mut answers = FrameReader::new(read, Prefix::U32Be, 1 << 20);
///     FrameWriter::new(write, Prefix::U32Be).write(b"in flight").await?;
///     while drain.active() == 0 {
///         handle.sleep(Duration::ZERO).await;
///     }
///
///     accepting.abort(); // closes the listener
///     drain.begin();
///     assert_eq!(answers.next().await?, Some(&b"in flight"[..]));
///     assert_eq!(answers.next().await?, None);
///     drop(answers);
///     handle.timeout(Duration::from_secs(10), drain.finished()).await?;
///     # Ok::<(), Box<dyn std::error::Error>>(())
/// })??;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Drain {
    state: Rc<State>,
}

#[derive(Debug, Default)]
struct State {
    begun: Cell<bool>,
    active: Cell<usize>,
    settled: Cell<usize>,
    /// Who waits for the beginning.
    to_begin: Rc<Waiters>,
    /// Who waits for others to leave.
    to_leave: Rc<Waiters>,
}

impl Drain {
    /// One that has not begun, and that nobody has entered.
    #[must_use]
    pub fn new() -> Drain {
        Drain::default()
    }

    /// Counts one more connection, until the guard is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// let drain = readinto::Drain::new();
    /// let guard = drain.enter();
    /// assert_eq!(drain.active(), 1);
    /// drop(guard);
    /// assert_eq!(drain.active(), 0);
    /// ```
    pub fn enter(&self) -> DrainGuard {
        self.state.active.set(self.state.active.get() + 1);
        DrainGuard {
            drain: self.clone(),
            settled: Cell::new(false),
        }
    }

    /// Tells all to finish. To begin again changes nothing.
    ///
    /// # Examples
    ///
    /// See [`Drain`].
    pub fn begin(&self) {
        self.state.begun.set(true);
        self.state.to_begin.wake_all();
    }

    /// Whether all are to finish.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.state.begun.get()
    }

    /// Waits until all are to finish.
    ///
    /// # Cancel safety
    ///
    /// It can be dropped and asked again.
    ///
    /// # Examples
    ///
    /// For work that is not a loop over frames, in a `select`:
    ///
    /// ```
    /// use std::pin::pin;
    ///
    /// use futures_util::future::{Either, select};
    /// use readinto::{Drain, Listener, Stream};
    ///
    /// async fn accept(listener: &Listener, drain: &Drain) -> std::io::Result<Option<Stream>> {
    ///     match select(pin!(listener.accept()), pin!(drain.begun())).await {
    ///         Either::Left((stream, _)) => stream.map(Some),
    ///         Either::Right(((), _)) => Ok(None),
    ///     }
    /// }
    /// ```
    pub async fn begun(&self) {
        wait_until(&self.state.to_begin, || self.has_begun()).await;
    }

    /// How many have entered and not left.
    #[must_use]
    pub fn active(&self) -> usize {
        self.state.active.get()
    }

    /// How many of them would lose something if they were cut now: those that
    /// have not [settled](DrainGuard::settle).
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.state.active.get() - self.state.settled.get()
    }

    /// Waits until fewer than `count` are active: room for one more, say, where
    /// no more than `count` are served at once.
    ///
    /// It sets nothing aside: several that wait may all go on when one has left. Whoever
    /// [enters](Drain::enter) before it awaits anything else is one of at most `count`. So
    /// where several accept, each waits again after `accept`.
    ///
    /// # Cancel safety
    ///
    /// It can be dropped and asked again.
    ///
    /// # Examples
    ///
    /// ```
    /// use readinto::{Drain, Listener, Stream};
    ///
    /// async fn accept(listener: &Listener, drain: &Drain) -> std::io::Result<Stream> {
    ///     drain.fewer_than(1000).await;
    ///     listener.accept().await
    /// }
    /// ```
    pub async fn fewer_than(&self, count: usize) {
        wait_until(&self.state.to_leave, || self.active() < count).await;
    }

    /// Waits until all have left.
    ///
    /// # Cancel safety
    ///
    /// It can be dropped and asked again.
    ///
    /// # Examples
    ///
    /// See [`Drain`].
    pub async fn finished(&self) {
        self.fewer_than(1).await;
    }

    /// A place for somebody who waits for the beginning by polling.
    pub(crate) fn waiter(&self) -> Waiter {
        Waiter::new(&self.state.to_begin)
    }
}

/// One that has [entered](Drain::enter), until this is dropped.
#[derive(Debug)]
#[must_use = "the connection counts only until the guard is dropped"]
pub struct DrainGuard {
    drain: Drain,
    settled: Cell<bool>,
}

impl DrainGuard {
    /// From now on nothing is lost if this one is cut: all is answered, and it
    /// only waits for its peer to go. It is counted as active still.
    ///
    /// # Examples
    ///
    /// ```
    /// let drain = readinto::Drain::new();
    /// let guard = drain.enter();
    /// assert_eq!(drain.unsettled(), 1);
    /// guard.settle();
    /// assert_eq!((drain.unsettled(), drain.active()), (0, 1));
    /// ```
    pub fn settle(&self) {
        if !self.settled.replace(true) {
            let settled = &self.drain.state.settled;
            settled.set(settled.get() + 1);
        }
    }
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        let state = &self.drain.state;
        state.active.set(state.active.get() - 1);
        if self.settled.get() {
            state.settled.set(state.settled.get() - 1);
        }
        state.to_leave.wake_all();
    }
}

async fn wait_until(waiters: &Rc<Waiters>, reached: impl Fn() -> bool) {
    let mut waiter = Waiter::new(waiters);
    poll_fn(|context| {
        if reached() {
            return Poll::Ready(());
        }
        waiter.wait(context.waker());
        Poll::Pending
    })
    .await;
}

/// Who is to be woken by the next change, each in a place of its own.
#[derive(Debug, Default)]
struct Waiters(RefCell<Places>);

impl Waiters {
    fn wake_all(&self) {
        // A waker that is not ours may run anything, so nothing is borrowed then.
        let wakers = self.0.borrow_mut().take_all();
        wakers.for_each(Waker::wake);
    }
}

/// A place among those who wait; dropping it gives it up.
#[derive(Debug)]
pub(crate) struct Waiter {
    waiters: Rc<Waiters>,
    place: Option<u64>,
}

impl Waiter {
    fn new(waiters: &Rc<Waiters>) -> Waiter {
        Waiter {
            waiters: waiters.clone(),
            place: None,
        }
    }

    /// Has `waker` woken by the next change, in place of the last one.
    pub(crate) fn wait(&mut self, waker: &Waker) {
        if let Some(place) = self.place
            && self.waiters.0.borrow().has(place, waker)
        {
            return;
        }
        // Cloned and dropped while nothing is borrowed, as above.
        let waker = waker.clone();
        let (place, replaced) = self.waiters.0.borrow_mut().keep(self.place, waker);
        self.place = Some(place);
        drop(replaced);
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let left = self
            .place
            .map(|place| self.waiters.0.borrow_mut().leave(place));
        drop(left);
    }
}
