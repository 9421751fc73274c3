//! A number of bytes, and the queue of those who wait for some.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::waiting::Places;

/// How much of a limit is in use, and who waits, in order of arrival.
///
/// Who waits is woken when it comes first, and takes what it needs when it is
/// polled. Until it has, or has left, nobody behind it is served: a long frame
/// is not overtaken by short ones for ever.
#[derive(Debug)]
pub(super) struct Account {
    /// Without one, nobody waits.
    limit: Option<usize>,
    /// Wider than any single length, so that no claims overflow it.
    used: Cell<u128>,
    queue: RefCell<Places>,
}

/// A place in the queue of an account; dropping it gives it up.
#[derive(Debug)]
pub(crate) struct Place {
    number: u64,
    account: Rc<Account>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.account.leave(self.number);
    }
}

impl Account {
    pub(super) fn new(limit: Option<usize>) -> Rc<Account> {
        Rc::new(Account {
            limit,
            used: Cell::new(0),
            queue: RefCell::default(),
        })
    }

    /// The most that can be taken at once.
    pub(super) fn limit(&self) -> usize {
        self.limit.unwrap_or(usize::MAX)
    }

    /// How much is in use; the most that there is a number for, if it is more.
    pub(super) fn used(&self) -> usize {
        usize::try_from(self.used.get()).unwrap_or(usize::MAX)
    }

    /// Whether somebody waits.
    pub(super) fn is_short(&self) -> bool {
        !self.queue.borrow().is_empty()
    }

    /// Takes `bytes` if they are free and nobody has waited longer, or waits
    /// for them at `place`.
    pub(super) fn poll_take(
        self: &Rc<Self>,
        bytes: usize,
        context: &Context<'_>,
        place: &mut Option<Place>,
    ) -> Poll<()> {
        if self.try_take(bytes, place) {
            return Poll::Ready(());
        }
        // A waker that is not ours may run anything when it is cloned, and give back what
        // is waited for here.
        let waker = context.waker().clone();
        if self.try_take(bytes, place) {
            return Poll::Ready(());
        }
        self.wait(place, waker);
        Poll::Pending
    }

    /// Returns what was taken.
    pub(super) fn give_back(&self, bytes: usize) {
        self.used.set(self.used.get() - bytes as u128);
        self.wake_first();
    }

    /// Wakes all who wait, to see that the reactor is gone.
    pub(super) fn wake_all(&self) {
        // As with a clone, nothing is borrowed when a waker is woken or dropped.
        let wakers = self.queue.borrow_mut().take_all();
        wakers.for_each(Waker::wake);
    }

    /// Takes `bytes` if they are free and it is the turn of `place`, which ends then.
    fn try_take(&self, bytes: usize, place: &mut Option<Place>) -> bool {
        let number = place.as_ref().map(|place| place.number);
        let used = self.used.get() + bytes as u128;
        let fits = self.limit.is_none_or(|limit| used <= limit as u128);
        let taken = fits && self.queue.borrow().may_take(number, 1);
        if taken {
            self.used.set(used);
            *place = None;
        }
        taken
    }

    fn wait(self: &Rc<Self>, place: &mut Option<Place>, waker: Waker) {
        let number = place.as_ref().map(|place| place.number);
        let (number, replaced) = self.queue.borrow_mut().keep(number, waker);
        place.get_or_insert_with(|| Place {
            number,
            account: self.clone(),
        });
        drop(replaced);
    }

    fn leave(&self, number: u64) {
        let mut queue = self.queue.borrow_mut();
        let was_first = queue.is_first(number);
        let left = queue.leave(number);
        drop(queue);
        drop(left);
        if was_first {
            self.wake_first();
        }
    }

    /// Wakes who comes first, unless it has been: it takes what has come meanwhile, too.
    fn wake_first(&self) {
        let first = self.queue.borrow_mut().take_first(1);
        if let Some(first) = first {
            first.wake();
        }
    }
}
