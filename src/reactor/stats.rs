//! What a reactor has done so far, in plain counters: an increment each.

use std::cell::Cell;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(Cell<u64>);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.set(self.0.get() + more);
    }
}

macro_rules! stats {
    (
        counters { $( $(#[$counter_doc:meta])* $counter:ident, )* }
        gauges { $( $(#[$gauge_doc:meta])* $gauge:ident, )* }
    ) => {
        /// Counts of what a reactor has done since it was made, and of what it holds
        /// now.
        ///
        /// A copy, made by [`Handle::stats`](super::Handle::stats). To see what happens
        /// in a second, take two and look at the [difference](Stats::since).
        ///
        /// # Examples
        ///
        /// ```
        /// # fn main() -> std::io::Result<()> {
        /// let mut reactor = readinto::Reactor::new()?;
        /// let handle = reactor.handle();
        /// let before = handle.stats();
        /// reactor.block_on(handle.spawn(async {}))?.unwrap();
        /// let stats = handle.stats().since(&before);
        /// assert_eq!((stats.spawned, stats.polls), (1, 1));
        /// for (name, value) in stats.counters().chain(stats.gauges()) {
        ///     println!("{name}: {value}");
        /// }
        /// # Ok(())
        /// # }
        /// ```
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $( $(#[$counter_doc])* pub $counter: u64, )*
            $( $(#[$gauge_doc])* pub $gauge: u64, )*
        }

        /// Where they are counted.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $( pub(crate) $counter: Counter, )*
        }

        impl Counters {
            /// The counts so far, without what is held now.
            pub(super) fn so_far(&self) -> Stats {
                Stats {
                    $( $counter: self.$counter.0.get(), )*
                    ..Stats::default()
                }
            }
        }

        impl Stats {
            /// How much the counters have grown since `earlier`; 0 if that is the later
            /// one. What is held now is that of `self`.
            ///
            /// # Examples
            ///
            /// See [`Stats`].
            #[must_use]
            pub fn since(&self, earlier: &Stats) -> Stats {
                Stats {
                    $( $counter: self.$counter.saturating_sub(earlier.$counter), )*
                    ..*self
                }
            }

            /// The sum of both, for several reactors.
            ///
            /// # Examples
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// let reactors = [readinto::Reactor::new()?, readinto::Reactor::new()?];
            /// let stats = reactors.iter().map(|reactor| reactor.handle().stats());
            /// let sum = stats.reduce(|one, other| one.plus(&other)).unwrap();
            /// assert_eq!(sum.turns, 0);
            /// # Ok(())
            /// # }
            /// ```
            #[must_use]
            pub fn plus(&self, other: &Stats) -> Stats {
                Stats {
                    $( $counter: self.$counter + other.$counter, )*
                    $( $gauge: self.$gauge.saturating_add(other.$gauge), )*
                }
            }

            /// The counters with their names, for a report in whatever format.
            ///
            /// # Examples
            ///
            /// See [`Stats`].
            pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$( (stringify!($counter), self.$counter), )*].into_iter()
            }

            /// What is held now, with its names; it may fall as well as rise.
            ///
            /// # Examples
            ///
            /// See [`Stats`].
            pub fn gauges(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$( (stringify!($gauge), self.$gauge), )*].into_iter()
            }
        }
    };
}

stats! {
    counters {
        /// Turns of the loop.
        turns,
        /// Turns that slept in the kernel, for a socket, a deadline or another thread.
        sleeps,
        /// Looks at the kernel, in busy polling, that found nothing.
        spins,
        /// Events of sockets that the kernel reported.
        events,
        /// Turns in which a waker, or another thread, had something to say.
        wake_ups,
        /// Tasks that were spawned.
        spawned,
        /// Polls of tasks.
        polls,
        /// System calls of sockets that would have blocked: with each, a task found that
        /// it has to wait, or was woken in vain.
        would_block,
        /// Times that a task had moved its share of bytes, and went to the back of the
        /// queue.
        budget_yields,
        /// Bytes that were received.
        bytes_in,
        /// Bytes that the kernel took.
        bytes_out,
        /// Frames that were read to their end.
        frames_in,
        /// Frames that were sent, or gathered to be sent.
        frames_out,
        /// Connections that were accepted.
        accepted,
        /// Connections that died while they waited to be accepted.
        accepts_skipped,
        /// Times that accepting had to wait, for the process was out of descriptors or
        /// memory.
        accepts_delayed,
        /// Directions of streams that an operation which stopped half-way has poisoned.
        poisoned,
        /// Frames and leases that had to wait for memory, under the budget.
        memory_waits,
        /// Polls of tasks that held the loop for longer than they may: see
        /// [`Builder::watch_stalls`](super::Builder::watch_stalls).
        stalls,
    }
    gauges {
        /// Tasks now.
        tasks,
        /// Sockets now, those that listen included.
        sockets,
        /// Bytes of memory that are lent to connections now. A long frame counts with all of
        /// its length, of which only what has arrived is really taken.
        memory_lent,
        /// Bytes of memory that are kept for those to come.
        memory_idle,
    }
}
