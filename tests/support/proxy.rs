//! A proxy that does to a connection what networks and peers do.
//!
//! It stands between a client and a server, with a thread for each direction and
//! a plan for what to do with what comes. Nothing is reordered: TCP does not.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use super::DEADLINE;

/// What happens to one direction: pieces are passed on, then comes its end.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) end: End,
}

/// So many bytes, after a pause.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) len: usize,
    pub(crate) pause: Duration,
    /// The byte of it whose highest bit is turned, if it has so many.
    pub(crate) corrupt: Option<usize>,
}

/// What happens behind the last piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The rest is passed on as it comes.
    PassOn,
    /// This direction ends, as if the peer had shut it down.
    HalfClose,
    /// Both directions end.
    Cut,
    /// Both ends get a reset.
    Reset,
    /// Nothing more is passed on, until the receiver gives up.
    Stall,
}

/// What a direction has passed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    pub(crate) bytes: usize,
    /// The receiver went away, so that it is not known how much it got of more.
    pub(crate) refused: bool,
    pub(crate) corrupted: bool,
}

/// A proxy for one connection.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    begin: Sender<()>,
    thread: JoinHandle<[Passed; 2]>,
}

impl Proxy {
    /// Listens, and will pass one connection on to `server`: `there` is what
    /// happens to what the client sends, `back` to the answers.
    pub(crate) fn start(server: SocketAddr, there: Plan, back: Plan) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (begin, may_begin) = channel();
        let thread = thread::spawn(move || {
            let (client, _) = listener.accept().expect("a client");
            drop(listener);
            let server = TcpStream::connect(server).expect("the server listens");
            for socket in [&client, &server] {
                socket.set_nodelay(true).expect("a TCP socket");
                let socket = SockRef::from(socket);
                socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
                socket.set_write_timeout(Some(DEADLINE)).expect("a timeout");
            }
            may_begin.recv().expect("somebody has it begin");
            let reset = AtomicBool::new(false);
            thread::scope(|scope| {
                let there = scope.spawn(|| pass(&client, &server, &there, &reset));
                let back = pass(&server, &client, &back, &reset);
                [there.join().expect("no panic"), back]
            })
        });
        Proxy {
            address,
            begin,
            thread,
        }
    }

    /// Begins, now that both ends are connected: a reset that comes earlier is an error
    /// of connecting.
    pub(crate) fn begin(&self) {
        self.begin.send(()).expect("the proxy waits for it");
    }

    /// Waits for both directions: what was passed there, and back.
    pub(crate) fn join(self) -> [Passed; 2] {
        self.thread.join().expect("the proxy did not panic")
    }
}

fn pass(mut from: &TcpStream, mut to: &TcpStream, plan: &Plan, reset: &AtomicBool) -> Passed {
    let mut passed = Passed {
        bytes: 0,
        refused: false,
        corrupted: false,
    };
    for piece in &plan.pieces {
        let mut bytes = vec![0; piece.len];
        let mut filled = 0;
        while filled < piece.len {
            match from.read(&mut bytes[filled..]) {
                Ok(0) | Err(_) => break,
                Ok(count) => filled += count,
            }
        }
        let whole = filled == piece.len;
        bytes.truncate(filled);
        if let Some(byte) = piece.corrupt.and_then(|at| bytes.get_mut(at)) {
            *byte ^= 0x80;
            passed.corrupted = true;
        }
        thread::sleep(piece.pause);
        match to.write_all(&bytes) {
            Ok(()) => passed.bytes += bytes.len(),
            Err(_) => passed.refused = true,
        }
        if passed.refused || !whole {
            close(from, to, reset);
            return passed;
        }
    }
    match plan.end {
        End::PassOn => {
            let mut bytes = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                if to.write_all(&bytes[..count]).is_err() {
                    passed.refused = true;
                    break;
                }
                passed.bytes += count;
            }
            close(from, to, reset);
        }
        End::HalfClose => {
            let _ = to.shutdown(Shutdown::Write);
            drain(from);
        }
        End::Stall => drain(from),
        End::Cut => {
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        }
        End::Reset => {
            reset.store(true, Ordering::Relaxed);
            for socket in [from, to] {
                // Closed with this, it sends a reset; the other direction lets go
                // of it when it reads no more.
                let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
                let _ = socket.shutdown(Shutdown::Read);
            }
        }
    }
    passed
}

/// The sender has ended: so does the receiver's side, unless a reset ends both.
fn close(from: &TcpStream, to: &TcpStream, reset: &AtomicBool) {
    if reset.load(Ordering::Relaxed) {
        return;
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

/// Takes what comes and passes nothing on, so that the sender is not held up.
fn drain(mut from: &TcpStream) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(1..) = from.read(&mut bytes) {}
}
