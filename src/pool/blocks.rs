//! Blocks, all of one length: those that are lent, and those that lie idle.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use super::BLOCK;
use super::shelf::Shelf;

/// Lends blocks, the one that came back last first: it is still in the cache.
#[derive(Debug)]
pub(super) struct Blocks {
    /// How many may be lent at once.
    limit: usize,
    lent: Cell<usize>,
    idle: RefCell<Shelf>,
}

impl Blocks {
    pub(super) fn new(limit: usize) -> Rc<Blocks> {
        Rc::new(Blocks {
            limit,
            lent: Cell::new(0),
            idle: RefCell::default(),
        })
    }

    /// Lends a block, unless as many are lent as may be.
    pub(super) fn try_lend(self: &Rc<Self>) -> Option<Block> {
        let lent = self.lent.get();
        if lent == self.limit {
            return None;
        }
        self.lent.set(lent + 1);
        let bytes = self.idle.borrow_mut().take_last();
        Some(Block {
            bytes: bytes.unwrap_or_else(|| vec![0; BLOCK]),
            blocks: self.clone(),
        })
    }

    /// How many bytes are lent.
    pub(super) fn lent_bytes(&self) -> usize {
        self.lent.get() * BLOCK
    }

    /// Those that lie idle.
    pub(super) fn idle(&self) -> &RefCell<Shelf> {
        &self.idle
    }
}

/// A block on loan; it goes back when it is dropped.
#[derive(Debug)]
pub(crate) struct Block {
    bytes: Vec<u8>,
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
        idle.borrow_mut().put(std::mem::take(&mut self.bytes));
        lent.set(lent.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_came_back_is_lent_first() {
        let blocks = Blocks::new(usize::MAX);
        let [first, mut last] = [(); 2].map(|()| blocks.try_lend().unwrap());
        last[0] = 1;
        drop(first);
        drop(last);
        assert_eq!(blocks.try_lend().unwrap()[0], 1);
    }

    #[test]
    fn no_more_are_lent_than_may_be() {
        let blocks = Blocks::new(2);
        let lent = [(); 2].map(|()| blocks.try_lend().unwrap());
        assert!(blocks.try_lend().is_none());
        assert_eq!(blocks.lent_bytes(), 2 * BLOCK);
        drop(lent);
        assert!(blocks.try_lend().is_some());
    }
}
