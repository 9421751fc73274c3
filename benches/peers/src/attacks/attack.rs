//! The attacks: what each is, and the process that carries it out.
//!
//! It says `ready`, waits for the word, attacks until it gets another, looks whether
//! the server admits a newcomer then, and tells what came of it.

use std::error::Error;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockRef, Socket, Type};

use crate::peer::{self, payload, raise_descriptor_limit, wait_for_the_word};

/// What the server has to bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Attack {
    /// Nothing but the neighbour
    Calm,
    /// Peers announce 200 MiB each and send 3 bytes
    Claims,
    /// Peers send frames and never read
    Deaf,
    /// Peers send a byte of a frame every 50 ms
    Drips,
    /// 10 000 times a second, a peer connects and closes
    Connects,
    /// The same, each with half a frame and then a reset
    Cuts,
    /// The same, each with 256 bytes of garbage
    Garbage,
    /// Peers connect until the server has no descriptor left, and stay
    Descriptors,
    /// One peer sends frames of 100 MB, one after the other
    LargeFrames,
    /// SIGTERM while peers have frames in flight
    Drain,
}

impl Attack {
    /// One line that says what it is, as in the help.
    pub(crate) fn describe(self) -> String {
        self.to_possible_value()
            .and_then(|value| value.get_help().map(ToString::to_string))
            .unwrap_or_default()
    }

    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Attack::Calm => "calm",
            Attack::Claims => "claims",
            Attack::Deaf => "deaf",
            Attack::Drips => "drips",
            Attack::Connects => "connects",
            Attack::Cuts => "cuts",
            Attack::Garbage => "garbage",
            Attack::Descriptors => "descriptors",
            Attack::LargeFrames => "large-frames",
            Attack::Drain => "drain",
        }
    }

    /// How many peers attack at once; 0 where they come and go.
    pub(crate) fn peers(self) -> usize {
        match self {
            Attack::Calm | Attack::Connects | Attack::Cuts | Attack::Garbage => 0,
            Attack::Claims => 500,
            Attack::Deaf | Attack::Descriptors => 1000,
            Attack::Drips => 200,
            Attack::LargeFrames => 1,
            Attack::Drain => 10,
        }
    }
}

/// What the attacking process is started with.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    attack: Attack,
    #[arg(long, value_name = "ADDRESS")]
    connect: SocketAddr,
    #[arg(long, value_name = "N")]
    peers: usize,
}

/// What came of an attack.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Feat {
    pub(crate) seconds: f64,
    /// Connections made.
    pub(crate) connections: u64,
    /// Attempts that the system or the server refused.
    pub(crate) refused: u64,
    /// Connections that the server has cut meanwhile.
    pub(crate) cut: u64,
    /// Frames that were sent to the last byte, before the signal where there is one.
    pub(crate) sent: u64,
    /// Those of them that were answered.
    pub(crate) answered: u64,
    /// How long a newcomer waited for its answer when all was over, if it got any.
    pub(crate) newcomer_seconds: Option<f64>,
}

/// Attacks, and reports.
pub(crate) fn run(plan: &Plan) -> Result<(), Box<dyn Error>> {
    raise_descriptor_limit();
    let assault = Assault {
        attack: plan.attack,
        address: plan.connect,
        peers: plan.peers,
        bytes: bytes(plan.attack),
        over: AtomicBool::new(false),
        connections: AtomicU64::new(0),
        refused: AtomicU64::new(0),
    };
    wait_for_the_word()?;
    let started = Instant::now();
    let mut feat = thread::scope(|scope| {
        let attacking = scope.spawn(|| assault.carry_out());
        let word = io::stdin().lock().read_line(&mut String::new());
        assault.over.store(true, Ordering::Relaxed);
        let feat = attacking.join().expect("it does not panic");
        word.and(feat)
    })?;
    feat.seconds = started.elapsed().as_secs_f64();
    feat.connections = assault.connections.into_inner();
    feat.refused = assault.refused.into_inner();
    feat.newcomer_seconds = newcomer(plan.connect).ok();
    Ok(peer::report(&serde_json::to_value(feat)?)?)
}

