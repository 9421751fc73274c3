//! Reused memory under one budget, for all connections of a reactor.
//!
//! It is lent in two kinds:
//!
//! - a **block** of [`BLOCK`] bytes, where small frames are read ahead and
//!   answers are gathered. A connection holds one only while bytes are in it;
//! - a **buffer** for one frame that is too long for a block, or for whatever the
//!   caller [leases](Lease).
//!
//! What comes back is kept and lent again, since fresh memory is what large
//! frames spend most of their time on (a fifth of it in the measurements of
//! `docs/architecture.md`). What nobody has needed for a while is freed.
//!
//! # Why nobody waits in a circle
//!
//! With a budget, a quarter of it is for blocks and the rest for buffers. Nobody
//! ever waits for a block: a reader that finds none reads just the prefix, then
//! takes a buffer for the frame; a writer sends without. For buffers there is one
//! queue, in order of arrival, and a frame is given room for all of its length at
//! once. So who holds a buffer waits for its peer, or for its own task, and never
//! for more memory.
//!
//! What lies idle counts as well. Who has room in the account, and finds too much idle,
//! frees that before it is lent anything, a part at a time.
//!
//! A length is only a claim: unless it is short, room is set aside for it once a
//! whole block of the frame has arrived, if there is a block to receive that, and
//! memory is taken as bytes come in.

mod account;
mod blocks;
mod buffer;
mod lease;
mod shelf;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use account::{Account, Place};
pub(crate) use blocks::Block;
use blocks::Blocks;
pub(crate) use buffer::Buffer;
pub use lease::Lease;
use shelf::Shelf;

/// The length of a block in bytes: small enough that what is copied out of it
/// when a large frame begins there is nothing beside that frame.
pub(crate) const BLOCK: usize = 16 * 1024;

/// The least budget that does: a quarter of it must hold two blocks.
pub(crate) const LEAST_BUDGET: usize = 8 * BLOCK;

/// The memory of one reactor's connections.
#[derive(Debug)]
pub(crate) struct Pool {
    budget: Option<usize>,
    blocks: Rc<Blocks>,
    buffers: Rc<Account>,
    idle_buffers: RefCell<Shelf>,
    last_sweep: Cell<Instant>,
    /// How much is freed at once for a buffer, in bytes.
    step: Cell<usize>,
}

impl Pool {
    /// A pool of `budget` bytes, or one without bounds.
    pub(crate) fn new(budget: Option<usize>) -> Rc<Pool> {
        let blocks = budget.map_or(usize::MAX, |budget| budget / 4 / BLOCK);
        let buffers = budget.map(|budget| budget - budget / 4);
        Rc::new(Pool {
            budget,
            blocks: Blocks::new(blocks),
            buffers: Account::new(buffers),
            idle_buffers: RefCell::default(),
            last_sweep: Cell::new(Instant::now()),
            step: Cell::new(STEP),
        })
    }

    /// Lends a block if there is one.
    pub(crate) fn try_block(&self) -> Option<Block> {
        self.blocks.try_lend()
    }

    /// Lends an empty buffer for a frame of `len` bytes, or waits for room.
    pub(crate) fn poll_buffer(
        self: &Rc<Self>,
        context: &Context<'_>,
        ticket: &mut Option<Ticket>,
        len: usize,
        fill: Fill,
    ) -> Poll<Buffer> {
        let mut buffer = match ticket.take() {
            // A future that was leaked may have left one for another frame.
            Some(Ticket::Granted(buffer)) if buffer.is_for(len) => buffer,
            waiting => {
                let mut place = waiting.and_then(Ticket::into_place);
                let taken = self.buffers.poll_take(len, context, &mut place);
                *ticket = place.map(Ticket::Queued);
                ready!(taken);
                Buffer::new(len, self.clone())
            }
        };
        let Ok(idle) = self.take_idle_for(len, fill) else {
            *ticket = Some(Ticket::Granted(buffer));
            context.waker().wake_by_ref();
            return Poll::Pending;
        };
        buffer.begin_in(idle.unwrap_or_default());
        Poll::Ready(buffer)
    }

    /// Idle memory for a buffer of `len` bytes, which is accounted for. With a budget, it
    /// is no longer than that, and what else lies idle is no more than the budget leaves.
    ///
    /// # Errors
    ///
    /// If something has to be freed for that: a part of it has been.
    fn take_idle_for(&self, len: usize, fill: Fill) -> Result<Option<Vec<u8>>, shelf::Crowded> {
        let least = fill.least(len);
        if self.budget.is_none() {
            let bytes = match fill {
                Fill::AsItArrives => buffer::deserved(len, 0),
                Fill::AtOnce => len,
            };
            return Ok(self.take_idle(bytes, least));
        }
        let mut idle = self.idle_buffers.borrow_mut();
        // What lies before a frame is not counted.
        let leads = idle.len() * buffer::LEAD;
        let room = self.buffers.limit() - self.buffers.used() + leads;
        idle.take_within(buffer::with_lead(len), least, room, self.step.get())
    }

