//! Frames of 64 bytes on one connection while another moves frames of 100 MB
//! through the same server: who holds the thread for how long.

use std::time::Duration;

use super::served::{Load, Scene, add_latency};
use super::{Case, Effort, Workload, size_label};
use crate::figures::{Figure, Measurement};
use crate::process::Failure;
use crate::roster::Row;
use crate::site::Site;

pub(super) fn cases(effort: &Effort) -> Vec<Box<dyn Case>> {
    let seconds = match effort.quick {
        true => 0.6,
        false => 2.0,
    };
    vec![Box::new(Mixed(Load {
        kind: "mixed",
        connections: 1,
        in_flight: 1,
        seconds: Some(seconds),
        bulk_size: Some(LARGE),
    }))]
}

struct Mixed(Load);

impl Case for Mixed {
    fn workload(&self) -> Workload {
        Workload::Mixed
    }

    fn label(&self) -> String {
        format!("64 B beside {}", size_label(LARGE))
    }

    fn columns(&self) -> &'static [Figure] {
        &[
            Figure::Median,
            Figure::P99,
            Figure::P999,
            Figure::Longest,
            Figure::BulkRate,
        ]
    }

    fn judged(&self) -> &'static [Figure] {
        &[Figure::Median, Figure::P99, Figure::BulkRate]
    }

    fn takes(&self, row: &Row) -> bool {
        row.skills.serve
    }

    fn planned(&self, row: &Row) -> Duration {
        self.0.planned(row) + MAKING
    }

    fn turn(
        &self,
        site: &Site,
        row: &Row,
        _last: Option<&Measurement>,
    ) -> Result<Measurement, Failure> {
        let mut scene = Scene::set(site, row, &self.0)?;
        let done = scene.go()?;
        scene.end()?;
        let mut measurement = Measurement::new();
        add_latency(&done.said, &mut measurement)?;
        let bytes = done
            .said
            .bulk_bytes
            .ok_or_else(|| Failure::Broken("the load generator moved no bulk".to_owned()))?;
        measurement.insert(Figure::BulkRate, bytes as f64 / done.said.seconds);
        Ok(measurement)
    }
}

const LARGE: usize = 100_000_000;
/// The large payloads are made, and the first answer compared.
const MAKING: Duration = Duration::from_millis(600);
