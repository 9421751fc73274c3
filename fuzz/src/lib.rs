//! What the fuzz targets share: a reactor to work on, futures that are polled by
//! hand, and bytes that tell their places apart.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::pin::{Pin, pin};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use arbitrary::Arbitrary;
use readinto::{Address, FrameReader, FrameWriter, Listener, Prefix, Reactor, Stream};

/// A reactor that serves one case after the other, and what wakes it.
///
/// Its memory goes from case to case, so bytes that one left behind are there
/// for the next to stumble over.
pub struct Lab {
    reactor: Reactor,
    listener: Listener,
    address: SocketAddr,
    woken: Arc<Woken>,
    waker: Waker,
    hog: Option<Hog>,
    /// They hold the blocks that the budget has.
    _writers: Vec<(FrameWriter, UnixStream)>,
}

/// How much memory the reactor may lend.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// As much as there is.
    Unbounded,
    /// The least budget that the library accepts.
    Budget,
    /// The same, with all of its blocks in use by others.
    NoBlocks,
}

/// The least memory budget.
const BUDGET: usize = 128 * 1024;

/// The longest frame that it can hold: three quarters are for frames.
pub const LONGEST: usize = BUDGET / 4 * 3;

/// How many blocks it has: a quarter is for them, and each has 16 KiB.
const BLOCKS: usize = BUDGET / 4 / (16 * 1024);

impl Lab {
    /// Opens a reactor of this kind.
    pub fn new(memory: Memory) -> Lab {
        let builder = match memory {
            Memory::Unbounded => Reactor::builder(),
            Memory::Budget | Memory::NoBlocks => Reactor::builder().memory_budget(BUDGET),
        };
        let reactor = builder.build().expect("a reactor");
        // A name without a file: nobody has to remove it.
        let name = format!("readinto-fuzz-{}-{memory:?}", process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let path = Address::Unix(format!("\0{name}").into());
        let listener = Listener::bind(&reactor.handle(), &path).expect("a free name");
        let woken = Arc::new(Woken::default());
        let mut lab = Lab {
            reactor,
            listener,
            address,
            waker: woken.clone().into(),
            woken,
            hog: None,
            _writers: Vec::new(),
        };
        match memory {
            Memory::Unbounded => {}
            Memory::Budget => lab.hog = Some(Hog::new(&mut lab)),
            Memory::NoBlocks => {
                lab.hog = Some(Hog::new(&mut lab));
                lab._writers = (0..BLOCKS).map(|_| lab.block_in_use()).collect();
            }
        }
        lab
    }

    /// A stream of the reactor's, and the socket at its other end, which never
    /// waits.
    pub fn connect(&mut self) -> (Stream, UnixStream) {
        let peer = UnixStream::connect_addr(&self.address).expect("the listener is there");
        peer.set_nonblocking(true).expect("a socket");
        let accepted = self.reactor.block_on(self.listener.accept());
        let stream = accepted.expect("a reactor").expect("a connection");
        (stream, peer)
    }

    /// Polls `future` for so many turns, and drops it.
    ///
    /// It is polled again only if it was woken: one that nobody wakes stays
    /// pending, as it would in a task.
    pub fn attempt<F: Future>(&mut self, turns: usize, future: F) -> Poll<F::Output> {
        self.attempt_while(turns, future, || ())
    }

    /// As [`attempt`](Lab::attempt), with `meanwhile` called before each turn.
    pub fn attempt_while<F: Future>(
        &mut self,
        turns: usize,
        future: F,
        meanwhile: impl FnMut(),
    ) -> Poll<F::Output> {
        self.woken.0.store(true, Ordering::Relaxed);
        self.go_on(turns, pin!(future), meanwhile)
    }

    /// As [`attempt`](Lab::attempt), with all [patience](PATIENCE). If that is in
    /// vain, it may be memory that is missing: it is returned then, and whoever
    /// waits is to hear of it.
    pub fn insist<F: Future>(&mut self, future: F) -> Poll<F::Output> {
        self.woken.0.store(true, Ordering::Relaxed);
        let mut future = pin!(future);
        let polled = self.go_on(PATIENCE, future.as_mut(), || ());
        if polled.is_pending() {
            self.clear();
            return self.go_on(PATIENCE, future, || ());
        }
        polled
    }

    fn go_on<F: Future>(
        &mut self,
        turns: usize,
        mut future: Pin<&mut F>,
        mut meanwhile: impl FnMut(),
    ) -> Poll<F::Output> {
        let mut context = Context::from_waker(&self.waker);
        for _ in 0..turns {
            if self.woken.0.swap(false, Ordering::Relaxed)
                && let Poll::Ready(output) = future.as_mut().poll(&mut context)
            {
                return Poll::Ready(output);
            }
            meanwhile();
            self.reactor.turn(Some(Duration::ZERO)).expect("a turn");
        }
        Poll::Pending
    }

    /// Has somebody else hold most of the memory for frames, if that is bounded.
    pub fn crowd(&mut self) {
        if let Some(mut hog) = self.hog.take() {
            hog.take(self);
            self.hog = Some(hog);
        }
    }

    /// Has that memory returned.
    pub fn clear(&mut self) {
        if let Some(hog) = &mut self.hog {
            hog.give_back();
        }
    }

    fn block_in_use(&mut self) -> (FrameWriter, UnixStream) {
        let (stream, peer) = self.connect();
        let mut writer = FrameWriter::new(stream.split().1, Prefix::default());
        let fed = self.attempt(1, writer.feed(b"never flushed"));
        assert!(matches!(fed, Poll::Ready(Ok(()))), "{fed:?}");
        (writer, peer)
    }
}

/// Whether the future that is polled by hand was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A reader that keeps a long frame.
struct Hog {
    reader: FrameReader,
    peer: UnixStream,
    is_sent: bool,
    holds: bool,
}

impl Hog {
    fn new(lab: &mut Lab) -> Hog {
        let (stream, peer) = lab.connect();
        let reader = FrameReader::new(stream.split().0, Prefix::default(), HOGGED);
        Hog {
            reader,
            peer,
            is_sent: false,
            holds: false,
        }
    }

