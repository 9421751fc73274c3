//! Reused memory under one budget, for all connections of a reactor.
//!
//! It is lent in two kinds:
//!
//! - a **block** of [`BLOCK`] bytes, where small frames are read ahead and
//!   answers are gathered. A connection holds one only while bytes are in it;
//! - a **buffer** for one frame that is too long for a block.
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
//! A length is only a claim: if it is a large part of the budget, room is set
//! aside for it once a whole block of the frame has arrived, and memory is taken
//! as bytes come in.

mod account;
mod buffer;
mod shelf;

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use account::Account;
pub(crate) use account::Ticket;
pub(crate) use buffer::Buffer;
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
    blocks: Rc<Account>,
    buffers: Rc<Account>,
    idle_blocks: RefCell<Shelf>,
    idle_buffers: RefCell<Shelf>,
    /// What has come back, to look at the clock every now and then.
    returns: Cell<u32>,
    /// When to free what was not needed; `None` while nothing is idle.
    sweep_at: Cell<Option<Instant>>,
}

impl Pool {
    /// A pool of `budget` bytes, or one without bounds.
    pub(crate) fn new(budget: Option<usize>) -> Rc<Pool> {
        let blocks = budget.map(|budget| budget / 4);
        let buffers = budget.map(|budget| budget - budget / 4);
        Rc::new(Pool {
            budget,
            blocks: Account::new(blocks),
            buffers: Account::new(buffers),
            idle_blocks: RefCell::default(),
            idle_buffers: RefCell::default(),
            returns: Cell::new(0),
            sweep_at: Cell::new(None),
        })
    }

    /// Lends a block if there is one.
    pub(crate) fn try_block(self: &Rc<Self>) -> Option<Block> {
        self.blocks.try_take(BLOCK).then(|| self.lend_block())
    }

    fn lend_block(self: &Rc<Self>) -> Block {
        let bytes = self.idle_blocks.borrow_mut().pop();
        let bytes = bytes.unwrap_or_else(|| {
            self.make_room_for(BLOCK);
            vec![0; BLOCK]
        });
        Block {
            bytes,
            pool: self.clone(),
        }
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
        let idle = self.idle_buffers.borrow_mut().take(len);
        let mut bytes = idle.unwrap_or_default();
        if self.budget.is_some() && bytes.capacity() > len {
            // What is accounted for is the frame's length, so be that true.
            bytes.truncate(len);
            bytes.shrink_to(len);
        }
        Buffer::new(bytes, len, self.clone())
    }

    /// The longest frame that can ever be lent a buffer.
    pub(crate) fn longest(&self) -> usize {
        self.buffers.limit().unwrap_or(usize::MAX)
    }

    /// Whether a frame of `len` bytes is so long that a block of it must have
    /// arrived before it is given room: a few claims could take all there is.
    pub(crate) fn wants_proof(&self, len: usize) -> bool {
        self.budget.is_some_and(|budget| len > budget / 64)
    }

    /// Wakes all who wait, to see that the reactor is gone.
    pub(crate) fn wake_all(&self) {
        self.buffers.wake_all();
    }

    /// How long a sleep may last so that the next sweep is not late by much.
    pub(crate) fn time_to_sweep(&self) -> Option<Duration> {
        self.sweep_at.get().map(|_| SWEEP_EVERY)
    }

    /// Frees what nobody has needed since the last sweep, if that is long ago.
    pub(crate) fn sweep_if_due(&self) {
        let Some(due) = self.sweep_at.get() else {
            return;
        };
        let now = Instant::now();
        if now < due {
            return;
        }
        let blocks = self.idle_blocks.borrow_mut().sweep();
        let buffers = self.idle_buffers.borrow_mut().sweep();
        let any = blocks || buffers;
        self.sweep_at.set(any.then(|| now + SWEEP_EVERY));
    }

    /// Keeps the sum of what is lent and what is idle within the budget.
    ///
    /// `bytes` are accounted for, and are about to be taken from the system.
    fn make_room_for(&self, bytes: usize) {
        let Some(budget) = self.budget else {
            return;
        };
        let mut blocks = self.idle_blocks.borrow_mut();
        let mut buffers = self.idle_buffers.borrow_mut();
        let lent = self.blocks.used() + self.buffers.used();
        debug_assert!(bytes <= lent, "taken before it was accounted for");
        while lent + blocks.bytes() + buffers.bytes() > budget
            && (buffers.free_one() || blocks.free_one())
        {}
    }

    fn put_back(&self, shelf: &RefCell<Shelf>, bytes: Vec<u8>) {
        shelf.borrow_mut().put(bytes);
        if self.sweep_at.get().is_none() {
            self.sweep_at.set(Some(Instant::now() + SWEEP_EVERY));
        }
        // A reactor that is never idle has no other occasion.
        let returns = self.returns.get().wrapping_add(1);
        self.returns.set(returns);
        if returns.is_multiple_of(BETWEEN_LOOKS) {
            self.sweep_if_due();
        }
    }
}

/// How long memory may lie idle: about twice this. Long enough for the pause
/// between two frames, short enough that a burst is forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(2);

/// How much comes back between two looks at the clock.
const BETWEEN_LOOKS: u32 = 256;

/// A block on loan; it goes back when it is dropped.
#[derive(Debug)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    pool: Rc<Pool>,
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.pool.put_back(&self.pool.idle_blocks, bytes);
        self.pool.blocks.give_back(BLOCK);
    }
}
