//! Nothing grows with uptime: after a long run of every kind of traffic, the server
//! has the descriptors and the memory that it had after its warm-up, has answered
//! whoever behaved, and stops without losing a frame.
//!
//! `soak.sh` runs it, for as long as is asked for; docs/soak.md has the figures of a
//! long run.

mod support;

use std::env;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use socket2::SockRef;
use support::{BINARY, Client, Server, frame, payload, raise_descriptor_limit, wait_for};

#[test]
#[ignore = "takes minutes: soak.sh runs it"]
fn nothing_grows_with_uptime() {
    let seconds = env::var("SOAK_SECONDS").map_or(180, |text| text.parse().expect("a number"));
    let phase = Duration::from_secs(seconds) / PHASES;
    raise_descriptor_limit();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo");
    let unix = format!("unix:{}", path.display());
    let limit = (phase / 2).clamp(SHORTEST_LIMIT, LONGEST_LIMIT);
    let limit = format!("{}ms", limit.as_millis());
    let arguments = [
        &["--listen", "127.0.0.1:0", "--listen", &unix],
        &["--frame-timeout", &limit, "--stall-timeout", &limit],
        MEMORY,
    ];
    let mut command = Command::new(BINARY);
    command.env(ALLOCATOR.0, ALLOCATOR.1).arg("serve");
    let server = Server::start_command(&mut command, &arguments.concat());
    let address = server.address();
    let tcp = || Client::connect(address);
    let unix = || Client::connect_unix(&path);
    let bytes = payload(LARGE);
    let tally = Tally::default();
    let at_rest = server.process.open_files();

    println!("{}", Sample::HEADING);
    let mut samples = Vec::new();
    for number in 1..=PHASES {
        let end = Instant::now() + phase;
        thread::scope(|scope| {
            let traffic = Traffic {
                end,
                bytes: &bytes,
                tally: &tally,
            };
            traffic.start(scope, &tcp);
            traffic.start(scope, &unix);
        });
        wait_for("all connections to be closed", || {
            (server.process.open_files() == at_rest).then_some(())
        });
        thread::sleep(UNTIL_IDLE_BUFFERS_ARE_FREED);
        let sample = Sample {
            seconds: (phase * number).as_secs(),
            counts: tally.counts(),
            descriptors: server.process.open_files(),
            resident: server.process.resident(),
            most_resident: server.process.most_resident(),
        };
        println!("{sample}");
        samples.push(sample);
    }

    assert_nothing_grew(&samples);

    // More than the kernel's buffers hold, so that the server is still at it.
    let mut over_tcp: Vec<_> = (0..IN_FLIGHT).map(|_| tcp()).collect();
    let mut over_unix: Vec<_> = (0..IN_FLIGHT).map(|_| unix()).collect();
    over_tcp.iter_mut().for_each(|client| ask(client, &bytes));
    over_unix.iter_mut().for_each(|client| ask(client, &bytes));
    server.process.signal(Signal::SIGTERM);
    over_tcp
        .iter_mut()
        .for_each(|client| take_answers(client, &bytes));
    over_unix
        .iter_mut()
        .for_each(|client| take_answers(client, &bytes));
    drop((over_tcp, over_unix));
    let finished = server.process.finish();
    finished.assert_code(0);
    let stopped = format!("stopped: connections finished: {}, cut: 0", 2 * IN_FLIGHT);
    assert_eq!(finished.stdout, [stopped]);
}

/// From the end of the warm-up to the end of the last phase.
fn assert_nothing_grew(samples: &[Sample]) {
    let (first, last) = (&samples[0], &samples[samples.len() - 1]);
    assert_eq!(last.descriptors, first.descriptors);
    let grown = last.resident.saturating_sub(first.resident);
    assert!(
        grown < MOST_GROWTH,
        "{grown} bytes more than after the first"
    );
    assert!(last.most_resident < MOST_RESIDENT, "{last:?}");
    for pair in samples.windows(2) {
        let mut counts = pair[0].counts.iter().zip(pair[1].counts);
        assert!(
            counts.all(|(before, after)| *before < after),
            "one kind of traffic stood still"
        );
    }
}

/// Leaves two frames in flight, on a connection that is known to the server.
fn ask<S: Read + Write>(client: &mut Client<S>, large: &[u8]) {
    client.echo(b"hello");
    client.send(large);
    client.send(b"and a last one");
}

fn take_answers<S: Read + Write>(client: &mut Client<S>, large: &[u8]) {
    assert!(client.receive() == large, "not what was sent");
    assert_eq!(client.receive(), b"and a last one");
    client.assert_ended();
}

