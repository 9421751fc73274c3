//! Who waits for something, and in which order they are woken.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Who waits, by number, in the order in which they began to.
///
/// Who is woken keeps its number until it leaves: if it has to wait again, it comes
/// before those who came later.
///
/// A waker may be anybody's, and run anything when it is cloned, woken or dropped. So
/// none of that is done in here, but by the owner, outside of any borrow or lock.
#[derive(Debug, Default)]
pub(crate) struct Places {
    last: u64,
    /// Many leave from the middle.
    asleep: BTreeMap<u64, Waker>,
    /// How many have been woken, and neither left nor waited again.
    awake: usize,
}

impl Places {
    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.asleep.is_empty() && self.awake == 0
    }

    /// Whether who is at `place` is to be woken by `waker`.
    pub(crate) fn has(&self, place: u64, waker: &Waker) -> bool {
        let kept = self.asleep.get(&place);
        kept.is_some_and(|kept| kept.will_wake(waker))
    }

    /// Whether who is at `place` comes before all who sleep.
    pub(crate) fn is_first(&self, place: u64) -> bool {
        self.asleep.range(..place).next().is_none()
    }

    /// Whether who is at `place`, or comes now, may take one of so many things: it was
    /// woken to, or nobody came before.
    pub(crate) fn may_take(&self, place: Option<u64>, things: usize) -> bool {
        match place {
            Some(place) => !self.asleep.contains_key(&place),
            None => self.asleep.is_empty() && self.awake < things,
        }
    }

    /// Keeps `waker` at `place`, or at the last place if there is none yet. Returns that
    /// place, and the waker that was there.
    #[must_use]
    pub(crate) fn keep(&mut self, place: Option<u64>, waker: Waker) -> (u64, Option<Waker>) {
        let number = place.unwrap_or_else(|| {
            self.last += 1;
            self.last
        });
        let replaced = self.asleep.insert(number, waker);
        if place.is_some() && replaced.is_none() {
            self.awake -= 1;
        }
        (number, replaced)
    }

    /// Gives up a place.
    #[must_use]
    pub(crate) fn leave(&mut self, place: u64) -> Option<Waker> {
        let left = self.asleep.remove(&place);
        if left.is_none() {
            self.awake -= 1;
        }
        left
    }

    /// Takes the waker of who has slept longest, unless as many as `most` are awake.
    #[must_use]
    pub(crate) fn take_first(&mut self, most: usize) -> Option<Waker> {
        if self.awake >= most {
            return None;
        }
        let (_, first) = self.asleep.pop_first()?;
        self.awake += 1;
        Some(first)
    }

    /// Takes all wakers, who waited longest first.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Waker> + use<> {
        self.awake += self.asleep.len();
        mem::take(&mut self.asleep).into_values()
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
        let wakers = self.lock().take_all();
        wakers.for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        // Nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Has `waker` woken by the next [`wake`](Waiting::wake), in place of the last one.
    pub(crate) fn register(&mut self, waker: &Waker) {
        let waker = waker.clone();
        let (place, replaced) = self.waiting.lock().keep(self.place, waker);
        self.place = Some(place);
        drop(replaced);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let left = self.place.map(|place| self.waiting.lock().leave(place));
        drop(left);
    }
}
