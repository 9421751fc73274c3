//! Frames of 64 bytes, 64 in flight on each connection, written and read in
//! bursts: what a frame costs when the system calls can be shared.

use std::time::Duration;

use super::served::{Load, Scene, add_frames};
use super::{Case, Effort, Workload};
use crate::figures::{Figure, Measurement};
use crate::process::Failure;
use crate::roster::Row;
use crate::site::Site;

pub(super) fn cases(effort: &Effort) -> Vec<Box<dyn Case>> {
    let seconds = match effort.quick {
        true => 0.3,
        false => 0.8,
    };
    let connections: &[u64] = match effort.quick {
        true => &[50],
        false => &[1, 50],
    };
    connections
        .iter()
        .map(|&connections| {
            Box::new(Pipeline(Load {
                kind: "pipeline",
                connections,
                in_flight: IN_FLIGHT,
                seconds: Some(seconds),
                bulk_size: None,
            })) as Box<dyn Case>
        })
        .collect()
}

struct Pipeline(Load);

impl Case for Pipeline {
    fn workload(&self) -> Workload {
        Workload::Pipeline
    }

    fn label(&self) -> String {
        match self.0.connections {
            1 => format!("1 connection × {IN_FLIGHT}"),
            connections => format!("{connections} connections × {IN_FLIGHT}"),
        }
    }

    fn columns(&self) -> &'static [Figure] {
        &[Figure::FrameRate, Figure::CpuPerFrame]
    }

    fn judged(&self) -> &'static [Figure] {
        &[Figure::FrameRate]
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
        add_frames(&done, &mut measurement)?;
        Ok(measurement)
    }
}

/// Frames that a connection sends before it has the first answer.
const IN_FLIGHT: u64 = 64;
