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
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use account::Account;
pub(crate) use account::Ticket;
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
        })
    }

    /// Lends a block if there is one.
    pub(crate) fn try_block(&self) -> Option<Block> {
        self.blocks.try_lend(|| self.make_room_for(BLOCK))
    }

    /// Lends an empty buffer for a frame of `len` bytes, or waits for room.
    pub(crate) fn poll_buffer(
        self: &Rc<Self>,
        context: &Context<'_>,
        ticket: &mut Option<Ticket>,
        len: usize,
    ) -> Poll<Buffer> {
        self.buffers
            .poll_take(len, context, ticket)
            .map(|()| self.lend_buffer(len))
    }

    fn lend_buffer(self: &Rc<Self>, len: usize) -> Buffer {
        let deserved = match self.budget {
            Some(_) => len,
            None => buffer::deserved(len, 0),
        };
        let bytes = self.take_idle(deserved, 0, len);
        Buffer::new(bytes.unwrap_or_default(), len, self.clone())
    }

    /// Idle memory for so many `bytes` of a frame of `len`, or about as many; in any case
    /// more than `least`.
    fn take_idle(&self, bytes: usize, least: usize, len: usize) -> Option<Vec<u8>> {
        let wanted = buffer::with_lead(bytes);
        let mut idle = self.idle_buffers.borrow_mut().take(wanted, least)?;
        let whole = buffer::with_lead(len);
        if self.budget.is_some() && idle.capacity() > whole {
            // What is accounted for is the frame's length, so be that true.
            idle.truncate(whole);
            idle.shrink_to(whole);
        }
        Some(idle)
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
        self.blocks.idle_bytes() + self.idle_buffers.borrow().bytes()
    }

    /// How long a sleep may last so that the next sweep is not late by much.
    pub(crate) fn time_to_sweep(&self) -> Option<Duration> {
        if self.has_spare() {
            return Some(BETWEEN_STEPS);
        }
        (self.idle_bytes() > 0).then_some(SWEEP_EVERY)
    }

    /// Whether a sweep has left something to be freed.
    pub(crate) fn has_spare(&self) -> bool {
        self.idle_buffers.borrow().has_spare()
    }

    /// Frees what nobody has needed since the last sweep, if that is long ago; of buffers, a
    /// part each time.
    pub(crate) fn sweep_if_due(&self, now: Instant) {
        let mut buffers = self.idle_buffers.borrow_mut();
        if now.duration_since(self.last_sweep.get()) >= SWEEP_EVERY {
            self.last_sweep.set(now);
            self.blocks.sweep();
            buffers.sweep();
        }
        buffers.free_spare();
    }

    /// Keeps the sum of what is lent and what is idle within the budget.
    ///
    /// `bytes` are accounted for, and are about to be taken from the system.
    fn make_room_for(&self, bytes: usize) {
        let Some(budget) = self.budget else {
            return;
        };
        let mut buffers = self.idle_buffers.borrow_mut();
        let lent = self.lent_bytes();
        debug_assert!(bytes <= lent, "taken before it was accounted for");
        while lent + self.blocks.idle_bytes() + buffers.bytes() > budget
            && (buffers.free_one() || self.blocks.free_one())
        {}
    }
}

/// The longest frame, in bytes, that is given room by its prefix alone. The proof costs
/// a system call, and copies a block.
const UNPROVEN: usize = 4 * BLOCK;

/// How long a sleep may last while some of that is still to be freed.
const BETWEEN_STEPS: Duration = Duration::from_millis(1);

/// How long memory may lie idle: about twice this. Long enough for the pause
/// between two frames, short enough that a burst is forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(2);
