//! The script behind the thread of 2017, as recovered: an eight-byte
//! little-endian length and 100 000 000 random bytes, written one after the
//! other; five iterations, each on a new connection; both ends on one thread and
//! one event loop.

use std::time::Duration;

use serde::Deserialize;

use super::{Case, Effort, Workload, size_label, start_up};
use crate::figures::{Figure, Measurement, Spread};
use crate::process::Failure;
use crate::roster::{Language, Row};
use crate::site::Site;
use crate::turns::{Done, Turn};

pub(super) fn cases(effort: &Effort) -> Vec<Box<dyn Case>> {
    let iterations = match effort.quick {
        true => 2,
        false => 5,
    };
    vec![Box::new(Seed { iterations })]
}

struct Seed {
    iterations: u32,
}

/// What the row says when it is done.
#[derive(Deserialize)]
struct Said {
    /// Of each iteration.
    seconds: Vec<f64>,
    /// Of one frame.
    bytes: usize,
}

impl Case for Seed {
    fn workload(&self) -> Workload {
        Workload::Seed
    }

    fn label(&self) -> String {
        size_label(SIZE)
    }

    fn columns(&self) -> &'static [Figure] {
        &[Figure::Iteration, Figure::Rate, Figure::CpuPerGigabyte]
    }

    fn judged(&self) -> &'static [Figure] {
        &[Figure::Iteration]
    }

    fn takes(&self, row: &Row) -> bool {
        row.skills.seed
    }

    fn planned(&self, row: &Row) -> Duration {
        let iteration = match row.language {
            Language::Python => 0.4,
            _ => 0.15,
        };
        start_up(row) + Duration::from_secs_f64(0.2 + iteration * f64::from(self.iterations))
    }

    fn turn(
        &self,
        site: &Site,
        row: &Row,
        _last: Option<&Measurement>,
    ) -> Result<Measurement, Failure> {
        let process = site.alone(row, SIZE, self.iterations)?;
        let mut turn = Turn::ready(process, None)?;
        let done: Done<Said> = turn.go()?;
        turn.end()?;

        let said = &done.said;
        if said.seconds.len() != self.iterations as usize || said.bytes != SIZE {
            return Err(Failure::Broken(format!(
                "it did {} iterations of {} bytes in place of {} of {SIZE}",
                said.seconds.len(),
                said.bytes,
                self.iterations
            )));
        }
        let seconds = Spread::of(said.seconds.iter().copied())
            .expect("there is at least one iteration")
            .median;
        let gigabytes = SIZE as f64 * f64::from(self.iterations) / 1e9;
        Ok(Measurement::from([
            (Figure::Iteration, seconds),
            (Figure::Rate, SIZE as f64 / seconds),
            (Figure::CpuPerGigabyte, done.cpu().as_secs_f64() / gigabytes),
        ]))
    }
}

const SIZE: usize = 100_000_000;
