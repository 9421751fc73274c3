//! The three states, without the eventfd.
//!
//! `tests/awake_model.rs` and `tests/remote_model.rs` compile this file once more,
//! with the atomics of a model checker.

use super::atomic::{AtomicU8, Ordering::AcqRel, Ordering::Acquire};

/// Parked in `poll`, or about to be: the next notification must write.
const IDLE: u8 = 0;
/// Running, and nothing new since work was last taken.
const AWAKE: u8 = 1;
/// Running or on its way back, with new work pending: nothing to write.
const NOTIFIED: u8 = 2;

#[derive(Debug)]
pub(crate) struct State(AtomicU8);

impl State {
    /// As if there were work already.
    pub(crate) fn notified() -> State {
        State(AtomicU8::new(NOTIFIED))
    }

    /// Announces new work; tells whether the loop sleeps and has to be woken.
    ///
    /// Call it after the work is where the loop will find it.
    #[must_use]
    pub(crate) fn notify(&self) -> bool {
        self.0.swap(NOTIFIED, AcqRel) == IDLE
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.0.load(Acquire) == IDLE
    }

    /// Enters the state, or stays in it, in which a notification wakes.
    ///
    /// Returns `false` if work was announced since it was last taken; the
    /// loop must then not sleep.
    #[must_use]
    pub(crate) fn try_idle(&self) -> bool {
        match self.0.compare_exchange(AWAKE, IDLE, AcqRel, Acquire) {
            Ok(_) => true,
            Err(state) => state == IDLE,
        }
    }

    /// Not asleep, or no longer: notifications need not wake.
    pub(crate) fn leave_idle(&self) {
        // If it is notified already, that stands.
        let _ = self.0.compare_exchange(IDLE, AWAKE, AcqRel, Acquire);
    }

    /// Whether work was announced since it was last taken.
    pub(crate) fn is_notified(&self) -> bool {
        self.0.load(Acquire) == NOTIFIED
    }

    /// Has `take` take the work announced so far, if there is any.
    pub(crate) fn take_announced(&self, take: impl FnOnce()) {
        // First: what comes while it takes must forbid the next sleep.
        if self.0.swap(AWAKE, AcqRel) == NOTIFIED {
            take();
        }
    }
}
