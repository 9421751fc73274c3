//! Frames of any length, written, fed and flushed in any order, given up at any
//! time, to a peer that reads as it likes: what it gets is what an encoder makes
//! of the frames that were taken.

#![no_main]

use std::cell::RefCell;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::task::Poll;
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use readinto::{FrameError, FrameWriter, Prefix, StreamError};
use readinto_fuzz::{Lab, MOST_PATTERN, Memory, header, pattern};

#[derive(Arbitrary, Debug)]
struct Plan {
    prefix: u8,
    memory: Memory,
    has_time_limit: bool,
    /// Whether the kernel takes but a few KiB at once.
    is_narrow: bool,
    /// Whether the stream is taken back from the writer, with what it was fed.
    is_taken_back: bool,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Step {
    /// A frame in so many parts, given up after so many turns.
    Send(Way, Size, u8, u8),
    /// A flush, given up after so many turns.
    Flush(u8),
    /// The peer reads up to so many bytes.
    Drain(u16),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Way {
    Write,
    Feed,
}

/// A number of bytes, mostly one at which something changes.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Size {
    Small(u8),
    Medium(u16),
    /// About the longest that is copied.
    Copied(i8),
    /// About the longest that a short prefix can say.
    Short(i8),
    /// More than one poll may move.
    Long,
}

impl Size {
    fn bytes(self) -> usize {
        match self {
            Size::Small(len) => len.into(),
            Size::Medium(len) => len.into(),
            Size::Copied(by) => (8 * 1024_usize).saturating_add_signed(by.into()),
            Size::Short(by) => 0xffff_usize.saturating_add_signed(by.into()),
            Size::Long => MOST_PATTERN,
        }
    }
}

thread_local! {
    static LABS: [RefCell<Lab>; 3] = [Memory::Unbounded, Memory::Budget, Memory::NoBlocks]
        .map(|memory| RefCell::new(Lab::new(memory)));
}

fuzz_target!(|plan: Plan| {
    LABS.with(|labs| run(&plan, &mut labs[plan.memory as usize].borrow_mut()));
});

fn run(plan: &Plan, lab: &mut Lab) {
    let (stream, peer) = lab.connect();
    if plan.is_narrow {
        let narrow = stream.socket().set_send_buffer_size(1);
        narrow.expect("the kernel takes the least that it can");
    }
    let prefix = Prefix::ALL[usize::from(plan.prefix) % Prefix::ALL.len()];
    let mut writer = FrameWriter::new(stream.split().1, prefix);
    if plan.has_time_limit {
        writer = writer.stall_timeout(HOUR);
    }
    let mut case = Case {
        lab,
        writer,
        prefix,
        peer: Peer {
            socket: peer,
            received: Vec::new(),
        },
        taken: Vec::new(),
        ends: vec![0],
        flushed: 0,
        given_up: Vec::new(),
        poison: None,
    };
    for &step in plan.steps.iter().take(MOST_STEPS) {
        case.step(step);
    }
    match plan.is_taken_back {
        true => case.take_back(),
        false => case.finish(),
    }
}

/// The other end.
struct Peer {
    socket: UnixStream,
    received: Vec<u8>,
}

impl Peer {
    /// Reads up to so many bytes. Tells whether the stream has ended.
    fn drain(&mut self, most: usize) -> bool {
        let before = self.received.len();
        // At its end at the latest, it would have to wait.
        let read = (&self.socket)
            .take(most as u64)
            .read_to_end(&mut self.received);
        read.is_ok() && self.received.len() - before < most
    }
}

struct Case<'a> {
    lab: &'a mut Lab,
    writer: FrameWriter,
    prefix: Prefix,
    peer: Peer,
    /// The frames that the writer has taken, as they go on the wire.
    taken: Vec<u8>,
    /// Where each of them ends, and where the first begins.
    ends: Vec<usize>,
    /// How much of them has been sent for sure.
    flushed: usize,
    /// The frame that was given up last, unless it is known that nothing of it
    /// was sent.
    given_up: Vec<u8>,
    /// How much of it was sent, and how much it is.
    poison: Option<(usize, usize)>,
}