/// What goes on during one phase.
#[derive(Clone, Copy)]
struct Traffic<'a> {
    end: Instant,
    /// What payloads are cut from.
    bytes: &'a [u8],
    tally: &'a Tally,
}

impl<'a> Traffic<'a> {
    /// Starts every kind, each in a thread of its own, over one transport.
    fn start<'scope, S>(
        self,
        scope: &'scope Scope<'scope, '_>,
        connect: &'scope (impl Fn() -> Client<S> + Sync),
    ) where
        S: Read + Write + AsFd,
        'a: 'scope,
    {
        scope.spawn(move || self.many_small_frames(connect()));
        scope.spawn(move || self.large_frames(connect()));
        scope.spawn(move || self.come_and_go(connect));
        scope.spawn(move || self.cut_off(connect));
        scope.spawn(move || self.never_read(connect));
        scope.spawn(move || self.claim_too_much(connect));
        scope.spawn(move || self.claim_and_be_silent(connect));
    }

    /// Counts up until the phase is over, in steps that leave the machine some rest.
    fn steps(self, pause: Duration) -> impl Iterator<Item = usize> {
        (0..).take_while(move |_| {
            thread::sleep(pause);
            Instant::now() < self.end
        })
    }

    /// Some bytes, of another length and from another place at each step.
    fn payload(self, step: usize, longest: usize) -> &'a [u8] {
        let len = step * 7919 % longest;
        let start = step * 104_729 % (self.bytes.len() - len);
        &self.bytes[start..][..len]
    }

    fn count_echoed(self, frames: usize, bytes: usize) {
        Tally::add(&self.tally.frames, frames);
        Tally::add(&self.tally.bytes, bytes);
    }

    /// Bursts of small frames.
    fn many_small_frames<S: Read + Write>(self, mut client: Client<S>) {
        for step in self.steps(Duration::from_millis(5)) {
            let burst = step * BURST..(step + 1) * BURST;
            let payloads: Vec<_> = burst.map(|index| self.payload(index, SMALL)).collect();
            let frames: Vec<_> = payloads.iter().map(|payload| frame(payload)).collect();
            client.send_raw(&frames.concat());
            for payload in &payloads {
                assert!(client.receive() == *payload, "not what was sent");
            }
            self.count_echoed(BURST, payloads.concat().len());
        }
    }

    fn large_frames<S: Read + Write>(self, mut client: Client<S>) {
        for step in self.steps(Duration::from_millis(100)) {
            let payload = self.payload(step * 1009, LARGE);
            client.echo(payload);
            self.count_echoed(1, payload.len());
        }
    }

    fn come_and_go<S: Read + Write>(self, connect: impl Fn() -> Client<S>) {
        for step in self.steps(Duration::from_millis(2)) {
            let mut client = connect();
            let payload = self.payload(step, MIDDLING);
            client.echo(payload);
            self.count_echoed(1, payload.len());
            Tally::add(&self.tally.came_and_went, 1);
        }
    }

    /// Ends in the middle of a frame, or without having read the answer.
    fn cut_off<S: Read + Write>(self, connect: impl Fn() -> Client<S>) {
        for step in self.steps(Duration::from_millis(2)) {
            let bytes = frame(self.payload(step, MIDDLING));
            let part = step * 31 % (bytes.len() + 1);
            connect().send_raw(&bytes[..part]);
            Tally::add(&self.tally.cut_off, 1);
        }
    }

    /// Sends frames for as long as the server takes them, reads no answer, and waits
    /// to be cut.
    fn never_read<S: Read + Write + AsFd>(self, connect: impl Fn() -> Client<S>) {
        let mut deaf = Vec::new();
        for step in self.steps(Duration::from_millis(50)) {
            if deaf.len() < HELD {
                let bytes = frame(self.payload(step, MIDDLING)).repeat(20);
                deaf.push((not_blocking(connect()), bytes, 0));
            }
            let before = deaf.len();
            deaf.retain_mut(|(client, bytes, sent)| {
                loop {
                    match client.0.write(&bytes[*sent % bytes.len()..]) {
                        Ok(count) => *sent += count,
                        Err(error) => break error.kind() == ErrorKind::WouldBlock,
                    }
                }
            });
            Tally::add(&self.tally.deaf, before - deaf.len());
        }
    }

    /// Announces a frame that the server does not accept.
    fn claim_too_much<S: Read + Write>(self, connect: impl Fn() -> Client<S>) {
        for _ in self.steps(Duration::from_millis(20)) {
            let mut client = connect();
            client.send_raw(&u32::MAX.to_be_bytes());
            client.assert_ended();
            Tally::add(&self.tally.too_large, 1);
        }
    }

    /// Announces a large frame, sends three bytes of it, and waits to be cut.
    fn claim_and_be_silent<S: Read + Write + AsFd>(self, connect: impl Fn() -> Client<S>) {
        let claim = [&(LARGE as u32).to_be_bytes()[..], b"abc"].concat();
        let mut silent = Vec::new();
        for _ in self.steps(Duration::from_millis(50)) {
            if silent.len() < SILENT {
                let mut client = connect();
                client.send_raw(&claim);
                silent.push(not_blocking(client));
            }
            let before = silent.len();
            silent.retain_mut(|client| match client.0.read(&mut [0]) {
                Ok(count) => count > 0,
                Err(error) => error.kind() == ErrorKind::WouldBlock,
            });
            Tally::add(&self.tally.silent, before - silent.len());
        }
    }
}

