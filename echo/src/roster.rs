//! Who is connected: how many, up to which limit, and whether they are to go.
//!
//! One roster is shared by the listeners, the connections and whoever shuts the
//! server down, all on one thread.

use std::cell::Cell;
use std::rc::Rc;

use event_listener::Event;

/// The open connections of one server.
#[derive(Debug)]
pub(crate) struct Roster {
    limit: usize,
    open: Cell<usize>,
    /// How many of the open ones have answered all that they had to.
    settled: Cell<usize>,
    draining: Cell<bool>,
    drain_begun: Event,
    place_freed: Event,
}

impl Roster {
    pub(crate) fn new(limit: usize) -> Rc<Roster> {
        Rc::new(Roster {
            limit,
            open: Cell::new(0),
            settled: Cell::new(0),
            draining: Cell::new(false),
            drain_begun: Event::new(),
            place_freed: Event::new(),
        })
    }

    /// Waits until there is room for one more.
    pub(crate) async fn room(&self) {
        while self.open.get() >= self.limit {
            self.place_freed.listen().await;
        }
    }

    /// Counts one more connection, until its place is dropped.
    pub(crate) fn enter(self: &Rc<Roster>) -> Place {
        self.open.set(self.open.get() + 1);
        Place {
            roster: self.clone(),
            settled: Cell::new(false),
        }
    }

    /// Tells all connections to finish.
    pub(crate) fn begin_drain(&self) {
        self.draining.set(true);
        self.drain_begun.notify(usize::MAX);
    }

    /// Waits until the last connection has gone.
    pub(crate) async fn empty(&self) {
        while self.open.get() > 0 {
            self.place_freed.listen().await;
        }
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.open.get()
    }

    /// How many of them would lose something if they were cut now.
    pub(crate) fn unsettled(&self) -> usize {
        self.open.get() - self.settled.get()
    }
}

/// One connection's place in the roster.
#[derive(Debug)]
pub(crate) struct Place {
    roster: Rc<Roster>,
    settled: Cell<bool>,
}

impl Place {
    pub(crate) fn is_draining(&self) -> bool {
        self.roster.draining.get()
    }

    /// Waits until the connection is to finish.
    pub(crate) async fn drain_begun(&self) {
        while !self.is_draining() {
            self.roster.drain_begun.listen().await;
        }
    }

    /// All is answered, though the connection is still open.
    pub(crate) fn settle(&self) {
        if !self.settled.replace(true) {
            self.roster.settled.set(self.roster.settled.get() + 1);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.roster.open.set(self.roster.open.get() - 1);
        if self.settled.get() {
            self.roster.settled.set(self.roster.settled.get() - 1);
        }
        self.roster.place_freed.notify(usize::MAX);
    }
}
