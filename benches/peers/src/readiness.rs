//! What is known of a socket whose events come once.

use mio::event::Event;

/// Whether a call on a socket may move something.
///
/// What the kernel has reported holds until a call finds out otherwise: one that
/// moves less than it was given has emptied or filled the kernel's buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readiness {
    readable: bool,
    /// Reported once, and a short read does not end it.
    read_closed: bool,
    writable: bool,
}

impl Readiness {
    /// Of a socket that may have been talked to already.
    pub(crate) const BOTH: Readiness = Readiness {
        readable: true,
        read_closed: false,
        writable: true,
    };

    /// Of a socket whose peer only answers.
    pub(crate) const WRITABLE: Readiness = Readiness {
        readable: false,
        ..Readiness::BOTH
    };

    pub(crate) fn note(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_error();
        self.read_closed |= event.is_read_closed();
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
    }

    pub(crate) fn can_receive(&self) -> bool {
        self.readable || self.read_closed
    }

    pub(crate) fn can_send(&self) -> bool {
        self.writable
    }

    /// A call received so many bytes of those that it had room for.
    pub(crate) fn received(&mut self, moved: usize, room: usize) {
        self.readable = moved == room;
    }

    /// A call sent so many bytes of those that it was given.
    pub(crate) fn sent(&mut self, moved: usize, given: usize) {
        self.writable = moved == given;
    }

    /// A call that receives would have blocked.
    pub(crate) fn found_nothing(&mut self) {
        self.readable = false;
        self.read_closed = false;
    }

    /// A call that sends would have blocked.
    pub(crate) fn found_no_room(&mut self) {
        self.writable = false;
    }
}