impl Case<'_> {
    fn step(&mut self, step: Step) {
        match step {
            Step::Send(way, size, parts, turns) => {
                let parts = 1 + usize::from(parts % 20);
                self.send(way, size.bytes(), parts, (turns % 4).into());
            }
            Step::Flush(turns) => {
                let flush = self.writer.flush();
                let outcome = self.lab.attempt(1 + usize::from(turns % 3), flush);
                if self.is_done(outcome) {
                    self.flushed = self.taken.len();
                }
            }
            Step::Drain(most) => {
                self.peer.drain(most.into());
            }
        }
    }

    fn send(&mut self, way: Way, len: usize, parts: usize, turns: usize) {
        if self.taken.len() + len > MOST_BYTES {
            return;
        }
        let payload = pattern(self.taken.len(), len);
        let parts: Vec<_> = payload.chunks(len.div_ceil(parts).max(1)).collect();
        let write = match way {
            Way::Write => self.writer.write(&parts[..]),
            Way::Feed => self.writer.feed(&parts[..]),
        };
        let outcome = self.lab.attempt(turns, write);
        if turns == 0 {
            return;
        }
        if len as u64 > self.prefix.max_len() {
            match outcome {
                Poll::Ready(Err(FrameError::PrefixOverflow {
                    len: named, prefix, ..
                })) => {
                    assert_eq!((named, prefix), (len as u64, self.prefix));
                }
                outcome => panic!("{outcome:?} for {len} bytes behind {}", self.prefix),
            }
            return;
        }
        let frame = [&header(self.prefix, len as u64), payload].concat();
        let is_pending = outcome.is_pending();
        if self.is_done(outcome) {
            self.taken.extend(frame);
            self.ends.push(self.taken.len());
            if matches!(way, Way::Write) {
                self.flushed = self.taken.len();
            }
        } else if is_pending {
            self.given_up = frame;
        }
    }

    /// Whether an operation, which was polled, has succeeded.
    fn is_done(&mut self, outcome: Poll<Result<(), FrameError>>) -> bool {
        match outcome {
            Poll::Ready(Err(FrameError::Poisoned { moved, wanted, .. })) => {
                assert_eq!(wanted, self.given_up.len());
                assert!(0 < moved && moved < wanted, "{moved} of {wanted}");
                let poison = *self.poison.get_or_insert((moved, wanted));
                assert_eq!(poison, (moved, wanted));
                return false;
            }
            Poll::Ready(Err(error)) => panic!("{error:?}"),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        assert_eq!(self.poison, None, "it says so for ever");
        self.given_up.clear();
        outcome.is_ready()
    }

    /// Flushes, and looks at all that has come.
    fn finish(mut self) {
        let Case {
            lab, writer, peer, ..
        } = &mut self;
        let flushed = lab.attempt_while(ENOUGH, writer.flush(), || {
            peer.drain(MOST_BYTES);
        });
        assert!(flushed.is_ready(), "nobody was woken");
        self.is_done(flushed);
        drop(self.writer);
        assert!(self.peer.drain(usize::MAX), "it was closed");
        let moved = self.poison.map_or(0, |(moved, _)| moved);
        self.taken.extend(&self.given_up[..moved]);
        assert_same(&self.peer.received, &self.taken);
    }

    /// Goes on without frames, and looks where the last one ends.
    fn take_back(self) {
        let Case { lab, mut peer, .. } = self;
        let mut half = self.writer.into_inner();
        let written = lab.attempt_while(ENOUGH, half.write_all(b"!"), || {
            peer.drain(MOST_BYTES);
        });
        drop(half);
        assert!(peer.drain(usize::MAX), "it was closed");
        let mut expected = [self.taken.clone(), self.given_up.clone()].concat();
        let len = match written {
            Poll::Ready(Ok(())) => {
                assert_eq!(peer.received.pop(), Some(b'!'));
                let end = peer.received.len();
                assert!(end >= self.flushed && self.ends.contains(&end), "{end}");
                end
            }
            // A frame was begun, or what was fed.
            Poll::Ready(Err(StreamError::Poisoned { moved, wanted, .. })) => {
                assert!(0 < moved && moved < wanted, "{moved} of {wanted}");
                match peer.received.len().checked_sub(self.taken.len()) {
                    Some(_) => self.taken.len() + moved,
                    None => self.taken.len() - wanted + moved,
                }
            }
            outcome => panic!("{outcome:?} behind the frames"),
        };
        expected.truncate(len);
        assert_same(&peer.received, &expected);
    }
}

#[track_caller]
fn assert_same(received: &[u8], expected: &[u8]) {
    assert_eq!(received.len(), expected.len());
    assert!(received == expected, "other bytes");
}

const HOUR: Duration = Duration::from_secs(3600);

/// How long a plan may be.
const MOST_STEPS: usize = 64;

/// How many bytes it may send, in payloads.
const MOST_BYTES: usize = 1024 * 1024;

/// How many turns all of them are sent in, a few KiB in each.
const ENOUGH: usize = 4096;
