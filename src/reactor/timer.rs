//! Deadlines: an indexed binary heap, and the futures that wait on it.
//!
//! A deadline that is armed and cancelled for every frame must not allocate,
//! which rules out a `BTreeMap` (one that holds a hundred takes a new node for every
//! seventh that passes through it). The heap holds `(deadline, slot)` pairs; a slot knows
//! its place in the heap, so that cancelling costs `O(log n)` and leaves
//! nothing behind.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use slab::Slab;

use super::Inner;

/// The armed deadlines of one reactor.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: Vec<(Instant, usize)>,
    slots: Slab<Slot>,
}

/// A deadline's own record; its [`Sleep`] frees it.
#[derive(Debug)]
enum Slot {
    Armed { position: usize, waker: Waker },
    Fired,
}

impl Timers {
    /// The earliest deadline.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.heap.first().map(|&(deadline, _)| deadline)
    }

    /// Fires one deadline that has passed and returns whom to wake.
    pub(crate) fn fire_due(&mut self, now: Instant) -> Option<Waker> {
        match self.next_deadline() {
            Some(deadline) if deadline <= now => self.fire_next(),
            _ => None,
        }
    }

    /// Fires the earliest deadline, due or not.
    pub(crate) fn fire_next(&mut self) -> Option<Waker> {
        let &(_, slot) = self.heap.first()?;
        self.remove_from_heap(0);
        match std::mem::replace(&mut self.slots[slot], Slot::Fired) {
            Slot::Armed { waker, .. } => Some(waker),
            Slot::Fired => None,
        }
    }

    fn arm(&mut self, deadline: Instant, waker: Waker) -> usize {
        let position = self.heap.len();
        let slot = self.slots.insert(Slot::Armed { position, waker });
        self.heap.push((deadline, slot));
        self.sift_up(position);
        slot
    }

    /// Whether the deadline has fired.
    fn has_fired(&self, slot: usize) -> bool {
        matches!(self.slots[slot], Slot::Fired)
    }

    /// Whether `waker` is the one to wake.
    fn has_waker(&self, slot: usize, waker: &Waker) -> bool {
        matches!(&self.slots[slot], Slot::Armed { waker: armed, .. } if armed.will_wake(waker))
    }

    /// Makes `waker` the one to wake, and returns the one that is not needed then.
    fn set_waker(&mut self, slot: usize, waker: Waker) -> Waker {
        match &mut self.slots[slot] {
            Slot::Armed { waker: armed, .. } => std::mem::replace(armed, waker),
            Slot::Fired => waker,
        }
    }

    /// Frees the slot, and returns the waker, to be dropped outside of a borrow.
    fn free(&mut self, slot: usize) -> Option<Waker> {
        match self.slots.remove(slot) {
            Slot::Armed { position, waker } => {
                self.remove_from_heap(position);
                Some(waker)
            }
            Slot::Fired => None,
        }
    }

    fn remove_from_heap(&mut self, position: usize) {
        self.heap.swap_remove(position);
        if position < self.heap.len() {
            self.note_position(position);
            let position = self.sift_up(position);
            self.sift_down(position);
        }
    }

    fn sift_up(&mut self, mut position: usize) -> usize {
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.heap[parent].0 <= self.heap[position].0 {
                break;
            }
            self.swap(parent, position);
            position = parent;
        }
        position
    }

    fn sift_down(&mut self, mut position: usize) {
        loop {
            let left = 2 * position + 1;
            let Some(smaller) = (left..self.heap.len().min(left + 2))
                .min_by_key(|&child| self.heap[child].0)
                .filter(|&child| self.heap[child].0 < self.heap[position].0)
            else {
                return;
            };
            self.swap(position, smaller);
            position = smaller;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.note_position(a);
        self.note_position(b);
    }

    fn note_position(&mut self, at: usize) {
        if let Slot::Armed { position, .. } = &mut self.slots[self.heap[at].1] {
            *position = at;
        }
    }
}

