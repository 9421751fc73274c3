//! The queue of closures from other threads, without the closures.
//!
//! Bounded, and closed at once and for good: what is pushed is taken by the
//! loop, or by whoever closes the queue, or given back. A channel whose receiver
//! goes while somebody sends may keep what was sent for as long as a sender
//! lives.
//!
//! `tests/remote_model.rs` compiles this file once more, with the lock of a model
//! checker.

use std::collections::VecDeque;
use std::mem;
use std::sync::PoisonError;

use super::mutex::{Mutex, MutexGuard};

/// Holds up to `capacity` of what other threads push.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    capacity: usize,
}

struct State<T> {
    waiting: VecDeque<T>,
    is_closed: bool,
}

/// Why something was not pushed, and the thing.
pub(super) enum Refused<T> {
    Full(T),
    Closed(T),
}

impl<T> Queue<T> {
    pub(super) fn new(capacity: usize) -> Queue<T> {
        Queue {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                is_closed: false,
            }),
            capacity,
        }
    }

    /// Adds `item` behind all others.
    pub(super) fn push(&self, item: T) -> Result<(), Refused<T>> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(Refused::Closed(item));
        }
        if state.waiting.len() >= self.capacity {
            return Err(Refused::Full(item));
        }
        state.waiting.push_back(item);
        Ok(())
    }

    /// How many wait to be taken.
    pub(super) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Takes all that wait, and leaves the room of `taken`, which is empty, for
    /// those that come next.
    pub(super) fn take(&self, taken: &mut VecDeque<T>) {
        mem::swap(&mut self.lock().waiting, taken);
    }

    /// Refuses all that comes from here on, and returns what waits. Dropping
    /// that may run anything, so it is left to the caller.
    pub(super) fn close(&self) -> VecDeque<T> {
        let mut state = self.lock();
        state.is_closed = true;
        mem::take(&mut state.waiting)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
