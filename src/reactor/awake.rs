//! Whether the reactor sleeps, and the one system call that ends its sleep.
//!
//! Many wake-ups may arrive while the loop is running or is already on its way
//! back; only the first one that finds it parked has to write to the eventfd.
//! Three states in one atomic tell the cases apart.
//!
//! The order that makes this sound: a waker first pushes its work, then calls
//! [`AwakeFlag::notify`]; the loop calls [`AwakeFlag::take_announced`], which first
//! resets the flag and then takes the work. Both are read-modify-write operations on
//! one atomic, so either the loop finds the work there, or it sees that it is
//! notified when it next tries to park.

mod state;

use std::io;

use mio::{Registry, Token, Waker};

/// For `state`.
use super::atomic;
use state::State;

/// The flag and the eventfd behind it; shared with every waker.
#[derive(Debug)]
pub(crate) struct AwakeFlag {
    state: State,
    eventfd: Waker,
}

impl AwakeFlag {
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<AwakeFlag> {
        Ok(AwakeFlag {
            state: State::notified(),
            eventfd: Waker::new(registry, token)?,
        })
    }

    /// Announces new work: ends the reactor's sleep if it is asleep.
    ///
    /// Call it after the work is where the loop will find it.
    pub(crate) fn notify(&self) {
        if self.state.notify()
            && let Err(error) = self.eventfd.wake()
        {
            // Only a closed eventfd gets here, and it lives as long as we do.
            log::error!("cannot wake the reactor: {error}");
        }
    }

    /// Ends the reactor's sleep, if it is asleep, for work that it looks for in
    /// any case when it is not. Only the reactor's thread may call this.
    pub(crate) fn notify_if_idle(&self) {
        if self.state.is_idle() {
            self.notify();
        }
    }

    /// See [`State::try_idle`].
    #[must_use]
    pub(crate) fn try_idle(&self) -> bool {
        self.state.try_idle()
    }

    /// See [`State::leave_idle`].
    pub(crate) fn leave_idle(&self) {
        self.state.leave_idle();
    }

    /// See [`State::is_notified`].
    pub(crate) fn is_notified(&self) -> bool {
        self.state.is_notified()
    }

    /// See [`State::take_announced`].
    pub(crate) fn take_announced(&self, take: impl FnOnce()) {
        self.state.take_announced(take);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll};

    use super::*;

    fn woken(poll: &mut Poll) -> bool {
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        !events.is_empty()
    }

    #[test]
    fn only_the_first_notification_of_a_park_writes() {
        let mut poll = Poll::new().unwrap();
        let flag = AwakeFlag::new(poll.registry(), Token(0)).unwrap();

        flag.take_announced(|| ());
        assert!(flag.try_idle());
        flag.notify();
        assert!(woken(&mut poll));
        flag.notify();
        assert!(!woken(&mut poll), "a second write in the same park");
    }

    #[test]
    fn a_notification_while_running_forbids_sleep_and_writes_nothing() {
        let mut poll = Poll::new().unwrap();
        let flag = AwakeFlag::new(poll.registry(), Token(0)).unwrap();

        flag.take_announced(|| ());
        flag.notify();
        assert!(!flag.try_idle());
        assert!(!woken(&mut poll));

        flag.take_announced(|| ());
        assert!(flag.try_idle());
    }
}
