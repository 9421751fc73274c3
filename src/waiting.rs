//! Who waits for another thread.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use slab::Slab;

/// The wakers of those who wait for something that another thread will do.
///
/// Who waits looks, [registers](Place::register), and looks again; who does what
/// they wait for does it, and then [wakes](Waiting::wake) them. Whichever comes first
/// under the lock, nobody sleeps through it.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<Slab<Option<Waker>>>);

/// The place of one who waits; dropping it gives it up, so that those who have given
/// up waiting don't add up.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    waiting: &'a Waiting,
    key: Option<usize>,
}

impl Waiting {
    /// A place that nobody is registered in.
    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            waiting: self,
            key: None,
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
        let mut places = self.lock();
        let wakers: Vec<_> = places
            .iter_mut()
            .filter_map(|(_, waker)| waker.take())
            .collect();
        drop(places);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Option<Waker>>> {
        // Nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Has `waker` woken by the next [`wake`](Waiting::wake), in place of the last one.
    pub(crate) fn register(&mut self, waker: &Waker) {
        // Cloned and dropped outside of the lock, as above.
        let waker = Some(waker.clone());
        let mut places = self.waiting.lock();
        let last = match self.key {
            Some(key) => std::mem::replace(&mut places[key], waker),
            None => {
                self.key = Some(places.insert(waker));
                None
            }
        };
        drop(places);
        drop(last);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let left = self.key.map(|key| self.waiting.lock().remove(key));
        drop(left);
    }
}
