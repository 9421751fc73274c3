//! How many bytes a task may move before it lets others run.
//!
//! Counting operations, as other runtimes do, makes 128 reads of one byte cost
//! what 128 reads of 4 MB cost. Here the currency is bytes, and one system call
//! is never given more than the task may still spend: a `send` of a whole
//! 100 MB slice moves tens of megabytes in one call and holds the thread for
//! milliseconds. A short message is the exception, while nobody else waits: see
//! [`WHOLE`].

use std::cell::Cell;

use super::run_queue::Flow;

/// What a task may move in one poll: about 50 µs of copying on the machines of
/// `docs/architecture.md`. More of a long message did not measure better, also with one
/// task only.
pub(crate) const LIMIT: usize = 256 * 1024;

/// What a task may move in a poll that others wait for before it counts as bulk: some calls
/// and some tens of KiB, as an answer takes. Half of it served others no better.
pub(crate) const SPARSE: usize = LIMIT / 4;

/// What bulk tasks may move in a turn while sparse ones move less. A quarter of it cost a
/// tenth of the throughput of 100 connections (`docs/benchmarks.md`, "Sparse before bulk").
pub(crate) const SHARE: usize = 4 * LIMIT;

/// The longest message, in bytes, that a call is given whole while no other task is
/// ready. Sent in pieces, it has its receiver sleep and be woken several times, and where
/// a core is slow to wake, that takes longer than copying it all (`docs/benchmarks.md`,
/// "Chunks and buffers").
pub(crate) const WHOLE: usize = 1024 * 1024;

/// The least that a system call costs, in bytes of copying: the call itself
/// takes as long as moving a few KiB, so that a flood of one-byte operations
/// also comes to its end.
const CALL_COST: usize = 4096;

/// What it costs to hand over bytes that were read ahead, on top of what the call
/// that brought them was charged for them. A read of one byte, and what the caller does
/// with it, take longer than copying that byte.
const READ_AHEAD_COST: usize = 64;

/// How much an operation would have its next system call move.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish {
    /// So many bytes, or a part of them.
    UpTo(usize),
    /// So many bytes, at most [`WHOLE`], whatever is left of the budget.
    AllOf(usize),
}

/// The running task's account.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: Cell<usize>,
    spent: Cell<usize>,
    /// What of that went to calls that move nothing.
    operations: Cell<usize>,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            limit: Cell::new(LIMIT),
            spent: Cell::default(),
            operations: Cell::default(),
        }
    }
}

impl Budget {
    /// A task is about to be polled: it starts with nothing spent.
    pub(crate) fn reset(&self) {
        self.renew(LIMIT);
    }

    /// The same for one that may spend `limit`.
    pub(crate) fn renew(&self, limit: usize) {
        self.limit.set(limit);
        self.spent.set(0);
        self.operations.set(0);
    }

    /// What has been spent since.
    pub(crate) fn spent(&self) -> usize {
        self.spent.get()
    }

    /// What the task is that has spent that on moving bytes. If it would have moved more,
    /// it is bulk.
    pub(crate) fn flow(&self) -> Flow {
        match self.spent.get() - self.operations.get() < SPARSE {
            true => Flow::Sparse,
            false => Flow::Bulk,
        }
    }

    /// How many bytes the next system call may be given.
    ///
    /// If that is a part of them, it is a whole multiple of what `unit` returns,
    /// which may cost a system call and is asked only then. `None` means that
    /// the task must let others run first.
    pub(crate) fn grant(&self, wish: Wish, unit: impl FnOnce() -> usize) -> Option<usize> {
        let (limit, spent) = (self.limit.get(), self.spent.get());
        let left = limit.checked_sub(spent).filter(|&left| left > 0)?;
        let wanted = match wish {
            Wish::AllOf(wanted) => return Some(wanted),
            Wish::UpTo(wanted) => wanted,
        };
        if wanted <= left {
            return Some(wanted);
        }
        let unit = unit();
        match left / unit * unit {
            // A unit larger than the whole limit must still make progress; and a small
            // limit is no reason to be polled twice for one unit.
            0 if spent == 0 || limit < LIMIT => Some(unit.min(wanted)),
            0 => None,
            chunk => Some(chunk),
        }
    }

