//! How many bytes a task may move before it lets others run.
//!
//! Counting operations, as other runtimes do, makes 128 reads of one byte cost
//! what 128 reads of 4 MB cost. Here the currency is bytes, and one system call
//! is never given more than the task may still spend: a `send` of a whole
//! 100 MB slice moves tens of megabytes in one call and holds the thread for
//! milliseconds.

use std::cell::Cell;

use super::task::TaskId;

/// What a task may move in one poll while other tasks are ready: about 50 µs
/// of copying on the machines of `docs/architecture.md`.
pub(crate) const SHARED_LIMIT: usize = 256 * 1024;

/// What a task may move in one poll while it is alone: no other task is ready,
/// and none has run for a while.
pub(crate) const ALONE_LIMIT: usize = 1024 * 1024;

/// The least that a system call costs, in bytes of copying: the call itself
/// takes as long as moving a few KiB, so that a flood of one-byte operations
/// also comes to its end.
const CALL_COST: usize = 4096;

/// For how many polls another task is remembered: some milliseconds of bulk.
///
/// A connection that asks every now and then is never ready while the chunk is
/// chosen that it will have to wait for.
const COMPANY: u32 = 128;

/// The running task's account.
#[derive(Debug)]
pub(crate) struct Budget {
    spent: Cell<usize>,
    /// Whose account it is.
    task: Cell<TaskId>,
    /// For how many more polls it does not count as alone.
    company: Cell<u32>,
}

impl Budget {
    pub(crate) fn new() -> Budget {
        Budget {
            spent: Cell::new(0),
            task: Cell::new(TaskId::NONE),
            company: Cell::new(0),
        }
    }

    /// `task` is about to be polled: it starts with nothing spent.
    pub(crate) fn begin(&self, task: TaskId) {
        self.reset();
        self.company.set(match self.task.replace(task) == task {
            true => self.company.get().saturating_sub(1),
            false => COMPANY,
        });
    }

    /// Somebody polls who is no task: nothing is spent.
    pub(crate) fn reset(&self) {
        self.spent.set(0);
    }

    /// Whether only one task has run for a while.
    pub(crate) fn is_alone(&self) -> bool {
        self.company.get() == 0
    }

    /// How many of the `wanted` bytes the next system call may be given.
    ///
    /// If that is less than all, it is a whole multiple of what `unit` returns,
    /// which may cost a system call and is asked only then. `None` means that
    /// the task must let others run first.
    pub(crate) fn grant(
        &self,
        wanted: usize,
        unit: impl FnOnce() -> usize,
        alone: bool,
    ) -> Option<usize> {
        let limit = if alone { ALONE_LIMIT } else { SHARED_LIMIT };
        let spent = self.spent.get();
        if spent >= limit {
            return None;
        }
        let left = limit - spent;
        if wanted <= left {
            return Some(wanted);
        }
        let unit = unit();
        match left / unit * unit {
            // A unit larger than the whole limit must still make progress.
            0 if spent == 0 => Some(unit.min(wanted)),
            0 => None,
            chunk => Some(chunk),
        }
    }

    /// A system call moved `bytes`.
    pub(crate) fn charge(&self, bytes: usize) {
        self.spent.set(self.spent.get() + bytes.max(CALL_COST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: usize = 65_483;

    #[test]
    fn a_chunk_is_the_largest_whole_multiple_of_the_unit() {
        let budget = Budget::new();
        assert_eq!(budget.grant(100_000_000, || MSS, false), Some(4 * MSS));
        assert_eq!(budget.grant(100_000_000, || MSS, true), Some(16 * MSS));
        assert_eq!(budget.grant(70_000, || unreachable!(), false), Some(70_000));
    }

    #[test]
    fn a_spent_budget_grants_nothing_until_the_next_poll() {
        let budget = Budget::new();
        budget.charge(4 * MSS);
        assert_eq!(budget.grant(100_000_000, || MSS, false), None);
        assert_eq!(budget.grant(100_000_000, || MSS, true), Some(12 * MSS));
        budget.reset();
        assert_eq!(budget.grant(100_000_000, || MSS, false), Some(4 * MSS));
    }

    #[test]
    fn one_byte_operations_come_to_an_end() {
        let budget = Budget::new();
        let mut calls = 0;
        while budget.grant(1, || 1, false).is_some() {
            budget.charge(1);
            calls += 1;
        }
        assert_eq!(calls, SHARED_LIMIT / CALL_COST);
    }

    #[test]
    fn a_unit_above_the_limit_still_makes_progress() {
        let budget = Budget::new();
        let unit = 2 * ALONE_LIMIT;
        assert_eq!(budget.grant(10 * ALONE_LIMIT, || unit, true), Some(unit));
    }

    #[test]
    fn a_task_is_alone_once_no_other_has_run_for_a_while() {
        let budget = Budget::new();
        let task = TaskId::of_slot;
        budget.begin(task(1));
        for _ in 0..COMPANY {
            assert!(!budget.is_alone());
            budget.begin(task(1));
        }
        assert!(budget.is_alone());
        budget.begin(task(2));
        budget.begin(task(1));
        assert!(!budget.is_alone());
    }
}