/// Completes once its time has passed; made by [`Handle::sleep`].
///
/// Once the reactor has been dropped, nobody counts the time any more: it then
/// completes at once, rather than never.
///
/// # Cancel safety
///
/// Dropping it disarms the deadline and loses nothing.
///
/// [`Handle::sleep`]: super::Handle::sleep
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sleep {
    inner: Rc<Inner>,
    deadline: Instant,
    slot: Option<usize>,
}

impl Sleep {
    pub(crate) fn new(inner: Rc<Inner>, duration: Duration) -> Sleep {
        let now = Instant::now();
        // Beyond what the clock can say is never, or nearly.
        let deadline = now.checked_add(duration).unwrap_or(now + DECADES);
        Sleep::until(inner, deadline)
    }

    pub(crate) fn until(inner: Rc<Inner>, deadline: Instant) -> Sleep {
        Sleep {
            inner,
            deadline,
            slot: None,
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.inner.closed.get() {
            return Poll::Ready(());
        }
        let waker = context.waker();
        let Some(slot) = self.slot else {
            let waker = waker.clone();
            let mut timers = self.inner.timers.borrow_mut();
            let slot = timers.arm(self.deadline, waker);
            let is_earliest = timers.next_deadline() == Some(self.deadline);
            drop(timers);
            self.slot = Some(slot);
            if is_earliest {
                // A foreign loop that waits meanwhile has to hear of it.
                self.inner.awake.notify_if_idle();
            }
            return Poll::Pending;
        };
        let timers = self.inner.timers.borrow();
        if timers.has_fired(slot) {
            return Poll::Ready(());
        }
        let is_kept = timers.has_waker(slot, waker);
        drop(timers);
        if !is_kept {
            // Cloning and dropping a waker may run anything, so nothing is borrowed.
            let waker = waker.clone();
            let replaced = self.inner.timers.borrow_mut().set_waker(slot, waker);
            drop(replaced);
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            let waker = self.inner.timers.borrow_mut().free(slot);
            drop(waker);
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Longer than anybody waits, and well within what clocks can say.
const DECADES: Duration = Duration::from_secs(30 * 365 * 86_400);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The heap against a sorted set: whatever is armed and freed in
        /// whatever order, the deadlines fire in theirs.
        #[test]
        fn deadlines_fire_in_order_whatever_was_freed(
            steps in prop::collection::vec((any::<bool>(), 0_u64..100, any::<prop::sample::Index>()), 1..200)
        ) {
            let start = Instant::now();
            let mut timers = Timers::default();
            let mut armed = Vec::new();
            let mut model = BTreeSet::new();
            for (arm, offset, pick) in steps {
                if arm || armed.is_empty() {
                    let deadline = start + Duration::from_secs(offset);
                    let slot = timers.arm(deadline, Waker::noop().clone());
                    armed.push((deadline, slot));
                    model.insert((deadline, slot));
                } else {
                    let entry = armed.swap_remove(pick.index(armed.len()));
                    model.remove(&entry);
                    timers.free(entry.1);
                }
                prop_assert_eq!(timers.next_deadline(), model.first().map(|entry| entry.0));
            }
            let far = start + Duration::from_secs(1000);
            let mut left = model.len();
            while let Some(next) = timers.next_deadline() {
                prop_assert_eq!(Some(next), model.first().map(|entry| entry.0));
                prop_assert!(timers.fire_due(next - Duration::from_nanos(1)).is_none());
                prop_assert!(timers.fire_due(far).is_some());
                let fired = *model
                    .iter()
                    .find(|entry| matches!(timers.slots[entry.1], Slot::Fired))
                    .unwrap();
                prop_assert_eq!(fired.0, next);
                model.remove(&fired);
                timers.free(fired.1);
                left -= 1;
            }
            prop_assert_eq!(left, 0);
            prop_assert!(timers.slots.is_empty());
        }
    }
}