/// What its peers send, or begin to.
fn bytes(attack: Attack) -> Vec<u8> {
    match attack {
        Attack::Calm | Attack::Connects | Attack::Descriptors => Vec::new(),
        Attack::Claims => [&header(200 << 20)[..], b"abc"].concat(),
        Attack::Deaf => [frame(&payload(100_000)), frame(&payload(1000)).repeat(100)].concat(),
        Attack::Drips => frame(&payload(1000)),
        Attack::Cuts => frame(&payload(1000))[..500].to_vec(),
        Attack::Garbage => payload(256),
        Attack::LargeFrames => frame(&payload(100_000_000)),
        // More than the kernel's buffers hold.
        Attack::Drain => frame(&payload(8_000_000)),
    }
}

/// Connects, and has a frame echoed.
fn newcomer(address: SocketAddr) -> io::Result<f64> {
    let started = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let question = frame(b"served?");
    stream.write_all(&question)?;
    let mut answer = vec![0; question.len()];
    stream.read_exact(&mut answer)?;
    match answer == question {
        true => Ok(started.elapsed().as_secs_f64()),
        false => Err(ErrorKind::InvalidData.into()),
    }
}

/// An attack that goes on.
struct Assault {
    attack: Attack,
    address: SocketAddr,
    peers: usize,
    bytes: Vec<u8>,
    over: AtomicBool,
    connections: AtomicU64,
    refused: AtomicU64,
}

impl Assault {
    fn carry_out(&self) -> io::Result<Feat> {
        match self.attack {
            Attack::Calm | Attack::Claims | Attack::Descriptors => self.hold(),
            Attack::Deaf => self.never_read(),
            Attack::Drips => self.drip(),
            Attack::Connects | Attack::Cuts | Attack::Garbage => self.come_and_go(),
            Attack::LargeFrames => self.send_large_frames(),
            Attack::Drain => self.have_frames_in_flight(),
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// A connection, if it is to be had; counted either way.
    fn connect(&self) -> Option<TcpStream> {
        let connected = self.try_to_connect();
        let count = match connected {
            Ok(_) => &self.connections,
            Err(_) => &self.refused,
        };
        count.fetch_add(1, Ordering::Relaxed);
        connected.ok()
    }

    fn try_to_connect(&self) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, None)?;
        if self.attack == Attack::Deaf {
            // As across a network. On loopback, the kernel holds megabytes for each
            // connection, and the machine would be short of memory for sockets.
            socket.set_tcp_mss(SEGMENT)?;
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        }
        socket.connect_timeout(&self.address.into(), PATIENCE)?;
        Ok(socket.into())
    }

    /// All peers that can connect, until the attack is over.
    fn connect_all(&self) -> Vec<TcpStream> {
        let attempts = (0..self.peers).take_while(|_| !self.is_over());
        attempts.map_while(|_| self.connect()).collect()
    }

    /// Sends what there is on each connection, and holds it.
    fn hold(&self) -> io::Result<Feat> {
        let mut streams = self.connect_all();
        for stream in &mut streams {
            // Refused by the server, perhaps.
            let _ = stream.write_all(&self.bytes);
        }
        while !self.is_over() {
            thread::sleep(STEP);
        }
        Ok(Feat::default())
    }

    /// Sends as much as the server takes.
    fn never_read(&self) -> io::Result<Feat> {
        let mut deaf = self.connect_all();
        let mut sent = vec![0; deaf.len()];
        for stream in &deaf {
            stream.set_nonblocking(true)?;
        }
        let mut feat = Feat::default();
        while !self.is_over() {
            for (stream, sent) in deaf.iter_mut().zip(&mut sent) {
                while *sent < MOST_FROM_A_DEAF_PEER {
                    match stream.write(&self.bytes[*sent % self.bytes.len()..]) {
                        Ok(count) => *sent += count,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(_) => {
                            *sent = MOST_FROM_A_DEAF_PEER;
                            feat.cut += 1;
                        }
                    }
                }
                feat.cut += u64::from(stream.take_error()?.is_some());
            }
            thread::sleep(STEP);
        }
        Ok(feat)
    }