    /// Takes the frame, unless there is no room for it just now.
    fn take(&mut self, lab: &mut Lab) {
        if self.holds {
            return;
        }
        if !self.is_sent {
            send(&self.peer, &header(Prefix::default(), HOGGED as u64));
            send(&self.peer, pattern(0, HOGGED));
            self.is_sent = true;
        }
        self.holds = lab
            .attempt(PATIENCE, self.reader.next())
            .map(|frame| assert_eq!(frame.expect("a frame"), Some(pattern(0, HOGGED))))
            .is_ready();
    }

    fn give_back(&mut self) {
        if self.holds {
            let mut context = Context::from_waker(Waker::noop());
            let waits = pin!(self.reader.next()).poll(&mut context);
            assert!(waits.is_pending(), "{waits:?}");
            self.is_sent = false;
            self.holds = false;
        }
    }
}

/// The length of the frame that is kept: a frame that is longer than a block
/// does not fit beside it.
pub const HOGGED: usize = LONGEST - 16 * 1024;

/// How many turns whatever can be done is done in. A poll moves up to 256 KiB.
pub const PATIENCE: usize = 16;

/// Sends what the kernel takes, and tells how much that was.
pub fn send(mut peer: &UnixStream, bytes: &[u8]) -> usize {
    std::io::Write::write(&mut peer, bytes).unwrap_or(0)
}

/// A length as it goes on the wire, in the plainest way; cut to what the prefix
/// can say.
pub fn header(prefix: Prefix, len: u64) -> Vec<u8> {
    match prefix {
        Prefix::U16Be => (len as u16).to_be_bytes().to_vec(),
        Prefix::U16Le => (len as u16).to_le_bytes().to_vec(),
        Prefix::U32Be => (len as u32).to_be_bytes().to_vec(),
        Prefix::U32Le => (len as u32).to_le_bytes().to_vec(),
        Prefix::U64Be => len.to_be_bytes().to_vec(),
        Prefix::U64Le => len.to_le_bytes().to_vec(),
        _ => unreachable!("{prefix} is new"),
    }
}

/// `len` bytes in which a place shows: those that belong at `place`.
pub fn pattern(place: usize, len: usize) -> &'static [u8] {
    static BYTES: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
        let mut word = 0x9e37_79b9_u32;
        let next = || {
            word ^= word << 13;
            word ^= word >> 17;
            word ^= word << 5;
            word as u8
        };
        std::iter::repeat_with(next)
            .take(PERIOD + MOST_PATTERN)
            .collect()
    });
    &BYTES[place % PERIOD..][..len]
}

/// After so many bytes the pattern repeats itself: a prime, so that no misplacement
/// by a block goes unnoticed.
const PERIOD: usize = 65_521;

/// The longest slice of the pattern.
pub const MOST_PATTERN: usize = 256 * 1024;