    /// A system call moved `bytes`.
    pub(crate) fn charge(&self, bytes: usize) {
        self.spent.set(self.spent.get() + bytes.max(CALL_COST));
    }

    /// A system call moved nothing, as one that accepts.
    ///
    /// It is a newcomer's small question: no flood of them makes a listener bulk.
    pub(crate) fn charge_operation(&self) {
        self.charge(1);
        self.operations.set(self.operations.get() + CALL_COST);
    }

    /// A read was served from what had been read ahead; or a frame has ended, since
    /// most are.
    ///
    /// That never waits for its turn, but the next system call does.
    pub(crate) fn charge_read_ahead(&self) {
        self.spent.set(self.spent.get() + READ_AHEAD_COST);
    }
}

#[cfg(test)]
mod tests {
    use super::Wish::{AllOf, UpTo};
    use super::*;

    const MSS: usize = 65_483;

    #[test]
    fn a_chunk_is_the_largest_whole_multiple_of_the_unit() {
        let budget = Budget::default();
        assert_eq!(budget.grant(UpTo(100_000_000), || MSS), Some(4 * MSS));
        assert_eq!(budget.grant(UpTo(70_000), || unreachable!()), Some(70_000));
        budget.charge(MSS);
        assert_eq!(budget.grant(UpTo(100_000_000), || MSS), Some(3 * MSS));
    }

    #[test]
    fn a_spent_budget_grants_nothing_until_the_next_poll() {
        let budget = Budget::default();
        budget.charge(4 * MSS);
        assert_eq!(budget.grant(UpTo(100_000_000), || MSS), None);
        budget.reset();
        assert_eq!(budget.grant(UpTo(100_000_000), || MSS), Some(4 * MSS));
    }

    #[test]
    fn what_is_to_go_whole_may_exceed_what_is_left_once() {
        let budget = Budget::default();
        budget.charge(LIMIT - 1);
        assert_eq!(budget.grant(AllOf(WHOLE), || unreachable!()), Some(WHOLE));
        budget.charge(WHOLE);
        assert_eq!(budget.grant(AllOf(1), || unreachable!()), None);
    }

    #[test]
    fn one_byte_operations_come_to_an_end() {
        let budget = Budget::default();
        let mut calls = 0;
        while budget.grant(UpTo(1), || 1).is_some() {
            budget.charge(1);
            calls += 1;
        }
        assert_eq!(calls, LIMIT / CALL_COST);
    }

    #[test]
    fn a_unit_above_the_limit_still_makes_progress() {
        let budget = Budget::default();
        let unit = 2 * LIMIT;
        assert_eq!(budget.grant(UpTo(10 * LIMIT), || unit), Some(unit));
    }

    #[test]
    fn a_small_limit_is_exceeded_by_one_unit_at_most() {
        let budget = Budget::default();
        budget.renew(SPARSE);
        budget.charge(1);
        assert_eq!(budget.grant(UpTo(100_000_000), || MSS), Some(MSS));
        budget.charge(MSS);
        assert_eq!(budget.grant(UpTo(1), || 1), None);
    }

    #[test]
    fn who_has_moved_much_or_wanted_to_is_bulk() {
        let budget = Budget::default();
        budget.charge(SPARSE - 1);
        assert_eq!(budget.flow(), Flow::Sparse);
        budget.charge(1);
        assert_eq!(budget.flow(), Flow::Bulk);
        budget.renew(SPARSE);
        while budget.grant(UpTo(1), || 1).is_some() {
            budget.charge_operation();
        }
        assert_eq!((budget.spent(), budget.flow()), (SPARSE, Flow::Sparse));
        for limit in [SPARSE, LIMIT] {
            budget.renew(limit);
            assert_eq!((budget.spent(), budget.flow()), (0, Flow::Sparse));
            while budget.grant(UpTo(LIMIT), || MSS).is_some() {
                budget.charge(1);
            }
            assert_eq!(budget.flow(), Flow::Bulk);
        }
    }
}
