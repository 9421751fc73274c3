//! A small single-threaded async runtime for moving bytes in bulk and answering
//! fast.
//!
//! # Two verbs
//!
//! A [`Stream`] moves data by [`read_exact_into`](Stream::read_exact_into) and
//! [`write_all`](Stream::write_all), and by nothing else. The caller says how
//! many bytes it wants and where they go, so nothing in between has to hold
//! them: no buffered reader, no chunk that is handed over and then copied to
//! where it belongs. [`split`](Stream::split) gives a half to each of two tasks.
//! Where messages are small, [`read_ahead`](Stream::read_ahead) has a burst of them
//! cost one system call; the verbs stay what they are.
//!
//! [`FrameReader`] and [`FrameWriter`] put messages on top, each behind its
//! length ([`Prefix`]).
//!
//! # The reactor
//!
//! A [`Reactor`] runs tasks on the thread that made it. Tasks are plain futures
//! and need not be [`Send`]; they get a [`Handle`] to spawn others, to sleep and
//! to open sockets. Nothing is hidden in thread-local state, so there is no
//! "must be called from within a runtime". Several reactors, on one thread or
//! many, don't know of each other; only the 64 threads that look up host names are for
//! all of them. Other threads reach a reactor through a
//! [`Remote`], and send values both ways over a [`channel`]. [`Shards`] has one for
//! each of several threads.
//!
//! # What waiting is
//!
//! A socket is registered with the kernel once, and the kernel says when it *becomes*
//! readable or writable (edge-triggered). An operation does not wait for that: it tries
//! its system call at once, and only if the kernel has nothing for it does the task
//! sleep. From this follows most of what a program sees:
//!
//! - A future that is not polled moves nothing. No byte is read or sent behind your back,
//!   so what is in memory is what you have asked for.
//! - An `await` that need not wait does not give way to other tasks; the budget of bytes
//!   ([below](#fairness)) does. In a loop over something else,
//!   [`sleep`](Handle::sleep)`(Duration::ZERO)` does.
//! - A peer that is slow costs its task's memory and nothing else; nobody polls it.
//!
//! # Cancellation
//!
//! A future can be dropped at any time: by [`Handle::timeout`], by
//! [`JoinHandle::abort`], by a `select` of another crate. A read or a write that
//! has moved some of its bytes by then can't be taken back, and what follows on
//! that stream would be garbage. So it *poisons* its direction: the next
//! operation there fails with [`StreamError::Poisoned`], which says how many
//! bytes of how many had moved. A [`FrameReader`] keeps its place in itself; its
//! futures can be dropped and called again with nothing lost.
//!
//! # Fairness
//!
//! The unit is the byte. In one poll a task may move 256 KiB, and no system call
//! is given more than that; then the kernel is asked who else is ready, and the
//! task goes to the back of the queue. Tasks that move little, up to 64 KiB in a poll,
//! come before those that move much: a small question does not wait for a thousand
//! connections that have a megabyte each to move. Before the kernel is asked again, these
//! move 1 MiB together, or as much as the others if that is more, and have at least as
//! long. While no other task is ready, it may send one
//! message of up to 1 MiB (with its prefix, if it is a frame) on top of that at once,
//! over TCP. Futures that are joined in one task share what it may move, and the first
//! that is polled has it first: two directions that may both be busy are two tasks.
//! A computation without an `await` holds the thread, as in any runtime of this
//! kind.
//!
//! # Memory
//!
//! Nothing is allocated per frame once the reactor is warm, that is, as long as
//! frames like it keep coming (what has not been used for seconds is freed), and unless it
//! has to wait for memory together with a dozen others.
//! Writes borrow the caller's slices until the kernel has taken them. A
//! [`FrameReader`] has a required maximum; its memory is lent by the reactor, and
//! grows only as bytes arrive, whatever length the peer announces. A connection
//! that is idle holds none. Messages of another shape than a frame's get theirs by
//! [`Handle::lease`]. [`Builder::memory_budget`] bounds what all connections hold
//! together; who finds it spent waits.
//!
//! | a connection holds | for as long as |
//! |---|---|
//! | 1 KiB or so, and its task | it is open |
//! | 16 KiB to read | a frame has begun, or has been read ahead |
//! | its length, for a frame above 16 KiB | from its beginning to the next call of its reader |
//! | 16 KiB to write | frames are [fed](FrameWriter::feed) and not flushed |
//! | the kernel's buffers, which no budget here counts | bytes are in them |
//!
//! The kernel's are its own affair across a network. On the same host the receiving one
//! is fixed at 2 MiB where `net.core.rmem_max` grants at least one, and the sending one of
//! a Unix socket at 1 MiB or what `net.core.wmem_max` grants, for speed;
//! [`Stream::socket`] sets them otherwise.
//!
//! # Latency
//!
//! An answer leaves at once (`TCP_NODELAY`). Where a thread that has to be woken
//! is too slow, [`Builder::busy_poll`] has the reactor look again for a while
//! before it sleeps.
//!
//! # An orderly end
//!
//! A [`Drain`] tells connections to finish, and waits until they have: a
//! [`FrameReader`] that follows one returns the frames that have arrived, and then
//! the end.
//!
//! # Seeing inside
//!
//! [`Handle::stats`] counts what a reactor has done: turns, system calls in vain,
//! bytes and frames, memory. [`Builder::watch_stalls`] names the tasks that hold it up.
//! That, a panic that no [`JoinHandle`] reports, and want of descriptors go to the
//! [`log`](https://docs.rs/log) crate: install a logger to see them.
//!
//! # Which of it you need
//!
//! | for | there is |
//! |---|---|
//! | messages behind their length | [`FrameReader::next`], [`FrameWriter::write`] |
//! | payloads in a place of your own | [`FrameReader::next_len`], [`read_payload_into`](FrameReader::read_payload_into) |
//! | many small answers at once | [`FrameWriter::feed`], [`flush`](FrameWriter::flush) |
//! | messages of another shape | the two verbs, [`Stream::read_ahead`], [`Handle::lease`] |
//! | peers that may be slow, or worse | [`idle_timeout`](FrameReader::idle_timeout), [`frame_timeout`](FrameReader::frame_timeout), [`stall_timeout`](FrameWriter::stall_timeout) |
//! | a bound on memory | [`Builder::memory_budget`], with [`shortage_timeout`](FrameReader::shortage_timeout) |
//! | an answer within microseconds, for a core | [`Builder::busy_poll`] |
//! | more than one core | [`Shards`] |
//! | work from other threads, and for them | [`Remote`], [`channel`] |
//! | an event loop that is there already | [`Reactor::turn`], `Reactor: AsFd` |
//! | an end that loses nothing | [`Drain`] |
//!
//! # Example
//!
//! ```
//! use readinto::{FrameReader, FrameWriter, Listener, Prefix, Reactor, Stream};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut reactor = Reactor::new()?;
//! let handle = reactor.handle();
//! let listener = Listener::bind(&handle, &"127.0.0.1:0".parse()?)?;
//! let address = listener.local_address();
//!
//! handle.spawn(async move {
//!     let (read, write) = listener.accept().await?.split();
//!     let mut frames = FrameReader::new(read, Prefix::U32Be, 1 << 20);
//!     let mut answers = FrameWriter::new(write, Prefix::U32Be);
//!     while let Some(payload) = frames.next().await? {
//!         answers.write(payload).await?;
//!     }
//!     Ok::<(), std::io::Error>(())
//! });
//!
//! reactor.block_on(async {
//!     let (read, write) = Stream::connect(&handle, &address).await?.split();
//!     let mut answers = FrameReader::new(read, Prefix::U32Be, 1 << 20);
//!     FrameWriter::new(write, Prefix::U32Be).write(b"hello").await?;
//!     assert_eq!(answers.next().await?, Some(&b"hello"[..]));
//!     # Ok::<(), Box<dyn std::error::Error>>(())
//! })??;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod channel;
#[cfg(test)]
mod count_wakes;
mod drain;
mod frame;
mod pool;
mod reactor;
mod shards;
mod stream;
mod wait_queue;
mod waiting;

// What a file that a model checker compiles takes its tools from.
mod mutex {
    pub(crate) use std::sync::{Mutex, MutexGuard};
}

pub use drain::{Drain, DrainGuard};
pub use frame::{FrameError, FrameReader, FrameWriter, Prefix, PrefixError, TimeLimit, WriteFrame};
pub use pool::Lease;
pub use reactor::{
    Builder, Elapsed, Handle, JoinError, JoinHandle, Panic, Reactor, Remote, RemoteSpawnError,
    Sleep, Stats, Turn, TurnLengths,
};
pub use shards::{Shard, ShardError, Shards};
pub use stream::{
    Address, AddressError, BoundListener, Buffers, Listener, ReadExactInto, ReadHalf, Stream,
    StreamError, WriteAll, WriteHalf,
};

/// Compiles the examples of the README as doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// As those of the page for people who come from elsewhere.
#[cfg(doctest)]
#[doc = include_str!("../docs/coming-from.md")]
struct ComingFrom;

/// As those of the page about protocols.
#[cfg(doctest)]
#[doc = include_str!("../docs/protocols.md")]
struct Protocols;
