//! Whole frames on one connection, one outstanding, store and forward: the
//! thread's benchmark, in three forms.
//!
//! All rows get about the same time, not the same number of frames: the round
//! that is thrown away tells how many a row can do.

use std::time::Duration;

use serde::Deserialize;

use super::{Case, Effort, Workload, size_label, start_up};
use crate::figures::{Figure, Measurement};
use crate::peer::Prefix;
use crate::process::Failure;
use crate::roster::{self, Language, Row};
use crate::site::{Shipment, Site, Transport};
use crate::turns::{Done, Turn};

/// Who is at the two ends, and what is between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Client and server are the row's.
    BothEnds,
    /// The client is always the hand-written one.
    OneClient,
    /// Client and server are the row's, over a Unix socket.
    Unix,
}

pub(super) fn cases(form: Form, effort: &Effort) -> Vec<Box<dyn Case>> {
    let usual: &[usize] = match (effort.quick, form) {
        (false, _) => &SIZES,
        (true, Form::BothEnds) => &[1_000_000, 100_000_000],
        (true, _) => &[100_000_000],
    };
    let sizes = match effort.sizes.as_slice() {
        [] => usual,
        sizes => sizes,
    };
    let quick = effort.quick;
    sizes
        .iter()
        .map(|&size| Box::new(Bulk { form, size, quick }) as Box<dyn Case>)
        .collect()
}

struct Bulk {
    form: Form,
    size: usize,
    quick: bool,
}

/// What a client says when it is done.
#[derive(Deserialize)]
struct Said {
    seconds: f64,
    frames: u64,
    bytes: u64,
}

impl Case for Bulk {
    fn workload(&self) -> Workload {
        match self.form {
            Form::BothEnds => Workload::Bulk,
            Form::OneClient => Workload::BulkOneClient,
            Form::Unix => Workload::BulkUnix,
        }
    }

    fn label(&self) -> String {
        size_label(self.size)
    }

    fn columns(&self) -> &'static [Figure] {
        &[
            Figure::Rate,
            Figure::CpuPerGigabyte,
            Figure::SwitchesPerGigabyte,
        ]
    }

    fn judged(&self) -> &'static [Figure] {
        &[Figure::Rate]
    }

    fn takes(&self, row: &Row) -> bool {
        row.skills.serve || self.form == Form::BothEnds
    }

    fn planned(&self, row: &Row) -> Duration {
        let sent = self.frames(row, None) + self.warmup();
        let moving = sent as f64 * self.size as f64 / expected_rate(row);
        // The payloads are made, and the warm-up's answers are compared.
        let making = self.size as f64 * 4.0 / 1e9;
        2 * start_up(row) + Duration::from_secs_f64(moving + making)
    }

    fn turn(
        &self,
        site: &Site,
        row: &Row,
        last: Option<&Measurement>,
    ) -> Result<Measurement, Failure> {
        let shipment = Shipment {
            prefix: Prefix::U32Be,
            size: self.size,
            frames: self.frames(row, last),
            warmup: self.warmup(),
        };
        let transport = match self.form {
            Form::Unix => Transport::Unix,
            Form::BothEnds | Form::OneClient => Transport::Tcp,
        };
        let server = match row.skills.serve {
            true => Some(site.serve(row, transport, Prefix::U32Be)?),
            false => None,
        };
        let address = server.as_ref().map_or(NOWHERE, |server| &server.address);
        let client_row = match self.form {
            Form::OneClient => roster::find(roster::NEUTRAL_CLIENT).expect("it is in the roster"),
            Form::BothEnds | Form::Unix => row,
        };
        let client = site.ship(client_row, address, shipment)?;
        let mut turn = Turn::ready(client, server.as_ref().map(|server| server.id()))?;
        let done: Done<Said> = turn.go()?;
        turn.end()?;

        let bytes = shipment.frames * self.size as u64;
        if done.said.frames != shipment.frames || done.said.bytes != bytes {
            return Err(Failure::Broken(format!(
                "the client moved {} frames and {} bytes in place of {} and {bytes}",
                done.said.frames, done.said.bytes, shipment.frames
            )));
        }
        let gigabytes = bytes as f64 / 1e9;
        Ok(Measurement::from([
            (Figure::Rate, bytes as f64 / done.said.seconds),
            (Figure::CpuPerGigabyte, done.cpu().as_secs_f64() / gigabytes),
            (
                Figure::SwitchesPerGigabyte,
                done.switches() as f64 / gigabytes,
            ),
        ]))
    }
}

impl Bulk {
    /// How many frames fill the time.
    fn frames(&self, row: &Row, last: Option<&Measurement>) -> u64 {
        let (seconds, least) = match self.quick {
            true => (0.15, 2),
            false => (0.4, 3),
        };
        let rate = last
            .and_then(|last| last.get(&Figure::Rate).copied())
            .unwrap_or_else(|| expected_rate(row));
        ((seconds * rate / self.size as f64) as u64).clamp(least, MOST_FRAMES)
    }

    /// How many frames open the windows and fill the caches.
    fn warmup(&self) -> u64 {
        (WARMUP / self.size).clamp(1, MOST_WARMUP) as u64
    }
}

/// For lack of anything better: in bytes per second.
fn expected_rate(row: &Row) -> f64 {
    match row.language {
        Language::Python => 400e6,
        _ => 2e9,
    }
}

/// No size may hide a loss.
const SIZES: [usize; 6] = [
    64_000,
    256_000,
    1_000_000,
    4_000_000,
    20_000_000,
    100_000_000,
];

/// The address of who has no server.
const NOWHERE: &str = "127.0.0.1:0";

/// In bytes.
const WARMUP: usize = 32_000_000;
const MOST_WARMUP: usize = 50;
const MOST_FRAMES: u64 = 1_000_000;
