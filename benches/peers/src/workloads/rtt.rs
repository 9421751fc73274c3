//! Frames of 64 bytes on one connection, one outstanding: how soon an answer is
//! there. The generator spins, so that its own waking up is no part of it.

use std::time::Duration;

use super::served::{Load, Scene, add_frames, add_latency};
use super::{Case, Effort, Workload};
use crate::figures::{Figure, Measurement};
use crate::process::Failure;
use crate::roster::Row;
use crate::site::Site;

pub(super) fn cases(effort: &Effort) -> Vec<Box<dyn Case>> {
    let seconds = match effort.quick {
        true => 0.4,
        false => 1.0,
    };
    vec![Box::new(Rtt(Load {
        kind: "rtt",
        connections: 1,
        in_flight: 1,
        seconds: Some(seconds),
        bulk_size: None,
    }))]
}

struct Rtt(Load);

impl Case for Rtt {
    fn workload(&self) -> Workload {
        Workload::Rtt
    }

    fn label(&self) -> String {
        "64 B".to_owned()
    }

    fn columns(&self) -> &'static [Figure] {
        &[
            Figure::Median,
            Figure::P99,
            Figure::P999,
            Figure::Longest,
            Figure::CpuPerFrame,
        ]
    }

    fn judged(&self) -> &'static [Figure] {
        &[Figure::Median, Figure::P99]
    }

    fn takes(&self, row: &Row) -> bool {
        row.skills.serve
    }

    fn planned(&self, row: &Row) -> Duration {
        self.0.planned(row)
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
        add_frames(&done, &mut measurement)?;
        Ok(measurement)
    }
}
