//! Who waits for something, and in which order they are woken.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Wakers by number, in the order in which those who wait began to.
///
/// Whoever is woken first gets what there is, so who comes back after that has to come
/// behind those who got nothing.
#[derive(Debug, Default)]
pub(crate) struct Places {
    next: u64,
    /// Of those who are to be woken; `None` for who has been, and not waited again.
    wakers: BTreeMap<u64, Option<Waker>>,
}

impl Places {
    /// Whether who is at `place` is to be woken by `waker`.
    pub(crate) fn has(&self, place: u64, waker: &Waker) -> bool {
        let kept = self.wakers.get(&place).and_then(Option::as_ref);
        kept.is_some_and(|kept| kept.will_wake(waker))
    }

    /// Keeps `waker` at `place`, or at the last place if there is none yet. Returns the
    /// one that it replaces, to be dropped outside of any borrow or lock.
    #[must_use]
    pub(crate) fn keep(&mut self, place: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        let place = *place.get_or_insert_with(|| {
            self.next += 1;
            self.next
        });
        self.wakers.insert(place, Some(waker)).flatten()
    }

    /// Gives up a place.
    #[must_use]
    pub(crate) fn leave(&mut self, place: u64) -> Option<Waker> {
        self.wakers.remove(&place).flatten()
    }

    /// Takes all wakers, who waited longest first.
    pub(crate) fn take_wakers(&mut self) -> Vec<Waker> {
        self.wakers.values_mut().filter_map(Option::take).collect()
    }
}

/// The wakers of those who wait for something that another thread will do.
///
/// Who waits looks, [registers](Place::register), and looks again; who does what
/// they wait for does it, and then [wakes](Waiting::wake) them. Whichever comes first
/// under the lock, nobody sleeps through it.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<Places>);

/// The place of one who waits; dropping it gives it up, so that those who have given
/// up waiting don't add up.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    waiting: &'a Waiting,
    place: Option<u64>,
}

impl Waiting {
    /// A place that nobody is registered in.
    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            waiting: self,
            place: None,
        }
    }

    /// Waits until `attempt` gives something: now, or when somebody has woken all.
    pub(crate) async fn until<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> T {
        let mut place = self.place();
        poll_fn(|context| {
            attempt()
                .or_else(|| {
                    place.register(context.waker());
                    attempt()
                })
                .map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Wakes all who are registered, once.
    pub(crate) fn wake(&self) {
        // A waker may be anybody's, so it runs outside of the lock.
        let wakers = self.lock().take_wakers();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        // Nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Has `waker` woken by the next [`wake`](Waiting::wake), in place of the last one.
    pub(crate) fn register(&mut self, waker: &Waker) {
        // Cloned and dropped outside of the lock, as above.
        let waker = waker.clone();
        let last = self.waiting.lock().keep(&mut self.place, waker);
        drop(last);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let left = self.place.map(|place| self.waiting.lock().leave(place));
        drop(left);
    }
}
