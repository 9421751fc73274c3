//! Any bytes, cut anywhere, read in any way and given up at any time: what comes
//! out is what a parser finds that has all the bytes in one slice.

#![no_main]

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::task::Poll;
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use readinto::{FrameError, FrameReader, Prefix, StreamError};
use readinto_fuzz::{LONGEST, Lab, MOST_PATTERN, Memory, header, pattern, send};

#[derive(Arbitrary, Debug)]
struct Plan {
    prefix: u8,
    /// Without it, any.
    max: Option<Size>,
    memory: Memory,
    has_time_limits: bool,
    ending: Ending,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Step {
    /// A prefix, and as many bytes as it says, are to be sent next.
    Frame(Size),
    /// A prefix is to be sent next: any length, and nothing behind it.
    Claim(u64),
    /// A byte is to be sent next.
    Byte(u8),
    /// So many of those bytes are sent.
    Send(u8),
    /// All of them are.
    SendAll,
    /// One try to read, given up after so many turns.
    Read(Way, u8),
    /// Somebody else takes most of the memory.
    Crowd,
    /// That memory is returned.
    Clear,
}

/// A number of bytes, mostly one at which something changes.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Size {
    Small(u8),
    Medium(u16),
    /// About a block.
    Block(i8),
    /// About what the memory budget can hold.
    Budget(i8),
}

impl Size {
    fn bytes(self) -> usize {
        match self {
            Size::Small(len) => len.into(),
            Size::Medium(len) => len.into(),
            Size::Block(by) => (16 * 1024_usize).saturating_add_signed(by.into()),
            Size::Budget(by) => LONGEST.saturating_add_signed(by.into()),
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Next,
    Len,
    Into,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The peer ends its side.
    Shutdown,
    /// It does before it has sent the last bytes.
    Cut,
    /// It closes with bytes unread, which makes a reset of it.
    Reset,
    /// The rest is read without frames.
    IntoInner,
}

thread_local! {
    static LABS: [RefCell<Lab>; 3] = [Memory::Unbounded, Memory::Budget, Memory::NoBlocks]
        .map(|memory| RefCell::new(Lab::new(memory)));
}

fuzz_target!(|plan: Plan| {
    LABS.with(|labs| run(&plan, &mut labs[plan.memory as usize].borrow_mut()));
});

fn run(plan: &Plan, lab: &mut Lab) {
    lab.clear();
    let (stream, peer) = lab.connect();
    let (read, mut write) = stream.split();
    // It makes a reset of a close.
    let unread = lab.attempt(1, write.write_all(b"!"));
    assert!(matches!(unread, Poll::Ready(Ok(()))), "{unread:?}");

    let prefix = Prefix::ALL[usize::from(plan.prefix) % Prefix::ALL.len()];
    let max = plan.max.map_or(usize::MAX, Size::bytes);
    let mut reader = FrameReader::new(read, prefix, max);
    if plan.has_time_limits {
        reader = reader.idle_timeout(HOUR).frame_timeout(HOUR);
    }
    let mut case = Case {
        lab,
        reader,
        peer,
        is_bounded: plan.memory != Memory::Unbounded,
        wire: Wire::new(prefix, max),
        len: None,
        mine: None,
        is_between: true,
    };
    for &step in plan.steps.iter().take(MOST_STEPS) {
        case.step(step);
    }
    case.finish(plan.ending);
}

/// How long a read is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turns {
    /// It is given up after so many turns.
    Few(usize),
    /// It is waited for as long as anything can happen.
    Enough,
}

impl Turns {
    fn attempt<F: Future>(self, lab: &mut Lab, future: F) -> Poll<F::Output> {
        match self {
            Turns::Few(turns) => lab.attempt(turns, future),
            Turns::Enough => lab.insist(future),
        }
    }
}

/// The bytes of the peer, and a parser that has them in one slice.
struct Wire {
    prefix: Prefix,
    max: usize,
    /// What has been sent and what is to be.
    bytes: Vec<u8>,
    sent: usize,
    /// How much of it has been read, in whole frames.
    read: usize,
    ended: Option<Ending>,
}

/// What a read of a payload comes to.
#[derive(Debug)]
enum Expected<'a> {
    /// More bytes are needed, and may come.
    Nothing,
    Frame(&'a [u8]),
    TooLarge(u64),
    Truncated {
        got: usize,
        wanted: usize,
    },
    End,
    Reset,
}

impl Wire {
    fn new(prefix: Prefix, max: usize) -> Wire {
        Wire {
            prefix,
            max,
            bytes: Vec::new(),
            sent: 0,
            read: 0,
            ended: None,
        }
    }

    /// What has been sent and not been read as a frame.
    fn there(&self) -> &[u8] {
        &self.bytes[self.read..self.sent]
    }

    /// The length of the next payload, or why there is none.
    fn len(&self) -> Result<usize, Expected<'static>> {
        let (there, wanted) = (self.there(), self.prefix.size());
        if there.len() < wanted {
            return Err(match self.missing(there.len(), wanted) {
                Expected::Truncated { got: 0, .. } => Expected::End,
                missing => missing,
            });
        }
        let announced = value(self.prefix, &there[..wanted]);
        match usize::try_from(announced) {
            Ok(len) if len <= self.max => Ok(len),
            _ => Err(Expected::TooLarge(announced)),
        }
    }

