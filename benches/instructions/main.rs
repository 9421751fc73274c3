//! How many instructions a server spends in user space on one round trip of a
//! 64-byte frame, and on each further frame that comes with it, counted by callgrind:
//! `cargo bench --bench instructions`.
//!
//! A count is nearly the same on every machine and under any load, so this one has a
//! bar, and misses it with exit code 1. Each server is a process of its own under
//! valgrind; this one is its client, and asks when the server sleeps, which one that is
//! asked before need not. Two runs of different length make what a server spends on its
//! start cancel out.

mod servers;

use std::env;
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use servers::Kind;

/// What the library may spend, as a part of what tokio's exact reads spend:
/// a little above what it does, so that it does not grow. The aim is 0.4.
const BAR: f64 = 1.15;
/// The same for each further frame of a burst.
const BAR_OF_BURST: f64 = 0.3;

const FRAME: usize = 64;
/// How many frames arrive together, where it is not one.
const BURST: usize = 64;
const FEW: usize = 200;
const MANY: usize = 2200;

const TO_FALL_ASLEEP: Duration = Duration::from_secs(60);
const TO_ANSWER: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    if let Ok(kind) = env::var(SERVER) {
        return match servers::run(&kind) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(error.as_ref()),
        };
    }
    match compare() {
        Ok(code) => code,
        Err(error) => fail(error.as_ref()),
    }
}

fn fail(error: &dyn Error) -> ExitCode {
    eprintln!("instructions: {error}");
    ExitCode::FAILURE
}

fn compare() -> Result<ExitCode, Box<dyn Error>> {
    let probe = Command::new("valgrind").arg("--version").output();
    if matches!(&probe, Err(error) if error.kind() == ErrorKind::NotFound) {
        println!("skipped: there is no valgrind on this machine");
        return Ok(ExitCode::SUCCESS);
    }
    let mut counts = Vec::new();
    println!("instructions in user space per round trip of {FRAME} bytes, and per further frame");
    println!("of a burst of {BURST}:");
    for kind in Kind::ALL {
        let one = per_round_trip(kind, 1)?;
        let burst = per_round_trip(kind, BURST)?;
        let further = (burst - one) / (BURST - 1) as f64;
        println!("  {kind:<16} {one:>6.0} {further:>6.0}");
        counts.push((kind, one, further));
    }
    let of = |wanted| counts.iter().find(|(kind, ..)| *kind == wanted);
    let (Some(ours), Some(theirs)) = (of(Kind::Readinto), of(Kind::TokioExact)) else {
        return Err("a server is missing".into());
    };
    let (one, further) = (ours.1 / theirs.1, ours.2 / theirs.2);
    println!(
        "{} spends {one:.2} and {further:.2} of what {} spends",
        Kind::Readinto,
        Kind::TokioExact
    );
    if one > BAR || further > BAR_OF_BURST {
        eprintln!("that is above the bars of {BAR} and {BAR_OF_BURST}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn per_round_trip(kind: Kind, burst: usize) -> Result<f64, Box<dyn Error>> {
    let (few, many) = (count(kind, FEW, burst)?, count(kind, MANY, burst)?);
    Ok((many - few) as f64 / (MANY - FEW) as f64)
}

/// What the server spends in all, on this many round trips of so many frames each.
fn count(kind: Kind, round_trips: usize, burst: usize) -> Result<u64, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let counts = folder.path().join("counts");
    let server = Command::new("valgrind")
        .args(["--tool=callgrind", "-q"])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(env::current_exe()?)
        .env(SERVER, kind.to_string())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut server = Server(server);
    let mut address = String::new();
    let out = server.0.stdout.take().expect("it is piped");
    BufReader::new(out).read_line(&mut address)?;
    exchange(address.trim(), server.0.id(), round_trips, burst)?;
    let status = server.0.wait()?;
    if !status.success() {
        return Err(format!("the server {kind} under valgrind: {status}").into());
    }
    total(&counts)
}

/// A running server: dropping it kills it.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn exchange(
    address: &str,
    server: u32,
    round_trips: usize,
    burst: usize,
) -> Result<(), Box<dyn Error>> {
    let mut stream = TcpStream::connect(address)
        .map_err(|error| format!("no server at {address:?}: {error}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TO_ANSWER))?;
    let mut frame = (FRAME as u32).to_be_bytes().to_vec();
    frame.resize(4 + FRAME, 7);
    let frames = frame.repeat(burst);
    let mut answers = vec![0; frames.len()];
    for _ in 0..round_trips {
        until_asleep(server)?;
        stream.write_all(&frames)?;
        stream.read_exact(&mut answers)?;
        if answers != frames {
            return Err("a wrong answer".into());
        }
    }
    Ok(())
}

/// Waits until the process waits for something (`proc_pid_stat(5)`).
fn until_asleep(process: u32) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    while start.elapsed() < TO_FALL_ASLEEP {
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        // The name before it is in parentheses, and may hold any.
        let state = stat.rsplit(") ").next().unwrap_or_default();
        if state.starts_with('S') {
            return Ok(());
        }
        thread::yield_now();
    }
    Err("the server does not come to rest".into())
}

/// The sum that callgrind has written.
fn total(file: &Path) -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string(file)?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .ok_or("callgrind has written no totals")?;
    Ok(line.trim().parse()?)
}

/// Names the server that a process is to be.
const SERVER: &str = "READINTO_BENCH_SERVER";
