//! Frames of 64 bytes on many connections, one outstanding on each: how many
//! frames a server answers, and what it holds for each connection.

use std::time::Duration;

use super::served::{Load, Scene, add_frames};
use super::{Case, Effort, Workload};
use crate::figures::{Figure, Measurement, grouped};
use crate::process::Failure;
use crate::roster::Row;
use crate::site::Site;

pub(super) fn cases(effort: &Effort) -> Vec<Box<dyn Case>> {
    let seconds = match effort.quick {
        true => 0.3,
        false => 0.8,
    };
    [100, 5_000]
        .into_iter()
        .map(|connections| {
            Box::new(Fanin(Load {
                kind: "fanin",
                connections,
                in_flight: 1,
                seconds: Some(seconds),
                bulk_size: None,
            })) as Box<dyn Case>
        })
        .collect()
}

struct Fanin(Load);

impl Case for Fanin {
    fn workload(&self) -> Workload {
        Workload::Fanin
    }

    fn label(&self) -> String {
        format!("{} connections", grouped(&self.0.connections.to_string()))
    }

    fn columns(&self) -> &'static [Figure] {
        &[
            Figure::FrameRate,
            Figure::CpuPerFrame,
            Figure::ResidentPerConnection,
        ]
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
        let resident = scene.resident_per_connection()?;
        scene.end()?;
        let mut measurement = Measurement::from([(Figure::ResidentPerConnection, resident)]);
        add_frames(&done, &mut measurement)?;
        Ok(measurement)
    }
}
