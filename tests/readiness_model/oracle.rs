//! What should happen on one connection: counts of bytes, and flags.

use std::io::ErrorKind;
use std::sync::LazyLock;

use readinto::StreamError;

use crate::operation::Outcome;
use crate::support::{assert_same, pattern};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// How far an operation got before it was given up.
type Poison = Option<(usize, usize)>;

/// From the peer to us.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    /// Where in the stream the next read begins.
    pub(crate) at: usize,
    /// What the peer has sent from there on.
    pub(crate) queued: usize,
    pub(crate) end: Option<End>,
    reading: Option<Reading>,
    poison: Poison,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    HalfClosed,
    Reset,
}

#[derive(Debug)]
struct Reading {
    wanted: usize,
    /// How much of what is queued it has taken, where that is known.
    taken: Option<usize>,
}

/// What a read comes to.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Filled,
    Eof { filled: usize },
    Reset { moved: usize },
    Poisoned { moved: usize, wanted: usize },
}

impl Incoming {
    pub(crate) fn starting_at(at: usize) -> Incoming {
        Incoming {
            at,
            ..Incoming::default()
        }
    }

    pub(crate) fn begin(&mut self, wanted: usize) {
        self.reading = Some(Reading {
            wanted,
            taken: Some(0),
        });
    }

    /// The read was polled, and has taken whatever was there.
    pub(crate) fn polled(&mut self) {
        self.know_taken(None);
    }

    /// Nothing moves any more, so a read that waits has all that there is.
    pub(crate) fn settled(&mut self) {
        self.know_taken(Some(self.queued));
    }

    fn know_taken(&mut self, taken: Option<usize>) {
        if let Some(reading) = &mut self.reading {
            reading.taken = taken;
        }
    }

    /// How many bytes must be in the kernel, where that is known.
    pub(crate) fn untaken(&self) -> Option<usize> {
        match &self.reading {
            None => Some(self.queued),
            Some(reading) => reading.taken.map(|taken| self.queued - taken),
        }
    }

    /// Whether a read that has begun must wait.
    pub(crate) fn is_waiting(&self) -> bool {
        self.reading
            .as_ref()
            .is_some_and(|reading| self.expected(reading.wanted).is_none())
    }

    fn expected(&self, wanted: usize) -> Option<Expected> {
        if let Some((moved, wanted)) = self.poison {
            return Some(Expected::Poisoned { moved, wanted });
        }
        if wanted <= self.queued {
            return Some(Expected::Filled);
        }
        self.end.map(|end| match end {
            End::HalfClosed => Expected::Eof {
                filled: self.queued,
            },
            End::Reset => Expected::Reset { moved: self.queued },
        })
    }

    /// The read has completed.
    pub(crate) fn finished(&mut self, (buf, result): &Outcome) {
        let wanted = self.reading.take().expect("a read has begun").wanted;
        assert_eq!(buf.len(), wanted);
        let seen = match *result {
            Ok(()) => Expected::Filled,
            Err(StreamError::Eof {
                filled, wanted: of, ..
            }) if of == wanted => Expected::Eof { filled },
            Err(StreamError::Io {
                moved,
                wanted: of,
                ref source,
                ..
            }) if of == wanted && source.kind() == ErrorKind::ConnectionReset => {
                Expected::Reset { moved }
            }
            Err(StreamError::Poisoned { moved, wanted, .. }) => {
                Expected::Poisoned { moved, wanted }
            }
            ref other => panic!("a read of {wanted} has ended with {other:?}: {self:?}"),
        };
        assert_eq!(Some(&seen), self.expected(wanted).as_ref(), "{self:?}");
        let moved = match seen {
            Expected::Filled => wanted,
            Expected::Eof { filled: moved } | Expected::Reset { moved } => moved,
            Expected::Poisoned { .. } => return,
        };
        assert_same(&buf[..moved], data(self.at, moved));
        self.stopped(moved, wanted);
    }

    /// The read was dropped, and the next one finds this.
    pub(crate) fn cancelled(&mut self, poison: Poison) {
        let Reading { wanted, taken } = self.reading.take().expect("a read has begun");
        if self.poison.is_some() {
            assert_eq!(poison, self.poison, "{self:?}");
            return;
        }
        let (moved, of) = poison.unwrap_or((0, wanted));
        assert_eq!(of, wanted);
        assert!(moved <= self.queued && moved <= wanted, "{moved}: {self:?}");
        assert!(
            taken.is_none_or(|taken| taken == moved),
            "{moved}, not {taken:?}: {self:?}"
        );
        self.stopped(moved, wanted);
    }

    fn stopped(&mut self, moved: usize, wanted: usize) {
        self.at += moved;
        self.queued -= moved;
        self.poison = half_way(moved, wanted);
    }
}

