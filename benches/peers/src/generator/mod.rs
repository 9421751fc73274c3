//! The load generator: the same for every server, so that only the server
//! differs.
//!
//! One thread over mio, with no library in between and nothing allocated per
//! frame. Each frame is unlike the others of its connection, and what has to
//! come back is known in advance: every byte of every answer is compared with
//! it, wherever the stream is cut.

mod connection;
mod crowd;
mod frames;
mod goal;
mod latency;
mod solo;

use std::error::Error;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::peer::{raise_descriptor_limit, report, wait_for_the_word};
use crowd::Crowd;
use goal::Goal;
use latency::Latency;
pub(crate) use latency::RoundTrips;
use solo::Solo;

/// What is asked of the server, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// What the load looks like
    workload: Workload,
    #[arg(long, value_name = "ADDRESS")]
    connect: String,
    /// How many, in fanin, pipeline and idle
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Frames of one connection under way at once, in fanin and pipeline
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,
    /// Bytes of a payload
    #[arg(long, value_name = "BYTES", default_value = "64")]
    size: usize,
    #[command(flatten)]
    goal: Goal,
    /// Bytes of a payload of the second connection, in mixed
    #[arg(long, value_name = "BYTES", default_value = "100000000")]
    bulk_size: usize,
}

/// What the load looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// One connection, one frame at a time
    Rtt,
    /// Many connections, one frame of each at a time
    Fanin,
    /// Many frames of each connection at a time
    Pipeline,
    /// One connection with a frame every 500 µs, while a second one moves large frames
    Mixed,
    /// Many connections that do nothing after one frame
    Idle,
}

/// Plays the load, and says what came of it.
pub(crate) fn run(load: &Load) -> Result<(), Box<dyn Error>> {
    raise_descriptor_limit();
    match load.workload {
        Workload::Rtt | Workload::Mixed => {
            let bulk_size = (load.workload == Workload::Mixed).then_some(load.bulk_size);
            let mut solo = Solo::open(&load.connect, load.size, bulk_size)?;
            wait_for_the_word()?;
            let figures = solo.measure(load.goal)?;
            report(&serde_json::to_value(figures)?)?;
        }
        Workload::Fanin | Workload::Pipeline => {
            let mut crowd = Crowd::open(&load.connect, load.connections, load.size)?;
            wait_for_the_word()?;
            let figures = crowd.measure(load.in_flight, load.goal)?;
            report(&serde_json::to_value(figures)?)?;
        }
        Workload::Idle => {
            let crowd = Crowd::open(&load.connect, load.connections, load.size)?;
            wait_for_the_word()?;
            report(&serde_json::to_value(crowd.opened())?)?;
        }
    }
    Ok(())
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Figures {
    seconds: f64,
    /// Answers to frames of `--size`.
    frames: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ns: Option<Latency>,
    /// Payload of the large frames, one way.
    #[serde(skip_serializing_if = "Option::is_none")]
    bulk_bytes: Option<u64>,
}
