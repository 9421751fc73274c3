//! What the workloads with one load generator have in common: only the server
//! differs from row to row.

use std::time::Duration;

use serde::Deserialize;

use super::start_up;
use crate::figures::{Figure, Measurement};
use crate::peer::Prefix;
use crate::process::{Failure, resident_bytes};
use crate::roster::Row;
use crate::site::{Server, Site, Transport};
use crate::turns::{Done, Turn, unreadable};

/// What the generator is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// As the generator calls it.
    pub(crate) kind: &'static str,
    pub(crate) connections: u64,
    pub(crate) in_flight: u64,
    /// How long it measures; none if it measures nothing.
    pub(crate) seconds: Option<f64>,
    /// Of the large frames beside the small ones.
    pub(crate) bulk_size: Option<usize>,
}

/// What the generator says when it is done.
#[derive(Debug, Deserialize)]
pub(crate) struct Said {
    #[serde(default)]
    pub(crate) seconds: f64,
    #[serde(default)]
    pub(crate) frames: u64,
    pub(crate) latency_ns: Option<Latency>,
    pub(super) bulk_bytes: Option<u64>,
}

/// Round trips in nanoseconds.
#[derive(Debug, Deserialize)]
pub(crate) struct Latency {
    p50: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

/// A server and a generator that is ready.
pub(crate) struct Scene {
    server: Server,
    /// Of the server, before the first connection.
    resident_before: u64,
    connections: u64,
    turn: Turn,
}

impl Scene {
    pub(super) fn set(site: &Site, row: &Row, load: &Load) -> Result<Scene, Failure> {
        Scene::around(site.serve(row, Transport::Tcp, Prefix::U32Be)?, site, load)
    }

    /// The same for a server that runs already.
    pub(crate) fn around(server: Server, site: &Site, load: &Load) -> Result<Scene, Failure> {
        let resident_before = resident_bytes(server.id()).map_err(unreadable)?;
        let generator = site.generate(&load.arguments(&server.address))?;
        let turn = Turn::ready(generator, Some(server.id()))?;
        Ok(Scene {
            server,
            resident_before,
            connections: load.connections,
            turn,
        })
    }

    pub(crate) fn go(&mut self) -> Result<Done<Said>, Failure> {
        self.turn.go()
    }

    /// Leaves both ends alone for a while.
    pub(super) fn rest(&mut self, interval: Duration) -> Result<(), Failure> {
        self.turn.rest(interval)
    }

    pub(super) fn server(&self) -> u32 {
        self.server.id()
    }

    /// What the server holds for each connection, now that they are all open.
    pub(super) fn resident_per_connection(&self) -> Result<f64, Failure> {
        let now = resident_bytes(self.server.id()).map_err(unreadable)?;
        let grown = now.saturating_sub(self.resident_before);
        Ok(grown as f64 / self.connections as f64)
    }

    pub(crate) fn end(self) -> Result<(), Failure> {
        self.turn.end()
    }
}

impl Load {
    fn arguments(&self, address: &str) -> Vec<String> {
        let mut arguments = vec![self.kind.to_owned()];
        let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        add("--connect", address.to_owned());
        add("--connections", self.connections.to_string());
        add("--in-flight", self.in_flight.to_string());
        add("--size", SMALL.to_string());
        match self.seconds {
            Some(seconds) => add("--seconds", seconds.to_string()),
            None => add("--frames", self.connections.to_string()),
        }
        if let Some(size) = self.bulk_size {
            add("--bulk-size", size.to_string());
        }
        arguments
    }

    /// About how long one turn takes.
    pub(super) fn planned(&self, row: &Row) -> Duration {
        let connecting = Duration::from_micros(120) * self.connections as u32;
        start_up(row) + connecting + Duration::from_secs_f64(self.seconds.unwrap_or_default())
    }
}

/// Puts the round trips into the measurement.
pub(super) fn add_latency(said: &Said, measurement: &mut Measurement) -> Result<(), Failure> {
    let latency = said
        .latency_ns
        .as_ref()
        .ok_or_else(|| Failure::Broken("the load generator gave no round trips".to_owned()))?;
    for (figure, nanoseconds) in [
        (Figure::Median, latency.p50),
        (Figure::P99, latency.p99),
        (Figure::P999, latency.p999),
        (Figure::Longest, latency.max),
    ] {
        measurement.insert(figure, nanoseconds as f64 / 1e9);
    }
    Ok(())
}

/// Puts the number of frames, and what each cost the server, into the
/// measurement.
pub(super) fn add_frames(done: &Done<Said>, measurement: &mut Measurement) -> Result<(), Failure> {
    let frames = done.said.frames;
    if frames == 0 {
        return Err(Failure::Broken("not one frame came back".to_owned()));
    }
    measurement.insert(Figure::FrameRate, frames as f64 / done.said.seconds);
    measurement.insert(
        Figure::CpuPerFrame,
        done.server.cpu.as_secs_f64() / frames as f64,
    );
    Ok(())
}

/// Bytes of a small frame.
const SMALL: usize = 64;
