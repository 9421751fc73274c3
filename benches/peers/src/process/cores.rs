//! Which core each end runs on.
//!
//! Client and server get a core each, so that the scheduler has no say in the
//! result. A process inherits the core of the thread that starts it; it never
//! runs anywhere else, not even for its first instructions.

use std::fs;
use std::io;
use std::process::{Child, Command};
use std::str::FromStr;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// A core, by the number that the kernel gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Core(pub(crate) usize);

/// Where the two ends go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// None if there is but one core: then nothing is pinned.
    pub(crate) pair: Option<(Core, Core)>,
    /// Whether the two are threads of one physical core.
    pub(crate) siblings: bool,
}

impl Cores {
    /// Two cores that this process may use, not two threads of one core if that
    /// can be helped.
    pub(crate) fn pick() -> Cores {
        let allowed = allowed();
        let places: Vec<_> = allowed
            .iter()
            .map(|&core| (core, Place::of(core)))
            .collect();
        // The first core is where interrupts tend to be served.
        let from = usize::from(places.len() > 2);
        let candidates = &places[from.min(places.len())..];
        let Some((server, place)) = candidates.first() else {
            return Cores {
                pair: None,
                siblings: false,
            };
        };
        let apart = candidates
            .iter()
            .skip(1)
            .find(|(_, other)| other.package == place.package && other.core != place.core);
        match apart.or(candidates.get(1)) {
            Some((client, other)) => Cores {
                pair: Some((Core(*server), Core(*client))),
                siblings: other == place,
            },
            None => Cores {
                pair: None,
                siblings: false,
            },
        }
    }

    pub(crate) fn server(&self) -> Option<Core> {
        self.pair.map(|(server, _)| server)
    }

    pub(crate) fn client(&self) -> Option<Core> {
        self.pair.map(|(_, client)| client)
    }

    /// How the ends are placed, for the report.
    pub(crate) fn describe(&self) -> String {
        match self.pair {
            None => "only one core: both ends share it, nothing is pinned".to_owned(),
            Some((Core(server), Core(client))) => {
                let kind = match self.siblings {
                    true => ", two threads of one physical core",
                    false => "",
                };
                format!("server on core {server}, client on core {client}{kind}")
            }
        }
    }
}

/// Starts a process that may run on this core only.
pub(super) fn spawn_on(core: Option<Core>, command: &mut Command) -> io::Result<Child> {
    let Some(Core(core)) = core else {
        return command.spawn();
    };
    let this_thread = Pid::from_raw(0);
    let before = sched_getaffinity(this_thread)?;
    let mut only = CpuSet::new();
    only.set(core)?;
    sched_setaffinity(this_thread, &only)?;
    let child = command.spawn();
    sched_setaffinity(this_thread, &before)?;
    child
}

/// The cores that this process may use.
fn allowed() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else {
        return Vec::new();
    };
    (0..CpuSet::count())
        .filter(|&core| set.is_set(core).unwrap_or(false))
        .collect()
}

/// Which physical core a core is part of. Unknown numbers are taken as they
/// come, each a core of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    package: usize,
    core: usize,
}

impl Place {
    fn of(core: usize) -> Place {
        Place {
            package: topology(core, "physical_package_id").unwrap_or(0),
            core: topology(core, "core_id").unwrap_or(core),
        }
    }
}

fn topology<T: FromStr>(core: usize, what: &str) -> Option<T> {
    let path = format!("/sys/devices/system/cpu/cpu{core}/topology/{what}");
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