    fn drip(&self) -> io::Result<Feat> {
        let mut streams = self.connect_all();
        let mut bytes = self.bytes.chunks(1).cycle();
        while !self.is_over() {
            let byte = bytes.next().expect("there is always another");
            for stream in &mut streams {
                // A connection that the server has cut drips in vain.
                let _ = stream.write_all(byte);
            }
            thread::sleep(DRIP);
        }
        Ok(Feat::default())
    }

    /// Connects at [`RATE`], sends what there is, and closes.
    fn come_and_go(&self) -> io::Result<Feat> {
        thread::scope(|scope| {
            for _ in 0..FLOODERS {
                scope.spawn(|| {
                    let mut due = Instant::now();
                    while !self.is_over() {
                        self.come_once();
                        due += Duration::from_secs(1) * FLOODERS / RATE;
                        // Several at once are no fewer in a second.
                        let early = due.saturating_duration_since(Instant::now());
                        if early > STEP / 10 {
                            thread::sleep(early);
                        }
                    }
                });
            }
        });
        Ok(Feat::default())
    }

    fn come_once(&self) {
        let Some(mut stream) = self.connect() else {
            return;
        };
        // Whether the server has already had enough makes no difference.
        let _ = stream.write_all(&self.bytes);
        if self.attack == Attack::Cuts {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }

    fn send_large_frames(&self) -> io::Result<Feat> {
        let mut answer = vec![0; self.bytes.len()];
        let mut feat = Feat::default();
        let Some(mut stream) = self.connect() else {
            return Ok(feat);
        };
        while !self.is_over() && feat.cut == 0 {
            feat.sent += 1;
            match exchange(&mut stream, &self.bytes, &mut answer) {
                Ok(()) => feat.answered += 1,
                Err(_) => feat.cut = 1,
            }
        }
        Ok(feat)
    }

    /// Sends a large frame on each connection, so that the server is in the middle of
    /// its answer when the signal comes, and some small ones behind it.
    fn have_frames_in_flight(&self) -> io::Result<Feat> {
        let small = frame(b"in flight");
        let mut streams = self.connect_all();
        streams.retain_mut(|stream| {
            let frames = [&self.bytes[..], &small.repeat(SMALL_IN_FLIGHT)].concat();
            stream.write_all(&frames).is_ok()
        });
        let sent = streams.len() * (1 + SMALL_IN_FLIGHT);
        peer::say("sent")?;
        while !self.is_over() {
            thread::sleep(STEP / 10);
        }
        let mut answered = 0;
        for mut stream in streams {
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut answers = Vec::new();
            // A reset may come after some of them.
            let _ = stream.read_to_end(&mut answers);
            if let Some(behind) = answers.strip_prefix(&self.bytes[..]) {
                let whole = behind.chunks(small.len()).filter(|answer| *answer == small);
                answered += 1 + whole.count() as u64;
            }
        }
        Ok(Feat {
            sent: sent as u64,
            answered,
            ..Feat::default()
        })
    }
}

/// In pieces, or the neighbour, who shares its core, would wait for one call to move the
/// whole: a kernel without preemption (`CONFIG_PREEMPT_NONE`) takes nobody out of a call.
fn exchange(stream: &mut TcpStream, frame: &[u8], answer: &mut [u8]) -> io::Result<()> {
    for piece in frame.chunks(PIECE) {
        stream.write_all(piece)?;
    }
    for piece in answer.chunks_mut(PIECE) {
        stream.read_exact(piece)?;
    }
    Ok(())
}

fn header(len: usize) -> [u8; 4] {
    (len as u32).to_be_bytes()
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&header(payload.len()), payload].concat()
}

/// Connects and closes in a second, all flooders together.
const RATE: u32 = 10_000;
const FLOODERS: u32 = 4;
/// Between two bytes of a drip.
const DRIP: Duration = Duration::from_millis(50);
const STEP: Duration = Duration::from_millis(10);
/// Of a large frame, to a call.
const PIECE: usize = 64 << 10;
/// For a connection, and for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of a peer that never reads: an Ethernet's segments, and little room for answers.
const SEGMENT: u32 = 1448;
const RECEIVE_BUFFER: usize = 16 * 1024;
/// Far more than is taken from it, unless the answers are kept.
const MOST_FROM_A_DEAF_PEER: usize = 512 << 10;
const SMALL_IN_FLIGHT: usize = 10;
