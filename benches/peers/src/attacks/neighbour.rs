//! The neighbour: a peer that behaves, and measures how it is served.
//!
//! Its frames are due by the clock. If an answer comes so late that the next frame is
//! overdue, that one's round trip counts from when it was due: a server that stalls
//! for a second has kept all waiting that would have come in that second.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::generator::RoundTrips;
use crate::peer::{Prefix, payload, report, wait_for_the_word};

/// What it is started with.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[arg(long, value_name = "ADDRESS")]
    connect: SocketAddr,
    #[arg(long, value_name = "S")]
    seconds: f64,
}

/// How it was served.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Service {
    /// Frames that were due.
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) longest_ns: u64,
}

/// Asks for so long, and reports.
pub(crate) fn run(plan: &Plan) -> Result<(), Box<dyn Error>> {
    let mut neighbour = Neighbour::connect(plan.connect)?;
    for _ in 0..WARM_UP {
        neighbour.echo()?;
    }
    wait_for_the_word()?;
    let asked = (plan.seconds / PACE.as_secs_f64()) as u64;
    let mut round_trips = RoundTrips::new()?;
    let mut answered = 0;
    let mut due = Instant::now();
    for _ in 0..asked {
        due += PACE;
        let early = due.saturating_duration_since(Instant::now());
        if !early.is_zero() {
            thread::sleep(early);
            // Whom its own core lets sleep for longer has not waited for the server.
            due = Instant::now();
        }
        // One that was cut, or waits for ever, has no use for further frames.
        if neighbour.echo().is_err() {
            break;
        }
        round_trips.record(due.elapsed());
        answered += 1;
    }
    let latency = round_trips.percentiles();
    let service = Service {
        asked,
        answered,
        p50_ns: latency.p50,
        p99_ns: latency.p99,
        longest_ns: latency.max,
    };
    Ok(report(&serde_json::to_value(service)?)?)
}

struct Neighbour {
    stream: TcpStream,
    question: Vec<u8>,
    answer: Vec<u8>,
}

impl Neighbour {
    fn connect(address: SocketAddr) -> io::Result<Neighbour> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let payload = payload(PAYLOAD);
        let header = Prefix::U32Be.encode(PAYLOAD);
        let question = [&header[..Prefix::U32Be.size()], &payload].concat();
        Ok(Neighbour {
            stream,
            answer: vec![0; question.len()],
            question,
        })
    }

    /// Has one frame echoed.
    fn echo(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.question)?;
        self.stream.read_exact(&mut self.answer)?;
        match self.answer == self.question {
            true => Ok(()),
            false => Err(ErrorKind::InvalidData.into()),
        }
    }
}

const PAYLOAD: usize = 1024;
/// Between two frames.
const PACE: Duration = Duration::from_millis(2);
/// For an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
const WARM_UP: u32 = 100;
