//! Who waits for one of a number of places, that other threads take and free.
//!
//! As many are awake as there are free places, in the order in which they came: one place
//! more wakes one, and who was woken and leaves without it passes the turn on. The places
//! themselves are somebody else's, who takes and frees them without a lock of ours.
//!
//! `tests/wait_queue_model.rs` compiles this file once more, with the locks of a model
//! checker.

use std::future::poll_fn;
use std::sync::PoisonError;
use std::task::{Poll, Waker};

use super::mutex::{Mutex, MutexGuard};
use super::waiting::Places;

/// Who waits for a place, in order.
#[derive(Debug, Default)]
pub(crate) struct WaitQueue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    places: Places,
    is_closed: bool,
}

impl WaitQueue {
    /// Waits until it is our turn and `attempt` gives something; `free` says how many
    /// places there are now.
    pub(crate) async fn take<T>(
        &self,
        free: impl Fn() -> usize,
        mut attempt: impl FnMut() -> Option<T>,
    ) -> T {
        let mut queued = Queued {
            queue: self,
            free,
            place: None,
        };
        poll_fn(|context| {
            if queued.may_try()
                && let Some(taken) = attempt()
            {
                return Poll::Ready(taken);
            }
            queued.wait(context.waker());
            Poll::Pending
        })
        .await
    }

    /// Wakes as many as there are `free` places; to be called after each that is freed.
    pub(crate) fn wake(&self, free: impl Fn() -> usize) {
        // A waker may be anybody's, so it runs outside of the lock.
        while let Some(first) = self.take_first(&free) {
            first.wake();
        }
    }

    /// Wakes all, and lets everybody try from now on.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let wakers = state.places.take_all();
        drop(state);
        wakers.for_each(Waker::wake);
    }

    fn take_first(&self, free: impl Fn() -> usize) -> Option<Waker> {
        let mut state = self.lock();
        let most = match state.is_closed {
            true => usize::MAX,
            false => free(),
        };
        state.places.take_first(most)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits, or is about to.
struct Queued<'a, F: Fn() -> usize> {
    queue: &'a WaitQueue,
    free: F,
    place: Option<u64>,
}

impl<F: Fn() -> usize> Queued<'_, F> {
    fn may_try(&self) -> bool {
        let state = self.queue.lock();
        state.is_closed || state.places.may_take(self.place, (self.free)())
    }

    fn wait(&mut self, waker: &Waker) {
        let waker = waker.clone();
        let (place, replaced) = self.queue.lock().places.keep(self.place, waker);
        self.place = Some(place);
        drop(replaced);
        // A place may have been freed since we looked, when nobody was there to be woken.
        self.queue.wake(&self.free);
    }
}

impl<F: Fn() -> usize> Drop for Queued<'_, F> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let left = self.queue.lock().places.leave(place);
            drop(left);
            self.queue.wake(&self.free);
        }
    }
}
