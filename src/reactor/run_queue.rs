//! Which of the tasks that are ready runs next.
//!
//! Those that move little come first. A task whose last poll moved much waits in a
//! queue of its own, of which a turn takes only a part, so that a question of a few
//! bytes is answered in the next turn also when a thousand connections have a
//! megabyte each to move. These are the sparse flows of FQ-CoDel (RFC 8290, section
//! 4.2), with tasks for flows: one that becomes ready counts as sparse and has a small
//! budget; once it has spent that, it is bulk.
//!
//! Neither starves the other: a turn polls each sparse task once, and then bulk tasks
//! until they have moved as much, or [`SHARE`](super::budget::SHARE) if that is more, and
//! have taken as long.

use std::collections::VecDeque;

use super::ready::TaskId;

/// What a task's last poll tells of its next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flow {
    /// It moved little, or there was none.
    #[default]
    Sparse,
    /// It moved [`SPARSE`](super::budget::SPARSE) bytes or more.
    Bulk,
}

/// The tasks that are ready, each flow's in the order in which they became so.
#[derive(Debug, Default)]
pub(super) struct RunQueue {
    sparse: VecDeque<TaskId>,
    bulk: VecDeque<TaskId>,
    /// Tests have tasks run in an order that nobody could count on.
    shuffle: Option<u64>,
}

impl RunQueue {
    /// Has tasks that are ready together run in an order that `seed` decides.
    pub(super) fn shuffle(&mut self, seed: u64) {
        // Zero would stay zero.
        self.shuffle = Some(seed | 1);
    }

    #[inline]
    pub(super) fn push(&mut self, id: TaskId, flow: Flow) {
        self.queue(flow).push_back(id);
    }

    /// Takes the next one; of the first `candidates` of them, if the order is shuffled.
    #[inline]
    pub(super) fn pop(&mut self, flow: Flow, candidates: usize) -> Option<TaskId> {
        if let Some(state) = self.shuffle.as_mut() {
            *state = xorshift(*state);
            let choice = *state % candidates.max(1) as u64;
            let queue = self.queue(flow);
            if choice < queue.len() as u64 {
                queue.swap(0, choice as usize);
            }
        }
        self.queue(flow).pop_front()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.sparse.len() + self.bulk.len()
    }

    #[inline]
    pub(super) fn len_of(&self, flow: Flow) -> usize {
        match flow {
            Flow::Sparse => self.sparse.len(),
            Flow::Bulk => self.bulk.len(),
        }
    }

    #[inline]
    fn queue(&mut self, flow: Flow) -> &mut VecDeque<TaskId> {
        match flow {
            Flow::Sparse => &mut self.sparse,
            Flow::Bulk => &mut self.bulk,
        }
    }
}

/// Marsaglia's generator of 64 bits, with the shifts 13, 7 and 17 (Journal of
/// Statistical Software 8, 2003).
fn xorshift(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    state
}