/// From us to the peer.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// Where in the stream the first byte is.
    start: usize,
    /// How much of it the kernel has, but for what a write in progress has moved.
    sent: usize,
    pub(crate) received: usize,
    pub(crate) is_shut: bool,
    peer_has_left: bool,
    writing: Option<Writing>,
    poison: Poison,
}

#[derive(Debug)]
struct Writing {
    wanted: usize,
    /// It has begun when the peer had left already.
    is_late: bool,
}

impl Outgoing {
    pub(crate) fn starting_at(start: usize) -> Outgoing {
        Outgoing {
            start,
            ..Outgoing::default()
        }
    }

    pub(crate) fn begin(&mut self, wanted: usize) -> &'static [u8] {
        self.writing = Some(Writing {
            wanted,
            is_late: self.peer_has_left,
        });
        data(self.start + self.sent, wanted)
    }

    pub(crate) fn peer_leaves(&mut self) {
        self.peer_has_left = true;
    }

    /// The peer has read this.
    pub(crate) fn received(&mut self, bytes: &[u8]) {
        assert_same(bytes, data(self.start + self.received, bytes.len()));
        self.received += bytes.len();
        let offered = self.sent + self.writing.as_ref().map_or(0, |writing| writing.wanted);
        assert!(self.received <= offered, "{self:?}");
    }

    /// Whether all that the kernel has taken has been received.
    pub(crate) fn is_all_received(&self) -> bool {
        self.sent == self.received
    }

    /// Whether a write that has begun may wait for room.
    pub(crate) fn may_wait(&self) -> bool {
        let dead = self.poison.is_some() || self.is_shut || self.peer_has_left;
        self.writing.as_ref().is_some_and(|writing| {
            !dead && writing.wanted > 0 && self.in_flight(writing.wanted) > SURE_ROOM
        })
    }

    fn in_flight(&self, wanted: usize) -> usize {
        self.sent + wanted - self.received
    }

    /// The write has completed.
    pub(crate) fn finished(&mut self, (_, result): &Outcome) {
        let Writing { wanted, is_late } = self.writing.take().expect("a write has begun");
        let moved = match *result {
            Err(StreamError::Poisoned { moved, wanted, .. }) => {
                assert_eq!(Some((moved, wanted)), self.poison, "{self:?}");
                return;
            }
            Ok(()) => {
                let dead = self.is_shut || is_late;
                assert!(!dead || wanted == 0, "{wanted} into nowhere: {self:?}");
                assert!(self.in_flight(wanted) <= MOST_ROOM, "{wanted}: {self:?}");
                wanted
            }
            Err(StreamError::Io {
                moved,
                wanted: of,
                ref source,
                ..
            }) => {
                let kind = source.kind();
                let expected = match kind {
                    ErrorKind::BrokenPipe => self.is_shut || self.peer_has_left,
                    // Reported once, to whichever direction asks first.
                    ErrorKind::ConnectionReset => self.peer_has_left,
                    _ => false,
                };
                assert!(expected && of == wanted, "{source}: {self:?}");
                assert!(moved < wanted, "{moved} of {wanted}: {self:?}");
                assert!(moved == 0 || !(is_late || self.is_shut), "{self:?}");
                moved
            }
            ref other => panic!("a write of {wanted} has ended with {other:?}: {self:?}"),
        };
        assert!(self.poison.is_none(), "{result:?}: {self:?}");
        self.stopped(moved, wanted);
    }

    /// The write was dropped, and the next one finds this.
    pub(crate) fn cancelled(&mut self, poison: Poison) {
        let wanted = self.writing.take().expect("a write has begun").wanted;
        if self.poison.is_some() {
            assert_eq!(poison, self.poison, "{self:?}");
            return;
        }
        let (moved, of) = poison.unwrap_or((0, wanted));
        assert_eq!(of, wanted);
        assert!(moved <= wanted, "{moved} of {wanted}");
        self.stopped(moved, wanted);
    }

    fn stopped(&mut self, moved: usize, wanted: usize) {
        self.sent += moved;
        self.poison = half_way(moved, wanted);
    }
}

fn half_way(moved: usize, wanted: usize) -> Poison {
    (moved > 0 && moved < wanted).then_some((moved, wanted))
}

/// The bytes of any stream, from one place on.
pub(crate) fn data(at: usize, len: usize) -> &'static [u8] {
    static DATA: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut bytes = pattern(1, PERIOD);
        while bytes.len() < PERIOD + LONGEST {
            bytes.extend_from_within(..PERIOD);
        }
        bytes
    });
    &DATA[at % PERIOD..][..len]
}

/// A prime, so that no two chunks of the kernel's are alike.
const PERIOD: usize = 65_521;

/// The longest operation: more than the buffers of link.rs take.
pub(crate) const LONGEST: usize = 1_500_000;

/// So much always fits in between us and the peer.
const SURE_ROOM: usize = 4096;

/// And so much never does.
const MOST_ROOM: usize = 1_000_000;
