//! Values between threads and tasks, both ways, over bounded queues.
//!
//! [`to_task`] has a thread send and a task receive, [`from_task`] the other way. What
//! a thread does blocks it while it has to wait; what a task does waits as any future
//! does, without polling. A side that is woken already is not woken again, however
//! many values come. Values that nobody has received are dropped with the
//! [`TaskReceiver`], or with the last of both ends at the latest.
//!
//! # Examples
//!
//! A thread that computes for the tasks of a reactor:
//!
//! ```
//! use std::thread;
//!
//! use readinto::{Reactor, channel};
//!
//! # fn main() -> std::io::Result<()> {
//! let (questions, asked) = channel::from_task::<u64>(16);
//! let (answers, mut answered) = channel::to_task::<u64>(16);
//! let thread = thread::spawn(move || {
//!     for question in asked {
//!         if answers.send(question * question).is_err() {
//!             return; // nobody wants to know any more
//!         }
//!     }
//! });
//!
//! let mut reactor = Reactor::new()?;
//! let answer = reactor.block_on(async {
//!     questions.send(12).await.expect("the thread is there");
//!     answered.recv().await
//! })?;
//! assert_eq!(answer, Some(144));
//! drop(questions);
//! thread.join().unwrap();
//! # Ok(())
//! # }
//! ```

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};

use crate::reactor::Elapsed;
use crate::wait_queue::WaitQueue;
use crate::waiting::Waiting;

/// A queue of at most `capacity` values, at least one, from any number of threads to
/// one task, with room for all of them from the beginning.
///
/// # Panics
///
/// If that room is larger than any memory can be, as for a capacity of `usize::MAX`.
///
/// # Examples
///
/// See the [module](self).
#[must_use]
pub fn to_task<T: Send>(capacity: usize) -> (ThreadSender<T>, TaskReceiver<T>) {
    let (sender, receiver) = bounded(capacity.max(1));
    let waiting = Arc::new(Waiting::default());
    let sender = ThreadSender {
        queue: Some(sender),
        receiver: waiting.clone(),
    };
    let receiver = TaskReceiver {
        queue: receiver,
        waiting,
    };
    (sender, receiver)
}

/// A queue of at most `capacity` values, at least one, from any number of tasks to any
/// number of threads, with room for all of them from the beginning.
///
/// # Panics
///
/// If that room is larger than any memory can be, as for a capacity of `usize::MAX`.
///
/// # Examples
///
/// See the [module](self).
#[must_use]
pub fn from_task<T: Send>(capacity: usize) -> (TaskSender<T>, ThreadReceiver<T>) {
    let (sender, receiver) = bounded(capacity.max(1));
    let waiting = Arc::new(WaitQueue::default());
    let sender = TaskSender {
        queue: sender,
        waiting: waiting.clone(),
    };
    let receiver = ThreadReceiver {
        queue: Some(Arc::new(receiver)),
        senders: waiting,
    };
    (sender, receiver)
}

/// The thread's end of [`to_task`]; clones send to the same task.
#[derive(Debug)]
pub struct ThreadSender<T> {
    /// `None` only while it is dropped.
    queue: Option<Sender<T>>,
    receiver: Arc<Waiting>,
}

impl<T> ThreadSender<T> {
    /// Sends `value`; blocks this thread while the queue is full.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] with the value, once the receiver is gone.
    ///
    /// # Examples
    ///
    /// See the [module](self).
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.queue()
            .send(value)
            .map_err(|error| SendError::Closed(error.0))?;
        self.receiver.wake();
        Ok(())
    }

    /// Sends `value` if there is room, without waiting.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] and [`SendError::Closed`], with the value.
    ///
    /// # Examples
    ///
    /// ```
    /// use readinto::channel::{SendError, to_task};
    ///
    /// let (sender, receiver) = to_task(1);
    /// assert_eq!(sender.try_send('a'), Ok(()));
    /// assert_eq!(sender.try_send('b'), Err(SendError::Full('b')));
    /// drop(receiver);
    /// assert_eq!(sender.try_send('c'), Err(SendError::Closed('c')));
    /// ```
    pub fn try_send(&self, value: T) -> Result<(), SendError<T>> {
        self.queue().try_send(value).map_err(SendError::new)?;
        self.receiver.wake();
        Ok(())
    }

    fn queue(&self) -> &Sender<T> {
        self.queue.as_ref().expect("it is there until the drop")
    }
}

impl<T> Clone for ThreadSender<T> {
    fn clone(&self) -> ThreadSender<T> {
        ThreadSender {
            queue: self.queue.clone(),
            receiver: self.receiver.clone(),
        }
    }
}

impl<T> Drop for ThreadSender<T> {
    fn drop(&mut self) {
        // First the queue, so that who is woken sees that it has ended.
        self.queue = None;
        self.receiver.wake();
    }
}

/// The task's end of [`to_task`].
#[derive(Debug)]
pub struct TaskReceiver<T> {
    queue: Receiver<T>,
    waiting: Arc<Waiting>,
}

impl<T> TaskReceiver<T> {
    /// The next value, or `None` once all senders are gone and all values taken.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no value.
    ///
    /// # Examples
    ///
    /// See the [module](self).
    pub async fn recv(&mut self) -> Option<T> {
        self.waiting.until(|| self.try_recv()).await
    }

    /// The next value, the end, or that there is nothing yet.
    fn try_recv(&self) -> Option<Option<T>> {
        match self.queue.try_recv() {
            Ok(value) => Some(Some(value)),
            Err(TryRecvError::Disconnected) => Some(None),
            Err(TryRecvError::Empty) => None,
        }
    }
}

