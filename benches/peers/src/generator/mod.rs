//! The load generator: the same for every server, so that only the server
//! differs.
//!
//! One thread over mio, with no library in between. Every byte that comes back
//! is compared with what was sent: all frames of a connection are the same, so
//! what arrives must be that frame again and again, wherever it is cut.

mod lane;

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token};
use serde_json::json;

use crate::peer::{Prefix, payload, raise_descriptor_limit, report, wait_for_the_word};
use lane::Lane;

/// What is asked of the server, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// What the load looks like
    workload: Kind,
    #[arg(long)]
    connect: SocketAddr,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Frames of one connection under way at once
    #[arg(long, default_value_t = 1)]
    in_flight: usize,
    #[arg(long, default_value_t = 64)]
    size: usize,
    #[arg(long, required_unless_present = "frames")]
    seconds: Option<f64>,
    /// In all, instead of a time
    #[arg(long)]
    frames: Option<u64>,
    /// Of the frames beside the small ones
    #[arg(long, default_value_t = 100_000_000)]
    bulk_size: usize,
}

/// What the load looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// One connection, one frame at a time
    Rtt,
    /// Many connections, one frame of each at a time
    Fanin,
    /// Many frames of each connection at a time
    Pipeline,
    /// As rtt, while a second connection moves large frames
    Mixed,
    /// Many connections that do nothing after one frame
    Idle,
}

/// Plays the load.
pub(crate) fn run(load: &Load) -> Result<(), Box<dyn Error>> {
    raise_descriptor_limit();
    let mut lanes = Vec::new();
    for _ in 0..load.connections.max(1) {
        lanes.push(connect(load.connect, load.size, load.in_flight)?);
    }
    match load.workload {
        Kind::Rtt => spin(load, lanes.remove(0), None),
        Kind::Mixed => {
            let bulk = connect(load.connect, load.bulk_size, 1)?;
            spin(load, lanes.remove(0), Some(bulk))
        }
        Kind::Fanin | Kind::Pipeline | Kind::Idle => wait(load, lanes),
    }
}

fn connect(address: SocketAddr, size: usize, in_flight: usize) -> io::Result<Lane> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let mut frame = Prefix::U32Be.encode(size)[..Prefix::U32Be.size()].to_vec();
    frame.extend_from_slice(&payload(size));
    Ok(Lane::new(
        mio::net::TcpStream::from_std(stream),
        frame,
        in_flight,
    ))
}

/// One or two connections, which are asked again and again without waiting, so
/// that the time it takes to wake us is no part of a round trip.
fn spin(load: &Load, mut small: Lane, mut bulk: Option<Lane>) -> Result<(), Box<dyn Error>> {
    let mut scratch = vec![0; SMALL_CALL];
    let mut round_trips = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
    for _ in 0..WARM_UP {
        small.ask(1);
        while small.step(&mut scratch)? == 0 {}
    }
    if let Some(bulk) = &mut bulk {
        bulk.ask(1);
        while bulk.step(&mut scratch)? == 0 {}
    }
    wait_for_the_word()?;

    let start = Instant::now();
    let deadline = load.seconds.map(Duration::from_secs_f64);
    let limit = load.frames.unwrap_or(u64::MAX);
    let (mut frames, mut bulk_frames) = (0, 0);
    small.ask(1);
    let mut asked = start;
    if let Some(bulk) = &mut bulk {
        bulk.ask(1);
    }
    let elapsed = loop {
        if small.step(&mut scratch)? == 1 {
            let now = Instant::now();
            frames += 1;
            round_trips.saturating_record((now - asked).as_nanos() as u64);
            if frames == limit {
                break now - start;
            }
            asked = now;
            small.ask(1);
        }
        if let Some(bulk) = &mut bulk
            && bulk.step(&mut scratch)? == 1
        {
            bulk_frames += 1;
            bulk.ask(1);
        }
        let elapsed = start.elapsed();
        if deadline.is_some_and(|deadline| elapsed >= deadline) {
            break elapsed;
        }
    };
    let bulk_bytes = bulk.map(|bulk| bulk_frames * load.bulk_size as u64 + bulk.part_of_answer());
    let quantile = |quantile| round_trips.value_at_quantile(quantile);
    report(&json!({
        "seconds": elapsed.as_secs_f64(),
        "frames": frames,
        "latency_ns": {
            "p50": quantile(0.5),
            "p90": quantile(0.9),
            "p99": quantile(0.99),
            "p999": quantile(0.999),
            "max": round_trips.max(),
        },
        "bulk_bytes": bulk_bytes,
    }))?;
    Ok(())
}