    fn payload(&self) -> Expected<'_> {
        let len = match self.len() {
            Ok(len) => len,
            Err(expected) => return expected,
        };
        let there = &self.there()[self.prefix.size()..];
        match there.get(..len) {
            Some(payload) => Expected::Frame(payload),
            None => self.missing(there.len(), len),
        }
    }

    /// What it means that not all is there.
    fn missing(&self, got: usize, wanted: usize) -> Expected<'static> {
        match self.ended {
            None => Expected::Nothing,
            Some(Ending::Reset) => Expected::Reset,
            Some(_) => Expected::Truncated { got, wanted },
        }
    }
}

/// The number that a prefix says, in the plainest way.
fn value(prefix: Prefix, bytes: &[u8]) -> u64 {
    let append = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    match prefix {
        Prefix::U16Be | Prefix::U32Be | Prefix::U64Be => bytes.iter().fold(0, append),
        Prefix::U16Le | Prefix::U32Le | Prefix::U64Le => bytes.iter().rev().fold(0, append),
        _ => unreachable!("{prefix} is new"),
    }
}

struct Case<'a> {
    lab: &'a mut Lab,
    reader: FrameReader,
    peer: UnixStream,
    is_bounded: bool,
    wire: Wire,
    /// The length that `next_len` has returned for this frame.
    len: Option<usize>,
    /// Where its payload goes, once that has been begun.
    mine: Option<Vec<u8>>,
    /// Whether nothing was tried since the last frame.
    is_between: bool,
}

