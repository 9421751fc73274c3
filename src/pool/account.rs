//! A number of bytes, and the queue of those who wait for some.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::task::{Context, Poll, Waker};

/// A place in a queue. Numbers rise: who has the lower one came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(NonZeroU64);

/// How much of a limit is in use, and who waits, in order of arrival.
///
/// Who waits is woken when it comes first, and takes what it needs when it is
/// polled. Until it has, or has left, nobody behind it is served: a long frame
/// is not overtaken by short ones for ever.
#[derive(Debug)]
pub(super) struct Account {
    /// `None` counts nothing and never runs out.
    limit: Option<usize>,
    used: Cell<usize>,
    queue: RefCell<VecDeque<(Ticket, Waker)>>,
    next_ticket: Cell<NonZeroU64>,
}

impl Account {
    pub(super) fn new(limit: Option<usize>) -> Account {
        Account {
            limit,
            used: Cell::new(0),
            queue: RefCell::default(),
            next_ticket: Cell::new(NonZeroU64::MIN),
        }
    }

    pub(super) fn limit(&self) -> Option<usize> {
        self.limit
    }

    pub(super) fn used(&self) -> usize {
        self.used.get()
    }

    /// Takes `bytes` if they are free and nobody has waited longer.
    pub(super) fn try_take(&self, bytes: usize) -> bool {
        self.limit.is_none() || self.queue.borrow().is_empty() && self.take(bytes)
    }

    /// Takes `bytes`, or waits for them in the place of `ticket`.
    pub(super) fn poll_take(
        &self,
        bytes: usize,
        context: &Context<'_>,
        ticket: &mut Option<Ticket>,
    ) -> Poll<()> {
        if self.limit.is_none() {
            return Poll::Ready(());
        }
        let first = self.queue.borrow().front().map(|(first, _)| *first);
        if (first.is_none() || first == *ticket) && self.take(bytes) {
            if let Some(ticket) = ticket.take() {
                self.leave(ticket);
            }
            return Poll::Ready(());
        }
        self.wait(ticket, context.waker());
        Poll::Pending
    }

    /// Returns what was taken.
    pub(super) fn give_back(&self, bytes: usize) {
        if self.limit.is_some() {
            self.used.set(self.used.get() - bytes);
            self.wake_first();
        }
    }

    /// Gives up the place of `ticket`, if it is in this queue.
    pub(super) fn leave(&self, ticket: Ticket) {
        let mut queue = self.queue.borrow_mut();
        let Ok(place) = queue.binary_search_by_key(&ticket, |(ticket, _)| *ticket) else {
            return;
        };
        let left = queue.remove(place);
        drop(queue);
        // A foreign waker may run anything when it is dropped.
        drop(left);
        if place == 0 {
            self.wake_first();
        }
    }

    fn take(&self, bytes: usize) -> bool {
        let used = self.used.get();
        let fits = self.limit.is_some_and(|limit| bytes <= limit - used);
        if fits {
            self.used.set(used + bytes);
        }
        fits
    }

    fn wait(&self, ticket: &mut Option<Ticket>, waker: &Waker) {
        let mut queue = self.queue.borrow_mut();
        let place = ticket.and_then(|ticket| {
            queue
                .binary_search_by_key(&ticket, |(ticket, _)| *ticket)
                .ok()
        });
        let replaced = match place {
            Some(place) if queue[place].1.will_wake(waker) => None,
            Some(place) => Some(std::mem::replace(&mut queue[place].1, waker.clone())),
            None => {
                let new = Ticket(self.next_ticket.get());
                self.next_ticket.set(new.0.saturating_add(1));
                queue.push_back((new, waker.clone()));
                *ticket = Some(new);
                None
            }
        };
        drop(queue);
        drop(replaced);
    }

    /// Wakes all who wait, to see that the reactor is gone.
    pub(super) fn wake_all(&self) {
        let wakers: Vec<_> = self
            .queue
            .borrow()
            .iter()
            .map(|(_, waker)| waker.clone())
            .collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn wake_first(&self) {
        let first = self.queue.borrow().front().map(|(_, waker)| waker.clone());
        if let Some(waker) = first {
            waker.wake();
        }
    }
}