/// Many connections, over one poll that waits.
fn wait(load: &Load, mut lanes: Vec<Lane>) -> Result<(), Box<dyn Error>> {
    let poll = Poll::new()?;
    for (key, lane) in lanes.iter_mut().enumerate() {
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(&mut lane.stream, Token(key), interest)?;
    }
    let mut crowd = Crowd {
        lanes,
        poll,
        events: Events::with_capacity(1024),
        scratch: vec![0; LARGE_CALL],
    };
    let connections = crowd.lanes.len() as u64;
    if load.workload != Kind::Idle {
        crowd.play(1, Some(connections), None)?;
    }
    wait_for_the_word()?;
    let deadline = load.seconds.map(Duration::from_secs_f64);
    let start = Instant::now();
    let frames = crowd.play(load.in_flight, load.frames, deadline)?;
    let seconds = start.elapsed().as_secs_f64();
    report(&json!({ "seconds": seconds, "frames": frames }))?;
    Ok(())
}

struct Crowd {
    lanes: Vec<Lane>,
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
}

impl Crowd {
    /// Keeps `in_flight` frames under way on each connection, until `limit`
    /// frames have been sent and answered, or until `deadline` has passed.
    fn play(
        &mut self,
        in_flight: usize,
        limit: Option<u64>,
        deadline: Option<Duration>,
    ) -> io::Result<u64> {
        let start = Instant::now();
        let mut unsent = limit.unwrap_or(u64::MAX);
        let mut answered = 0;
        for lane in &mut self.lanes {
            let first = unsent.min(in_flight as u64);
            unsent -= first;
            lane.ask(first as usize);
            answered += turn(lane, &mut self.scratch, &mut unsent)?;
        }
        loop {
            if limit.is_some_and(|limit| answered >= limit) {
                return Ok(answered);
            }
            let patience = match deadline.map(|deadline| deadline.checked_sub(start.elapsed())) {
                Some(None) => return Ok(answered),
                Some(Some(left)) => left.min(PATIENCE),
                None => PATIENCE,
            };
            match self.poll.poll(&mut self.events, Some(patience)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            if self.events.is_empty() && patience == PATIENCE {
                return Err(io::Error::new(ErrorKind::TimedOut, "the server is silent"));
            }
            for event in &self.events {
                let lane = &mut self.lanes[event.token().0];
                answered += turn(lane, &mut self.scratch, &mut unsent)?;
            }
        }
    }
}

/// Reads what has come, and asks for as much again.
fn turn(lane: &mut Lane, scratch: &mut [u8], unsent: &mut u64) -> io::Result<u64> {
    let mut answered = 0;
    loop {
        let came = lane.step(scratch)? as u64;
        answered += came;
        let again = came.min(*unsent);
        *unsent -= again;
        lane.ask(again as usize);
        if came == 0 && !lane.may_go_on() {
            return Ok(answered);
        }
    }
}

/// One call moves no more while the other connection waits for its turn: some
/// ten microseconds.
const SMALL_CALL: usize = 64 * 1024;
const LARGE_CALL: usize = 64 * 1024;
const WARM_UP: usize = 200;
/// A server that says nothing for so long has lost something.
const PATIENCE: Duration = Duration::from_secs(20);
