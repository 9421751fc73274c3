//! What is known of one socket: readiness bits and the two parked wakers.
//!
//! Registration is edge-triggered, so a bit stays set until a system call
//! proves it wrong. Closed bits are sticky: the kernel reports a hang-up once,
//! perhaps together with the last data, and forgetting it would park a reader
//! for ever in front of an end of stream that has already arrived.

use std::cell::{Cell, RefCell};
use std::task::Waker;

use mio::event::Event;

use super::parked::Parked;
use super::task::TaskTable;

/// One of the two independent directions of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

const READABLE: u8 = 1;
const READ_CLOSED: u8 = 1 << 1;
const WRITABLE: u8 = 1 << 2;
const WRITE_CLOSED: u8 = 1 << 3;
/// A read may be short although more has arrived.
const MARKED: u8 = 1 << 4;

/// Readiness and wakers of one registered socket.
#[derive(Debug, Default)]
pub(crate) struct ScheduledIo {
    readiness: Cell<u8>,
    reader: RefCell<Option<Parked>>,
    writer: RefCell<Option<Parked>>,
}

impl ScheduledIo {
    /// Nothing known yet: the first operation waits for the kernel's word.
    pub(crate) fn unready() -> ScheduledIo {
        ScheduledIo::default()
    }

    /// Both directions worth a try: the first operation makes its system call.
    pub(crate) fn assumed_ready() -> ScheduledIo {
        ScheduledIo {
            readiness: Cell::new(READABLE | WRITABLE),
            ..ScheduledIo::default()
        }
    }

    /// Whether a system call in this direction is worth making.
    pub(crate) fn is_ready(&self, direction: Direction) -> bool {
        let bits = match direction {
            Direction::Read => READABLE | READ_CLOSED,
            Direction::Write => WRITABLE | WRITE_CLOSED,
        };
        self.readiness.get() & bits != 0
    }

    /// A system call may be worth making, although none said so.
    pub(crate) fn set_ready(&self, direction: Direction) {
        let bit = match direction {
            Direction::Read => READABLE,
            Direction::Write => WRITABLE,
        };
        self.readiness.set(self.readiness.get() | bit);
    }

    /// A system call said that it would block; closed bits stay.
    pub(crate) fn clear(&self, direction: Direction) {
        let bit = match direction {
            Direction::Read => READABLE,
            Direction::Write => WRITABLE,
        };
        self.readiness.set(self.readiness.get() & !bit);
    }

    /// A system call moved less than it was given: the kernel has no more for
    /// now, which saves the call that would say so (epoll(7), question 9).
    ///
    /// Not so for reads where something may mark the stream: a read stops at
    /// urgent data, and on a Unix socket behind a message that carried file
    /// descriptors, with more to be had, for which no event will come.
    pub(crate) fn clear_after_short_call(&self, direction: Direction) {
        if direction == Direction::Write || self.readiness.get() & MARKED == 0 {
            self.clear(direction);
        }
    }

    /// Reads may stop short of what has arrived, from here on.
    pub(crate) fn expect_marks(&self) {
        self.readiness.set(self.readiness.get() | MARKED);
    }

    /// Records an event of the poll and wakes who waits for it.
    pub(crate) fn dispatch(&self, event: &Event, tasks: &TaskTable) {
        let mut bits = 0;
        if event.is_readable() {
            bits |= READABLE;
        }
        if event.is_read_closed() {
            bits |= READ_CLOSED;
        }
        if event.is_writable() {
            bits |= WRITABLE;
        }
        if event.is_write_closed() {
            bits |= WRITE_CLOSED;
        }
        if event.is_error() {
            // Only a system call can fetch the error, so let both sides try.
            bits |= READABLE | WRITABLE;
        }
        if event.is_priority() {
            bits |= MARKED;
        }
        self.add(bits, tasks);
    }

    /// Parks `waker` until this direction is ready, in place of the last one.
    pub(crate) fn park(&self, direction: Direction, waker: &Waker, tasks: &TaskTable) {
        // A foreign waker may run anything when it is cloned or dropped, and
        // come back here.
        let parked = Parked::new(waker, tasks);
        let replaced = self.slot(direction).borrow_mut().replace(parked);
        drop(replaced);
    }

    /// Wakes both sides, so that they see that the reactor is gone.
    pub(crate) fn wake_all(&self, tasks: &TaskTable) {
        self.wake(Direction::Read, tasks);
        self.wake(Direction::Write, tasks);
    }

    fn add(&self, bits: u8, tasks: &TaskTable) {
        self.readiness.set(self.readiness.get() | bits);
        if bits & (READABLE | READ_CLOSED) != 0 {
            self.wake(Direction::Read, tasks);
        }
        if bits & (WRITABLE | WRITE_CLOSED) != 0 {
            self.wake(Direction::Write, tasks);
        }
    }

    fn wake(&self, direction: Direction, tasks: &TaskTable) {
        let parked = self.slot(direction).borrow_mut().take();
        if let Some(parked) = parked {
            parked.wake(tasks);
        }
    }

    fn slot(&self, direction: Direction) -> &RefCell<Option<Parked>> {
        match direction {
            Direction::Read => &self.reader,
            Direction::Write => &self.writer,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::count_wakes::CountWakes;
    use crate::reactor::awake::AwakeFlag;
    use crate::reactor::ready::ready_queue;

    fn no_tasks() -> TaskTable {
        let poll = mio::Poll::new().unwrap();
        let awake = AwakeFlag::new(poll.registry(), mio::Token(0)).unwrap();
        TaskTable::new(ready_queue(Arc::new(awake)).0)
    }

    #[test]
    fn a_closed_bit_outlives_a_cleared_readable() {
        let io = ScheduledIo::unready();
        io.add(READABLE | READ_CLOSED, &no_tasks());
        io.clear(Direction::Read);
        assert!(io.is_ready(Direction::Read));
        assert!(!io.is_ready(Direction::Write));
    }

    #[test]
    fn each_direction_wakes_its_own_waker_once() {
        let reads = Arc::new(CountWakes::default());
        let writes = Arc::new(CountWakes::default());
        let io = ScheduledIo::unready();
        let tasks = no_tasks();
        io.park(Direction::Read, &reads.clone().into(), &tasks);
        io.park(Direction::Write, &writes.clone().into(), &tasks);

        io.add(READABLE, &tasks);
        io.add(READABLE, &tasks);
        assert_eq!(reads.get(), 1);
        assert_eq!(writes.get(), 0);
        io.park(Direction::Read, &reads.clone().into(), &tasks);
        io.add(WRITE_CLOSED, &tasks);
        assert_eq!(reads.get(), 1);
        assert_eq!(writes.get(), 1);
    }
}
