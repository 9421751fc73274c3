//! Blocks, all of one length: those that are lent, and those that lie idle.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use super::BLOCK;

/// Lends blocks, the one that came back last first: it is still in the cache.
#[derive(Debug)]
pub(super) struct Blocks {
    /// How many may be lent at once.
    limit: usize,
    lent: Cell<usize>,
    idle: RefCell<Vec<Box<[u8]>>>,
    /// The fewest that were idle at any time since the last sweep: so many at
    /// the bottom were not needed.
    spare: Cell<usize>,
}

impl Blocks {
    pub(super) fn new(limit: usize) -> Rc<Blocks> {
        Rc::new(Blocks {
            limit,
            lent: Cell::new(0),
            idle: RefCell::default(),
            spare: Cell::new(0),
        })
    }

    /// Lends a block, unless as many are lent as may be. `make_room` is called
    /// first if it has to come from the system; it is accounted for by then.
    pub(super) fn try_lend(self: &Rc<Self>, make_room: impl FnOnce()) -> Option<Block> {
        let lent = self.lent.get();
        if lent == self.limit {
            return None;
        }
        self.lent.set(lent + 1);
        let mut idle = self.idle.borrow_mut();
        let bytes = idle.pop();
        self.spare.set(self.spare.get().min(idle.len()));
        drop(idle);
        let bytes = bytes.unwrap_or_else(|| {
            make_room();
            vec![0; BLOCK].into()
        });
        Some(Block {
            bytes,
            blocks: self.clone(),
        })
    }

    /// How many bytes are lent.
    pub(super) fn lent_bytes(&self) -> usize {
        self.lent.get() * BLOCK
    }

    /// How many bytes lie idle.
    pub(super) fn idle_bytes(&self) -> usize {
        self.idle.borrow().len() * BLOCK
    }

    /// Frees one that is idle, if there is any.
    pub(super) fn free_one(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        let freed = idle.pop();
        self.spare.set(self.spare.get().min(idle.len()));
        freed.is_some()
    }

    /// Frees those that were idle ever since the last sweep.
    pub(super) fn sweep(&self) {
        let mut idle = self.idle.borrow_mut();
        idle.drain(..self.spare.get());
        self.spare.set(idle.len());
    }
}

/// A block on loan; it goes back when it is dropped.
#[derive(Debug)]
pub(crate) struct Block {
    bytes: Box<[u8]>,
    blocks: Rc<Blocks>,
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
        let Blocks { idle, lent, .. } = &*self.blocks;
        idle.borrow_mut().push(std::mem::take(&mut self.bytes));
        lent.set(lent.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(blocks: &Rc<Blocks>, count: usize) -> Vec<Block> {
        (0..count)
            .map(|_| blocks.try_lend(|| {}).unwrap())
            .collect()
    }

    #[test]
    fn a_sweep_frees_what_was_not_needed_since_the_last() {
        let blocks = Blocks::new(usize::MAX);
        drop(take(&blocks, 4));
        blocks.sweep();
        assert_eq!(blocks.idle_bytes(), 4 * BLOCK, "they have only just come");
        // Two at once are needed, again and again.
        for _ in 0..3 {
            drop(take(&blocks, 2));
        }
        blocks.sweep();
        assert_eq!(blocks.idle_bytes(), 2 * BLOCK);
        blocks.sweep();
        assert_eq!(blocks.idle_bytes(), 0);
    }

    #[test]
    fn no_more_are_lent_than_may_be() {
        let blocks = Blocks::new(2);
        let lent = take(&blocks, 2);
        assert!(blocks.try_lend(|| {}).is_none());
        assert_eq!(blocks.lent_bytes(), 2 * BLOCK);
        drop(lent);
        assert!(blocks.try_lend(|| {}).is_some());
    }
}