impl Case<'_> {
    fn step(&mut self, step: Step) {
        let Wire { prefix, bytes, .. } = &mut self.wire;
        match step {
            Step::Frame(size) => {
                let len = size.bytes();
                if bytes.len() + len <= MOST_BYTES {
                    bytes.extend(header(*prefix, len as u64));
                    bytes.extend(pattern(bytes.len(), len));
                }
            }
            Step::Claim(len) => bytes.extend(header(*prefix, len)),
            Step::Byte(byte) => bytes.push(byte),
            Step::Send(count) => self.send(count.into()),
            Step::SendAll => self.send(MOST_BYTES),
            Step::Read(way, turns) => self.read(way, Turns::Few((turns % 4).into())),
            Step::Crowd => self.lab.crowd(),
            Step::Clear => self.lab.clear(),
        }
    }

    fn send(&mut self, most: usize) {
        let rest = &self.wire.bytes[self.wire.sent..];
        self.wire.sent += send(&self.peer, &rest[..rest.len().min(most)]);
    }

    fn finish(mut self, ending: Ending) {
        if ending != Ending::Cut {
            self.send(MOST_BYTES);
        }
        match ending {
            Ending::IntoInner => return self.read_without_frames(),
            Ending::Shutdown | Ending::Cut => self.peer.shutdown(Shutdown::Write),
            Ending::Reset => self.close(),
        }
        .expect("a connected socket");
        self.wire.ended = Some(ending);
        while self.read_patiently() {}
        // And so it stays.
        assert!(!self.read_patiently());
    }

    /// Closes the peer's socket, with a byte in it that it has not read.
    fn close(&mut self) -> io::Result<()> {
        let (unconnected, _) = UnixStream::pair()?;
        self.peer = unconnected;
        Ok(())
    }

    /// Reads a frame, whatever it takes. There is none if this is `false`.
    fn read_patiently(&mut self) -> bool {
        let read = self.wire.read;
        // Whatever was begun, one of them goes on with it.
        for way in [Way::Next, Way::Len, Way::Into] {
            self.read(way, Turns::Enough);
            if self.wire.read > read {
                return true;
            }
        }
        false
    }

    fn read(&mut self, way: Way, turns: Turns) {
        match way {
            Way::Next => self.next(turns),
            Way::Len => self.next_len(turns),
            Way::Into => self.read_into(turns),
        }
        let (buffered, there) = (self.reader.buffered(), self.wire.there().len());
        assert!(buffered <= there, "{buffered} of {there} bytes");
        assert_eq!(self.reader.is_mid_frame(), buffered > 0);
    }

    fn next(&mut self, turns: Turns) {
        self.is_between = false;
        let expected = self.wire.payload();
        let is_there = self.reader.is_next_ready();
        let next = self.reader.next();
        match (turns.attempt(self.lab, next), expected) {
            (Poll::Ready(Ok(Some(payload))), Expected::Frame(sent)) => {
                assert!(payload == sent, "another frame of {} bytes", payload.len());
                self.frame_ended();
            }
            (Poll::Ready(Ok(None)), Expected::End) => {}
            (Poll::Ready(Err(FrameError::OverBudget { len, longest, .. })), _) => {
                assert!(self.is_bounded && len > LONGEST && longest == LONGEST);
                assert_eq!(self.wire.len().ok(), Some(len));
            }
            (Poll::Ready(Err(FrameError::BegunElsewhere { filled, wanted, .. })), _) => {
                let mine = self.mine.as_ref().expect("it was begun");
                assert_eq!(wanted, mine.len());
                assert!(0 < filled && filled <= wanted);
                let sent = &self.wire.there()[self.wire.prefix.size()..][..filled];
                assert!(mine[..filled] == *sent, "other bytes among the {filled}");
            }
            (Poll::Ready(Err(error)), expected) => assert_error(&error, &expected, self.wire.max),
            (Poll::Pending, expected) => assert_may_wait(&expected, turns, is_there),
            (outcome, expected) => panic!("{outcome:?} instead of {expected:?}"),
        }
    }

    fn next_len(&mut self, turns: Turns) {
        self.is_between = false;
        let is_there = self.reader.is_next_ready();
        let next_len = self.reader.next_len();
        match (turns.attempt(self.lab, next_len), self.wire.len()) {
            (Poll::Ready(Ok(Some(len))), Ok(announced)) => {
                assert_eq!(len, announced);
                self.len = Some(len);
            }
            (Poll::Ready(Ok(None)), Err(Expected::End)) => {}
            (Poll::Ready(Err(error)), Err(expected)) => {
                assert_error(&error, &expected, self.wire.max);
            }
            (Poll::Pending, Err(expected)) => assert_may_wait(&expected, turns, is_there),
            (Poll::Pending, Ok(_)) => assert_may_wait(&Expected::End, turns, is_there),
            (outcome, announced) => panic!("{outcome:?} instead of {announced:?}"),
        }
    }

    fn read_into(&mut self, turns: Turns) {
        let due = match self.len {
            Some(len) => len,
            None if self.is_between => 0,
            None => return,
        };
        let other = if due == 1 { 2 } else { 1 };
        let mut wrong = [0; 2];
        let wrong = self.reader.read_payload_into(&mut wrong[..other]);
        match self.lab.attempt(1, wrong) {
            Poll::Ready(Err(FrameError::WrongBuffer {
                buffer, payload, ..
            })) => {
                assert_eq!((buffer, payload), (other, due));
            }
            outcome => panic!("{outcome:?} with a wrong buffer"),
        }
        if self.len.is_none() || due > MOST_BYTES {
            return;
        }
        let mine = self.mine.get_or_insert_with(|| vec![0; due]);
        let filled = self.reader.read_payload_into(mine);
        match (turns.attempt(self.lab, filled), self.wire.payload()) {
            (Poll::Ready(Ok(())), Expected::Frame(sent)) => {
                assert!(mine == sent, "another frame of {} bytes", mine.len());
                self.frame_ended();
            }
            (Poll::Ready(Err(error)), expected) => assert_error(&error, &expected, self.wire.max),
            (Poll::Pending, expected) => assert_may_wait(&expected, turns, false),
            (outcome, expected) => panic!("{outcome:?} instead of {expected:?}"),
        }
    }

    fn frame_ended(&mut self) {
        let len = self.wire.len().expect("it has one");
        self.wire.read += self.wire.prefix.size() + len;
        self.len = None;
        self.mine = None;
        self.is_between = true;
    }

    fn read_without_frames(self) {
        let mut half = self.reader.into_inner();
        let sent = self.wire.there();
        let mut rest = vec![0; sent.len()];
        match self.lab.insist(half.read_exact_into(&mut rest)) {
            Poll::Ready(Ok(())) => assert!(rest == sent, "other bytes behind the frames"),
            Poll::Ready(Err(StreamError::Poisoned { moved, .. })) => {
                assert!(!self.is_between, "poisoned between two frames");
                assert!(0 < moved && moved <= sent.len());
            }
            outcome => panic!("{outcome:?} behind the frames"),
        }
    }
}

#[track_caller]
fn assert_error(error: &FrameError, expected: &Expected<'_>, limit: usize) {
    let is_right = match (error, expected) {
        (FrameError::TooLarge { len, max, .. }, Expected::TooLarge(announced)) => {
            len == announced && *max == limit
        }
        (
            FrameError::Truncated { got, wanted, .. },
            Expected::Truncated {
                got: there,
                wanted: whole,
            },
        ) => (got, wanted) == (there, whole),
        (FrameError::Io { source, .. }, Expected::Reset) => {
            source.kind() == ErrorKind::ConnectionReset
        }
        _ => false,
    };
    assert!(is_right, "{error:?} instead of {expected:?}");
}

/// A read was given up after so many turns.
#[track_caller]
fn assert_may_wait(expected: &Expected<'_>, turns: Turns, is_there: bool) {
    let may_wait = match turns {
        Turns::Few(turns) => !is_there || turns == 0,
        Turns::Enough => matches!(expected, Expected::Nothing),
    };
    assert!(may_wait, "waits for what has arrived: {expected:?}");
}

const HOUR: Duration = Duration::from_secs(3600);

/// How long a plan may be.
const MOST_STEPS: usize = 64;

/// How many bytes it may send in frames. The kernel takes less at once.
const MOST_BYTES: usize = MOST_PATTERN;