    /// Idle memory for so many `bytes` of a frame, or about as many; in any case more than
    /// `least`.
    fn take_idle(&self, bytes: usize, least: usize) -> Option<Vec<u8>> {
        let wanted = buffer::with_lead(bytes);
        self.idle_buffers.borrow_mut().take(wanted, least)
    }

    fn keep_idle(&self, bytes: Vec<u8>) {
        if bytes.capacity() > 0 {
            self.idle_buffers.borrow_mut().put(bytes);
        }
    }

    /// The longest frame that can ever be lent a buffer.
    pub(crate) fn longest(&self) -> usize {
        self.buffers.limit()
    }

    /// Whether a frame of `len` bytes is so long that a block of it must have
    /// arrived before it is given room: or claims could take all there is.
    pub(crate) fn wants_proof(&self, len: usize) -> bool {
        self.budget
            .is_some_and(|budget| len > UNPROVEN.min(budget / 64))
    }

    /// Whether somebody waits for a buffer.
    pub(crate) fn is_short(&self) -> bool {
        self.buffers.is_short()
    }

    /// The reactor is going: who need not wait for others has nobody left to give way to.
    pub(crate) fn close(&self) {
        self.step.set(usize::MAX);
    }

    /// Wakes all who wait, to see that the reactor is gone.
    pub(crate) fn wake_all(&self) {
        self.buffers.wake_all();
    }

    /// How much is lent. A buffer counts with the length of its frame.
    pub(crate) fn lent_bytes(&self) -> usize {
        self.blocks.lent_bytes().saturating_add(self.buffers.used())
    }

    /// How much is kept for those to come.
    pub(crate) fn idle_bytes(&self) -> usize {
        self.shelves().map(|shelf| shelf.borrow().bytes()).sum()
    }

    /// How long a sleep may last so that the next sweep is not late by much.
    pub(crate) fn time_to_sweep(&self) -> Option<Duration> {
        if self.has_spare() {
            return Some(BETWEEN_STEPS);
        }
        (self.idle_bytes() > 0).then_some(SWEEP_EVERY)
    }

    /// Whether a sweep has left something to be freed.
    #[inline]
    pub(crate) fn has_spare(&self) -> bool {
        self.blocks.idle().borrow().has_spare() || self.idle_buffers.borrow().has_spare()
    }

    /// Frees what nobody has needed since the last sweep, if that is long ago, a part each
    /// time.
    pub(crate) fn sweep_if_due(&self, now: Instant) {
        if now.duration_since(self.last_sweep.get()) >= SWEEP_EVERY {
            self.last_sweep.set(now);
            self.shelves().for_each(|shelf| shelf.borrow_mut().sweep());
        }
        let mut left = STEP;
        for shelf in self.shelves() {
            left = left.saturating_sub(shelf.borrow_mut().free_spare(left));
        }
    }

    fn shelves(&self) -> impl Iterator<Item = &RefCell<Shelf>> {
        [self.blocks.idle(), &self.idle_buffers].into_iter()
    }
}

/// What somebody has who waits for a buffer. Dropping it gives that up.
#[derive(Debug)]
pub(crate) enum Ticket {
    /// A place in the queue.
    Queued(Place),
    /// Room in the account. Idle memory is in the way still, and goes a part at each poll.
    Granted(Buffer),
}

impl Ticket {
    /// Whether others have to give something back first.
    pub(crate) fn is_queued(&self) -> bool {
        matches!(self, Ticket::Queued(_))
    }

    fn into_place(self) -> Option<Place> {
        match self {
            Ticket::Queued(place) => Some(place),
            Ticket::Granted(_) => None,
        }
    }
}

/// How a buffer comes to be filled.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fill {
    /// By a peer, so it grows.
    AsItArrives,
    /// By the caller, who is lent all of it.
    AtOnce,
}

impl Fill {
    /// How many bytes of memory do not do for a buffer of `len`.
    fn least(self, len: usize) -> usize {
        match self {
            Fill::AsItArrives => 0,
            // What is too short stays for others.
            Fill::AtOnce => buffer::with_lead(len) - 1,
        }
    }
}

/// The longest frame, in bytes, that is given room by its prefix alone. The proof costs
/// a system call, and copies a block.
const UNPROVEN: usize = 4 * BLOCK;

/// How much is freed at once, in bytes: about 150 µs. Of a gigabyte, it takes the system
/// 70 ms to take it back.
const STEP: usize = 2 * 1024 * 1024;
const _: () = assert!(STEP.is_multiple_of(BLOCK), "a part of a block is none");

/// How long a sleep may last while some of that is still to be freed.
const BETWEEN_STEPS: Duration = Duration::from_millis(1);

/// How long memory may lie idle: about twice this. Long enough for the pause
/// between two frames, short enough that a burst is forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(2);
