//! What the kernel allows this process, and what it counts.

use std::fs::{self, File};
use std::ops::Sub;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeVal;
use nix::unistd::close;

/// Raises the soft limit of open files to the hard one.
///
/// One connection is one descriptor. The soft limit is low by tradition, for
/// programs that use `select`; this one does not.
pub(crate) fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        log::info!("cannot raise the limit of open files: {error}");
    }
}

/// Has the kernel make room for `count` descriptors, or as many as there may be.
///
/// It makes its table larger as descriptors are opened, and in a process of several
/// threads it then waits until all cores have passed a quiet point (`expand_fdtable`
/// and `synchronize_rcu` in Linux): 15 ms, in which nobody is served. So that is done
/// once, before there are threads or peers.
pub(crate) fn reserve_descriptors(count: u64) {
    let most = descriptor_limit().unwrap_or(0).saturating_sub(1);
    let Ok(highest) = i32::try_from(count.min(most)) else {
        return;
    };
    let reserved = File::open("/dev/null").and_then(|any| {
        let duplicate = fcntl(&any, FcntlArg::F_DUPFD_CLOEXEC(highest))?;
        Ok(close(duplicate)?)
    });
    if let Err(error) = reserved {
        log::info!("cannot make room for {highest} descriptors: {error}");
    }
}

/// How many files this process may have open, if it can be known.
pub(crate) fn descriptor_limit() -> Option<u64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    Some(soft)
}

/// How many bytes could be had without swapping, if it can be known.
pub(crate) fn available_memory() -> Option<u64> {
    let table = fs::read_to_string("/proc/meminfo").ok()?;
    let line = table
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// What this process has used, all threads together: since its start, or
/// between two points.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// In user and in kernel mode.
    pub(crate) cpu: Duration,
    /// A thread gave the processor up, to wait.
    pub(crate) voluntary_switches: u64,
    /// A thread had it taken away.
    pub(crate) involuntary_switches: u64,
}

impl Usage {
    pub(crate) fn now() -> Usage {
        let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask about itself");
        Usage {
            cpu: duration(usage.user_time()) + duration(usage.system_time()),
            voluntary_switches: usage.voluntary_context_switches().unsigned_abs(),
            involuntary_switches: usage.involuntary_context_switches().unsigned_abs(),
        }
    }
}

impl Sub for Usage {
    type Output = Usage;

    fn sub(self, earlier: Usage) -> Usage {
        Usage {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            voluntary_switches: self.voluntary_switches - earlier.voluntary_switches,
            involuntary_switches: self.involuntary_switches - earlier.involuntary_switches,
        }
    }
}

fn duration(time: TimeVal) -> Duration {
    Duration::from_secs(time.tv_sec().unsigned_abs())
        + Duration::from_micros(time.tv_usec().unsigned_abs())
}
