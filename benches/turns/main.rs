//! How long a turn of the reactor takes while one connection moves frames of
//! 100 MB and another asks for small answers.
//!
//! A turn is what everybody else waits for, so its longest ones are what a small
//! frame sees. The server never sleeps here: each turn is timed, and counts if it
//! polled a task. It has a core of its own, both clients share another; still, a
//! turn that the machine interrupts is a long one. Run it with
//! `cargo bench --bench turns`; `-- --help` lists the options.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use readinto::{Address, FrameReader, FrameWriter, Handle, Listener, Prefix, Reactor, Stream};

/// Time the turns of a reactor that serves a bulk connection and a small one.
#[derive(Debug, Parser)]
struct Options {
    /// How many frames of 100 MB are echoed meanwhile
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..10_000))]
    frames: u32,

    /// What cargo passes
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("turns: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut reactor = Reactor::new()?;
    let handle = reactor.handle();
    let listener = Listener::bind(&handle, &"127.0.0.1:0".parse()?)?;
    let Address::Tcp { port, .. } = listener.local_address() else {
        return Err("not TCP".into());
    };
    let server = SocketAddr::from(([127, 0, 0, 1], port));
    let accepting = handle.spawn(accept_all(handle.clone(), listener));

    let done = Arc::new(AtomicBool::new(false));
    let frames = options.frames;
    let bulk_done = done.clone();
    let small_done = done.clone();
    let bulk = thread::spawn(move || {
        let rate = pin_to(1).and_then(|()| send_bulk(server, frames));
        bulk_done.store(true, Ordering::Relaxed);
        rate
    });
    let small = thread::spawn(move || {
        pin_to(1)?;
        send_small(server, &small_done)
    });

    pin_to(0)?;
    // In nanoseconds, up to a minute.
    let mut turns = Histogram::<u64>::new_with_max(60_000_000_000, 3)?;
    while !done.load(Ordering::Relaxed) && !accepting.is_finished() {
        let start = Instant::now();
        let turn = reactor.turn(Some(Duration::ZERO))?;
        if turn.tasks > 0 {
            turns.saturating_record(nanoseconds(start.elapsed()));
        }
    }
    // The clients have sent all by now, or have failed.
    drop(reactor);
    let megabytes = bulk.join().map_err(|_| "the bulk client panicked")??;
    small.join().map_err(|_| "the small client panicked")??;

    println!("{frames} frames of 100 MB, {megabytes:.0} MB/s one way, small frames every 500 µs");
    println!("{} turns that polled a task, in µs", turns.len());
    for (name, quantile) in [
        ("p50", 0.5),
        ("p90", 0.9),
        ("p99", 0.99),
        ("p99.9", 0.999),
        ("max", 1.0),
    ] {
        let at = turns.value_at_quantile(quantile) as f64 / 1000.0;
        println!("{name:>8}{at:>10.1}");
    }
    Ok(())
}

async fn accept_all(handle: Handle, listener: Listener) -> io::Result<()> {
    loop {
        let stream = listener.accept().await?;
        let echo = handle.spawn(echo(stream));
        drop(handle.spawn(async move {
            if let Ok(Err(error)) = echo.await {
                eprintln!("turns: a connection ended: {error}");
            }
        }));
    }
}

async fn echo(stream: Stream) -> io::Result<()> {
    let (read, write) = stream.split();
    let mut frames = FrameReader::new(read, Prefix::U32Be, BULK);
    let mut answers = FrameWriter::new(write, Prefix::U32Be);
    while let Some(payload) = frames.next().await? {
        answers.feed(payload).await?;
        if !frames.is_next_ready() {
            answers.flush().await?;
        }
    }
    Ok(())
}

/// Returns the megabytes per second, one way.
fn send_bulk(server: SocketAddr, frames: u32) -> io::Result<f64> {
    let mut stream = TcpStream::connect(server)?;
    let frame = framed(BULK);
    let mut answer = vec![0; frame.len()];
    let start = Instant::now();
    for _ in 0..frames {
        exchange(&mut stream, &frame, &mut answer)?;
    }
    Ok(f64::from(frames) * BULK as f64 / 1e6 / start.elapsed().as_secs_f64())
}

/// Sends a small frame every 500 µs, or as soon as the last one is answered.
fn send_small(server: SocketAddr, done: &AtomicBool) -> io::Result<()> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    let frame = framed(64);
    let mut answer = vec![0; frame.len()];
    while !done.load(Ordering::Relaxed) {
        match exchange(&mut stream, &frame, &mut answer) {
            // The server has ended between two looks.
            Err(_) if done.load(Ordering::Relaxed) => break,
            exchanged => exchanged?,
        }
        thread::sleep(Duration::from_micros(500));
    }
    Ok(())
}

/// In pieces, or the other client, who shares the core, would wait for one call to move
/// 100 MB: a kernel without preemption (`CONFIG_PREEMPT_NONE`) takes nobody out of a call.
fn exchange(stream: &mut TcpStream, frame: &[u8], answer: &mut [u8]) -> io::Result<()> {
    for piece in frame.chunks(PIECE) {
        stream.write_all(piece)?;
    }
    for piece in answer.chunks_mut(PIECE) {
        stream.read_exact(piece)?;
    }
    match answer == frame {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "a wrong answer")),
    }
}

fn framed(len: usize) -> Vec<u8> {
    let mut frame = (len as u32).to_be_bytes().to_vec();
    frame.extend((0..len).map(|index| index as u8));
    frame
}

/// Keeps this thread to the `index`th of the cores that it may use, if there is
/// one.
fn pin_to(index: usize) -> io::Result<()> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let mut cores = (0..CpuSet::count()).filter(|&core| allowed.is_set(core) == Ok(true));
    if let Some(core) = cores.nth(index) {
        let mut only = CpuSet::new();
        only.set(core)?;
        sched_setaffinity(this, &only)?;
    }
    Ok(())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const BULK: usize = 100_000_000;
const PIECE: usize = 64 << 10;
