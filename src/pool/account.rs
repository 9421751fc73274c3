//! A number of bytes, and the queue of those who wait for some.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

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
    /// Numbers rise: who has the lower one came first.
    queue: RefCell<VecDeque<(u64, Waker)>>,
    next_number: Cell<u64>,
}

/// A place in the queue of an account; dropping it gives it up.
#[derive(Debug)]
pub(crate) struct Ticket {
    number: u64,
    account: Rc<Account>,
}

impl Drop for Ticket {
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
            next_number: Cell::new(0),
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

    /// Takes `bytes` if they are free.
    fn try_take(&self, bytes: usize) -> bool {
        let used = self.used.get() + bytes as u128;
        let fits = self.limit.is_none_or(|limit| used <= limit as u128);
        if fits {
            self.used.set(used);
        }
        fits
    }

    /// Takes `bytes` if they are free and nobody has waited longer, or waits
    /// for them in the place of `ticket`.
    pub(super) fn poll_take(
        self: &Rc<Self>,
        bytes: usize,
        context: &Context<'_>,
        ticket: &mut Option<Ticket>,
    ) -> Poll<()> {
        let first = self.queue.borrow().front().map(|&(number, _)| number);
        let is_first = first.is_none() || first == ticket.as_ref().map(|ticket| ticket.number);
        if is_first && self.try_take(bytes) {
            *ticket = None;
            return Poll::Ready(());
        }
        self.wait(ticket, context.waker());
        Poll::Pending
    }

    /// Returns what was taken.
    pub(super) fn give_back(&self, bytes: usize) {
        self.used.set(self.used.get() - bytes as u128);
        self.wake_first();
    }

    fn wait(self: &Rc<Self>, ticket: &mut Option<Ticket>, waker: &Waker) {
        // A waker that is not ours may run anything when it is cloned or
        // dropped, so nothing is borrowed then.
        let waker = waker.clone();
        let mut queue = self.queue.borrow_mut();
        let replaced = match ticket {
            Some(ticket) => {
                let place = queue.binary_search_by_key(&ticket.number, |&(number, _)| number);
                let place = place.expect("a ticket is in the queue until it is dropped");
                Some(std::mem::replace(&mut queue[place].1, waker))
            }
            None => {
                let number = self.next_number.get();
                self.next_number.set(number + 1);
                queue.push_back((number, waker));
                *ticket = Some(Ticket {
                    number,
                    account: self.clone(),
                });
                None
            }
        };
        drop(queue);
        drop(replaced);
    }

    fn leave(&self, number: u64) {
        let mut queue = self.queue.borrow_mut();
        let place = queue.binary_search_by_key(&number, |&(number, _)| number);
        let left = place.ok().and_then(|place| queue.remove(place));
        drop(queue);
        drop(left);
        if place == Ok(0) {
            self.wake_first();
        }
    }

    /// Wakes all who wait, to see that the reactor is gone.
    pub(super) fn wake_all(&self) {
        for waker in self.waiting(usize::MAX) {
            waker.wake();
        }
    }

    fn wake_first(&self) {
        for waker in self.waiting(1) {
            waker.wake();
        }
    }

    /// The wakers of the first so many. Woken after this, so that those which come
    /// back find nothing borrowed.
    fn waiting(&self, most: usize) -> Vec<Waker> {
        let queue = self.queue.borrow();
        let first = queue.iter().take(most);
        first.map(|(_, waker)| waker.clone()).collect()
    }
}
