//! 5 000 connections after one frame each: what they hold, and what the server
//! does when nothing happens.

use std::time::{Duration, Instant};

use super::served::{Load, Scene};
use super::{Case, Effort, Workload};
use crate::figures::{Figure, Measurement, grouped};
use crate::process::{Failure, Usage};
use crate::roster::Row;
use crate::site::Site;
use crate::turns::unreadable;

pub(super) fn cases(effort: &Effort) -> Vec<Box<dyn Case>> {
    let rest = match effort.quick {
        true => Duration::from_millis(300),
        false => Duration::from_secs(1),
    };
    vec![Box::new(Idle {
        load: Load {
            kind: "idle",
            connections: CONNECTIONS,
            in_flight: 1,
            seconds: None,
            bulk_size: None,
        },
        rest,
    })]
}

struct Idle {
    load: Load,
    rest: Duration,
}

impl Case for Idle {
    fn workload(&self) -> Workload {
        Workload::Idle
    }

    fn label(&self) -> String {
        format!("{} connections", grouped(&CONNECTIONS.to_string()))
    }

    fn columns(&self) -> &'static [Figure] {
        &[Figure::ResidentPerConnection, Figure::CpuAtRest]
    }

    fn judged(&self) -> &'static [Figure] {
        &[Figure::ResidentPerConnection]
    }

    fn takes(&self, row: &Row) -> bool {
        row.skills.serve
    }

    fn planned(&self, row: &Row) -> Duration {
        self.load.planned(row) + SETTLE + self.rest
    }

    fn turn(
        &self,
        site: &Site,
        row: &Row,
        _last: Option<&Measurement>,
    ) -> Result<Measurement, Failure> {
        let mut scene = Scene::set(site, row, &self.load)?;
        scene.go()?;
        scene.rest(SETTLE)?;
        let server = scene.server();
        let started = Instant::now();
        let before = Usage::of(server).map_err(unreadable)?;
        scene.rest(self.rest)?;
        let after = Usage::of(server).map_err(unreadable)?;
        let elapsed = started.elapsed();
        let resident = scene.resident_per_connection()?;
        scene.end()?;
        Ok(Measurement::from([
            (Figure::ResidentPerConnection, resident),
            (
                Figure::CpuAtRest,
                (after - before).cpu.as_secs_f64() / elapsed.as_secs_f64(),
            ),
        ]))
    }
}

const CONNECTIONS: u64 = 5_000;
/// What the last frames have set off comes to an end.
const SETTLE: Duration = Duration::from_millis(200);
