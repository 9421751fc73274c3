//! What else the machine did while we measured. Figures from a machine that was
//! busy with something else are worth little, and the report must say so.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::unistd::{SysconfVar, sysconf};
use serde::{Deserialize, Serialize};

/// Where the machine's counters stood at the beginning.
pub(crate) struct Watch {
    started: Instant,
    counters: Option<Counters>,
    ours: Duration,
    cores: usize,
}

/// Shares of all cores together, from 0 to 1.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Background {
    /// What processes that are not ours used.
    pub(crate) others: f64,
    /// What the host of a virtual machine gave to somebody else.
    pub(crate) stolen: f64,
}

impl Watch {
    pub(crate) fn start(cores: usize) -> Watch {
        Watch {
            started: Instant::now(),
            counters: Counters::read(),
            ours: ours(),
            cores,
        }
    }

    /// What happened since the start. All of our processes must have ended.
    pub(crate) fn read(&self) -> Background {
        let (Some(before), Some(now)) = (self.counters, Counters::read()) else {
            return Background::default();
        };
        let available = self.started.elapsed() * self.cores as u32;
        Background::between(before, now, ours().saturating_sub(self.ours), available)
    }
}

impl Background {
    fn between(before: Counters, now: Counters, ours: Duration, available: Duration) -> Background {
        let busy = now.busy.saturating_sub(before.busy);
        let stolen = now.stolen.saturating_sub(before.stolen);
        let share = |time: Duration| time.as_secs_f64() / available.as_secs_f64();
        Background {
            others: share(busy.saturating_sub(ours)),
            stolen: share(stolen),
        }
    }

    /// A warning, if there is reason for one.
    pub(crate) fn warning(&self) -> Option<String> {
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        let said = match (self.others > MUCH, self.stolen > MUCH) {
            (false, false) => return None,
            (true, false) => format!("other processes used {} of it", percent(self.others)),
            (false, true) => format!("its host took {} of it away", percent(self.stolen)),
            (true, true) => format!(
                "other processes used {} of it, and its host took {} away",
                percent(self.others),
                percent(self.stolen)
            ),
        };
        Some(format!(
            "The machine was not idle: {said} meanwhile. Measure again before you believe any of this."
        ))
    }
}

/// Processor time of all cores since the machine started.
#[derive(Clone, Copy)]
struct Counters {
    busy: Duration,
    stolen: Duration,
}

impl Counters {
    fn read() -> Option<Counters> {
        let per_second = sysconf(SysconfVar::CLK_TCK).ok()?? as f64;
        let table = fs::read_to_string("/proc/stat").ok()?;
        // user nice system idle iowait irq softirq steal
        let fields: Vec<f64> = table
            .lines()
            .next()?
            .split_whitespace()
            .skip(1)
            .map(|field| field.parse().unwrap_or(0.0))
            .collect();
        let sum = |places: &[usize]| {
            let ticks: f64 = places.iter().filter_map(|&place| fields.get(place)).sum();
            Duration::from_secs_f64(ticks / per_second)
        };
        Some(Counters {
            busy: sum(&[0, 1, 2, 5, 6]),
            stolen: sum(&[7]),
        })
    }
}

/// Processor time of this process and of its children that have ended.
fn ours() -> Duration {
    [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN]
        .into_iter()
        .filter_map(|who| getrusage(who).ok())
        .map(|usage| duration(usage.user_time()) + duration(usage.system_time()))
        .sum()
}

fn duration(time: TimeVal) -> Duration {
    Duration::from_secs(time.tv_sec().unsigned_abs())
        + Duration::from_micros(time.tv_usec().unsigned_abs())
}

/// Two ends that wait for each other leave as much idle; what kernel threads do
/// for us is less.
const MUCH: f64 = 0.05;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_matters_is_a_warning() {
        let of = |others, stolen| Background { others, stolen }.warning();
        assert_eq!(of(0.02, 0.01), None);
        let said = of(0.314, 0.0).unwrap();
        assert!(
            said.contains("other processes used 31 % of it meanwhile"),
            "{said}"
        );
        let said = of(0.1, 0.2).unwrap();
        assert!(
            said.contains("used 10 % of it, and its host took 20 % away"),
            "{said}"
        );
    }

    #[test]
    fn our_own_work_is_not_the_background() {
        let at = |busy, stolen| Counters {
            busy: Duration::from_secs(busy),
            stolen: Duration::from_secs(stolen),
        };
        let seconds = Duration::from_secs;
        let background = Background::between(at(100, 5), at(112, 6), seconds(9), seconds(20));
        assert_eq!((background.others, background.stolen), (0.15, 0.05));
        // The two clocks need not agree to the tick.
        let background = Background::between(at(100, 5), at(108, 5), seconds(9), seconds(20));
        assert_eq!((background.others, background.stolen), (0.0, 0.0));
    }
}