impl<T> Drop for TaskReceiver<T> {
    fn drop(&mut self) {
        // The queue would keep them for as long as a sender lives. No more than there are
        // now: each that leaves may let in another.
        let count = self.queue.len();
        self.queue.try_iter().take(count).for_each(drop);
    }
}

/// The tasks' end of [`from_task`]; clones send to the same threads.
#[derive(Debug)]
pub struct TaskSender<T> {
    queue: Sender<T>,
    waiting: Arc<WaitQueue>,
}

impl<T> TaskSender<T> {
    /// Sends `value`, once there is room and those who have waited longer have sent
    /// theirs.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] with the value, once the receiver is gone.
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped before it resolves has sent nothing, and drops the
    /// value. One that waits, is kept and is not polled any more holds up those behind it.
    ///
    /// # Examples
    ///
    /// See the [module](self).
    pub async fn send(&self, value: T) -> Result<(), SendError<T>> {
        let mut value = Some(value);
        let attempt = || {
            let unsent = value.take().expect("polled after it has resolved");
            match self.try_send(unsent) {
                Err(SendError::Full(unsent)) => {
                    value = Some(unsent);
                    None
                }
                sent => Some(sent),
            }
        };
        let room = || room(self.queue.capacity(), self.queue.len());
        self.waiting.take(room, attempt).await
    }

    /// Sends `value` if there is room, without waiting, and without regard to those who
    /// wait.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] and [`SendError::Closed`], with the value.
    ///
    /// # Examples
    ///
    /// See [`ThreadSender::try_send`].
    pub fn try_send(&self, value: T) -> Result<(), SendError<T>> {
        self.queue.try_send(value).map_err(SendError::new)
    }
}

impl<T> Clone for TaskSender<T> {
    fn clone(&self) -> TaskSender<T> {
        TaskSender {
            queue: self.queue.clone(),
            waiting: self.waiting.clone(),
        }
    }
}

/// The threads' end of [`from_task`]; clones take from the same queue. It is an
/// iterator that ends once all senders are gone.
#[derive(Debug)]
pub struct ThreadReceiver<T> {
    /// `None` only while it is dropped.
    queue: Option<Arc<Receiver<T>>>,
    senders: Arc<WaitQueue>,
}

impl<T> ThreadReceiver<T> {
    /// The next value, or `None` once all senders are gone and all values taken; blocks
    /// this thread while there is none.
    ///
    /// # Examples
    ///
    /// See the [module](self).
    #[must_use]
    pub fn recv(&self) -> Option<T> {
        let value = self.queue().recv().ok();
        self.wake_senders();
        value
    }

    /// The next value, or `None` at the end as [`recv`](ThreadReceiver::recv); waits for
    /// it no longer than this.
    ///
    /// # Errors
    ///
    /// [`Elapsed`], if there was neither a value nor the end within this time.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (sender, receiver) = readinto::channel::from_task(1);
    /// sender.try_send(7).unwrap();
    /// assert_eq!(receiver.recv_timeout(Duration::ZERO), Ok(Some(7)));
    /// assert!(receiver.recv_timeout(Duration::ZERO).is_err());
    /// drop(sender);
    /// assert_eq!(receiver.recv_timeout(Duration::ZERO), Ok(None));
    /// ```
    pub fn recv_timeout(&self, within: Duration) -> Result<Option<T>, Elapsed> {
        let received = match self.queue().recv_timeout(within) {
            Ok(value) => Ok(Some(value)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(Elapsed { after: within }),
        };
        self.wake_senders();
        received
    }

    fn wake_senders(&self) {
        let queue = self.queue();
        self.senders.wake(|| room(queue.capacity(), queue.len()));
    }

    fn queue(&self) -> &Receiver<T> {
        self.queue.as_ref().expect("it is there until the drop")
    }
}

impl<T> Iterator for ThreadReceiver<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.recv()
    }
}

impl<T> Clone for ThreadReceiver<T> {
    fn clone(&self) -> ThreadReceiver<T> {
        ThreadReceiver {
            queue: self.queue.clone(),
            senders: self.senders.clone(),
        }
    }
}

impl<T> Drop for ThreadReceiver<T> {
    fn drop(&mut self) {
        // The last of all clones is given what they share.
        if let Some(queue) = self.queue.take().and_then(Arc::into_inner) {
            // First the queue, so that who is woken sees that it has ended.
            drop(queue);
            self.senders.close();
        }
    }
}

/// How many values fit into a queue that holds `len`.
fn room(capacity: Option<usize>, len: usize) -> usize {
    capacity.map_or(usize::MAX, |capacity| capacity - len)
}

/// A value that could not be sent.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError<T> {
    /// The queue is full.
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

impl<T> SendError<T> {
    fn new(error: TrySendError<T>) -> SendError<T> {
        match error {
            TrySendError::Full(value) => SendError::Full(value),
            TrySendError::Disconnected(value) => SendError::Closed(value),
        }
    }

    /// The value that was not sent.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = readinto::channel::to_task(1);
    /// drop(receiver);
    /// assert_eq!(sender.send(7).unwrap_err().into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            SendError::Full(value) | SendError::Closed(value) => value,
        }
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Full(_) => "the queue is full",
            SendError::Closed(_) => "the receiver is gone",
        })
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Full(_) => "Full(..)",
            SendError::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> Error for SendError<T> {}