fn not_blocking<S: AsFd>(client: Client<S>) -> Client<S> {
    SockRef::from(&client.0).set_nonblocking(true).unwrap();
    client
}

/// What has happened since the start.
#[derive(Default)]
struct Tally {
    /// Frames that came back as they were sent, and their payloads.
    frames: AtomicU64,
    bytes: AtomicU64,
    /// Connections that ended well.
    came_and_went: AtomicU64,
    /// Connections that their peer cut.
    cut_off: AtomicU64,
    /// Connections that the server cut or ended, and why.
    deaf: AtomicU64,
    silent: AtomicU64,
    too_large: AtomicU64,
}

impl Tally {
    fn add(count: &AtomicU64, more: usize) {
        count.fetch_add(more as u64, Ordering::Relaxed);
    }

    fn counts(&self) -> [u64; 7] {
        let Tally {
            frames,
            bytes,
            came_and_went,
            cut_off,
            deaf,
            silent,
            too_large,
        } = self;
        [
            frames,
            bytes,
            came_and_went,
            cut_off,
            deaf,
            silent,
            too_large,
        ]
        .map(|count| count.load(Ordering::Relaxed))
    }
}

/// The server at the end of a phase, with no connection left.
#[derive(Debug)]
struct Sample {
    seconds: u64,
    counts: [u64; 7],
    descriptors: usize,
    resident: usize,
    /// Since the start.
    most_resident: usize,
}

impl Sample {
    const HEADING: &str = "\
| seconds | frames | payload bytes | came and went | cut off | deaf | silent | too large | descriptors | resident KiB | most KiB |
|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|";
}

/// A line of a Markdown table.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {}", self.seconds)?;
        for count in self.counts {
            write!(f, " | {count}")?;
        }
        let kibibytes = [self.resident, self.most_resident].map(|bytes| bytes / 1024);
        write!(
            f,
            " | {} | {} | {} |",
            self.descriptors, kibibytes[0], kibibytes[1]
        )
    }
}

/// The first is the warm-up.
const PHASES: u32 = 6;

const MEMORY: &[&str] = &["--max-frame", "32MiB", "--memory-budget", "256MiB"];

/// How long the server waits for a peer that is silent or never reads: so that some are
/// cut in each phase, and nobody who behaves, on a machine that is busy with other things.
const SHORTEST_LIMIT: Duration = Duration::from_secs(2);
const LONGEST_LIMIT: Duration = Duration::from_secs(10);

/// Buffers that are freed go back to the system. By default, glibc keeps those of up
/// to 32 MiB once it has seen one, as many as there were, and the sum would show
/// nothing else.
const ALLOCATOR: (&str, &str) = ("MALLOC_MMAP_THRESHOLD_", "16384");

/// By how much the memory at rest may differ: what the allocator keeps.
const MOST_GROWTH: usize = 1 << 20;
/// The budget, and what is not for frames.
const MOST_RESIDENT: usize = (256 + 16) << 20;

/// The server sweeps every two seconds, and frees what has lain idle for two sweeps.
const UNTIL_IDLE_BUFFERS_ARE_FREED: Duration = Duration::from_secs(5);

const SMALL: usize = 1000;
const MIDDLING: usize = 50_000;
/// More than the kernel's buffers hold.
const LARGE: usize = 16_000_000;
/// How many small frames are in flight at once.
const BURST: usize = 64;
/// How many peers that never read there are at once.
const HELD: usize = 10;
/// How many silent ones with a large claim; what they reserve leaves room for others.
const SILENT: usize = 3;
/// How many connections of each transport have frames in flight at the end.
const IN_FLIGHT: usize = 3;
