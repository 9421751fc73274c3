//! Settings of a reactor, and how one is put together.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mio::Events;

use super::awake::AwakeFlag;
use super::budget::Budget;
use super::spin::Spin;
use super::stall::StallWatch;
use super::stats::Counters;
use super::task::TaskTable;
use super::{EVENTS, Handle, Inner, Reactor, WAKE_TOKEN, ready, remote};
use crate::pool::{LEAST_BUDGET, Pool};

/// Settings of a [`Reactor`]; made by [`Reactor::builder`].
///
/// # Examples
///
/// See [`build`](Builder::build).
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder {
    remote_capacity: usize,
    busy_poll: Duration,
    memory_budget: Option<usize>,
    stall_threshold: Option<Duration>,
    shuffle: Option<u64>,
}

impl Builder {
    pub(super) fn new() -> Builder {
        Builder {
            remote_capacity: 1024,
            busy_poll: Duration::ZERO,
            memory_budget: None,
            stall_threshold: None,
            shuffle: None,
        }
    }

    /// How many closures [`Remote::spawn`](super::Remote::spawn) may have waiting at once, 1024 by
    /// default, and at least one. The queue keeps the room that it has once needed.
    ///
    /// # Examples
    ///
    /// See [`build`](Builder::build).
    pub fn remote_capacity(mut self, closures: usize) -> Builder {
        self.remote_capacity = closures.max(1);
        self
    }

    /// For how long to keep polling before going to sleep; not at all by
    /// default.
    ///
    /// A thread that sleeps in the kernel takes tens of microseconds to wake.
    /// With 50 µs here, say, a peer that answers within that time is answered
    /// without a sleep in between. It costs a whole core while traffic is that
    /// close, and next to nothing otherwise: waits that are longer shorten the
    /// polling, down to none, until traffic is close again.
    ///
    /// Deadlines are met to some microseconds rather than to a millisecond, as
    /// the last 2 ms before one are polled as well. TCP sockets also get this
    /// time as their `SO_BUSY_POLL`, where that is permitted: it has the kernel
    /// poll the network card.
    ///
    /// # Examples
    ///
    /// See [`build`](Builder::build).
    pub fn busy_poll(mut self, most: Duration) -> Builder {
        self.busy_poll = most;
        self
    }

    /// The most memory, in bytes, that the connections of this reactor may use
    /// for what they have received and not yet handed over, for answers that are
    /// gathered, and for what is [leased](super::Handle::lease); no bound by default.
    ///
    /// A [`FrameReader`](crate::FrameReader) that finds it spent waits its turn,
    /// in order of arrival. A frame of more than three quarters of it can never
    /// be read by [`next`](crate::FrameReader::next): that is an error. Buffers
    /// that the caller brings don't count, and never wait.
    ///
    /// A frame is counted with all of its length once 16 KiB of it have arrived (at
    /// once, if it has at most 64 KiB and a sixty-fourth of the budget; at its first byte,
    /// while all memory for short frames is lent) and until the next call of its reader,
    /// though memory is only taken as bytes come: so memory alone makes nobody wait in a
    /// circle. A program still can: a task that keeps a frame of one reader, or a lease,
    /// while it waits for another needs room for both, and two ends of a connection on one
    /// reactor share its budget. A future of `next` that waits, is kept and is not polled
    /// any more holds up those behind it.
    ///
    /// # Examples
    ///
    /// See [`build`](Builder::build).
    pub fn memory_budget(mut self, bytes: usize) -> Builder {
        self.memory_budget = Some(bytes);
        self
    }

    /// Times each poll of a task, and reports one that holds the loop for `threshold` or
    /// longer; not done by default, as it costs a look at the clock for each turn and one
    /// for each poll.
    ///
    /// While a task computes, nobody else on this reactor is served. The report goes to
    /// [`log::warn!`], once a second at most, and names the type of the task's future
    /// and where it was spawned; a thread that did not get its core for so long looks the
    /// same, on a busy machine; [`Stats::stalls`](super::Stats::stalls) counts them
    /// all. [`Handle::turn_lengths`] tells how long whole turns took.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::thread;
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut reactor = readinto::Reactor::builder()
    ///     .watch_stalls(Duration::from_millis(5))
    ///     .build()?;
    /// let handle = reactor.handle();
    /// let task = handle.spawn(async { thread::sleep(Duration::from_millis(10)) });
    /// reactor.block_on(task)?.unwrap();
    /// assert_eq!(handle.stats().stalls, 1);
    /// let turns = handle.turn_lengths().unwrap();
    /// println!("99 % within {:?}, the longest {:?}", turns.quantile(0.99), turns.longest());
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch_stalls(mut self, threshold: Duration) -> Builder {
        self.stall_threshold = Some(threshold);
        self
    }

    /// Runs tasks that are ready together in an order that `seed` decides.
    ///
    /// For tests: what holds in any order does not depend on ours.
    #[doc(hidden)]
    pub fn shuffle(mut self, seed: u64) -> Builder {
        self.shuffle = Some(seed);
        self
    }

    /// Makes the reactor.
    ///
    /// # Errors
    ///
    /// As [`Reactor::new`]; [`io::ErrorKind::InvalidInput`] for a memory budget
    /// below 128 KiB.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let reactor = readinto::Reactor::builder()
    ///     .busy_poll(Duration::from_micros(50))
    ///     .memory_budget(64 << 20)
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn build(self) -> io::Result<Reactor> {
        if let Some(budget) = self.memory_budget
            && budget < LEAST_BUDGET
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a memory budget of {budget} bytes, the least is {LEAST_BUDGET}"),
            ));
        }
        let poll = mio::Poll::new()?;
        let awake = Arc::new(AwakeFlag::new(poll.registry(), WAKE_TOKEN)?);
        let (remote, jobs) = remote::remote(awake.clone(), self.remote_capacity);
        let (ready_sender, ready) = ready::ready_queue(awake.clone());
        let inner = Inner {
            registry: poll.registry().try_clone()?,
            awake,
            ios: RefCell::default(),
            timers: RefCell::default(),
            tasks: TaskTable::new(ready_sender),
            ready,
            root_ready: Cell::new(false),
            budget: Budget::default(),
            spent: RefCell::default(),
            pool: Pool::new(self.memory_budget),
            busy_poll: self.busy_poll,
            remote,
            counters: Counters::default(),
            stall_watch: self.stall_threshold.map(StallWatch::new),
            closed: Cell::new(false),
        };
        if let Some(seed) = self.shuffle {
            inner.tasks.shuffle(seed);
        }
        Ok(Reactor {
            poll,
            events: Events::with_capacity(EVENTS),
            spin: Spin::new(self.busy_poll),
            jobs,
            handle: Handle {
                inner: Rc::new(inner),
            },
            root: None,
            turns: 0,
        })
    }
}
