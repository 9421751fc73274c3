//! Who waits for another thread.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The wakers of those who wait for something that another thread will do.
///
/// Who waits looks, [registers](Waiting::register), and looks again; who does what
/// they wait for does it, and then [wakes](Waiting::wake) them. Whichever comes first
/// under the lock, nobody sleeps through it.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<Vec<Waker>>);

impl Waiting {
    /// Has `waker` woken by the next [`wake`](Waiting::wake).
    pub(crate) fn register(&self, waker: &Waker) {
        let mut wakers = self.lock();
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }

    /// Wakes all who are registered, once.
    pub(crate) fn wake(&self) {
        // A waker may be anybody's, so it runs outside of the lock.
        let wakers = std::mem::take(&mut *self.lock());
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waker>> {
        // Nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
