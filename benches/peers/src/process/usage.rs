//! What the kernel has counted for a process, all its threads together.

use std::fs;
use std::io;
use std::ops::Sub;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

/// Processor time and context switches: since the start of a process, or
/// between two points.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// In user and in kernel mode.
    pub(crate) cpu: Duration,
    /// Voluntary ones and the others.
    pub(crate) switches: u64,
}

impl Usage {
    pub(crate) fn of(process: u32) -> io::Result<Usage> {
        let mut switches = 0;
        let mut scheduled = 0;
        for task in fs::read_dir(format!("/proc/{process}/task"))? {
            let folder = task?.path();
            // A thread may end while we look.
            let Ok(status) = fs::read_to_string(folder.join("status")) else {
                continue;
            };
            switches += number_after(&status, "voluntary_ctxt_switches:").unwrap_or(0)
                + number_after(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
            scheduled += fs::read_to_string(folder.join("schedstat"))
                .ok()
                .and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
                .unwrap_or(0);
        }
        let cpu = match scheduled {
            // A kernel without these counters: clock ticks it is.
            0 => ticks(&fs::read_to_string(format!("/proc/{process}/stat"))?)?,
            nanoseconds => Duration::from_nanos(nanoseconds),
        };
        Ok(Usage { cpu, switches })
    }
}

impl Sub for Usage {
    type Output = Usage;

    fn sub(self, earlier: Usage) -> Usage {
        Usage {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            // A thread that ended took its count with it.
            switches: self.switches.saturating_sub(earlier.switches),
        }
    }
}

/// The memory of a process that is not on disk only.
pub(crate) fn resident_bytes(process: u32) -> io::Result<u64> {
    let table = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))
        .or_else(|_| fs::read_to_string(format!("/proc/{process}/status")))?;
    number_after(&table, "Rss:")
        .or_else(|| number_after(&table, "VmRSS:"))
        .map(|kibibytes| kibibytes * 1024)
        .ok_or_else(|| io::Error::other("the kernel does not tell resident memory"))
}

/// The most that a process has ever had of it.
pub(crate) fn most_resident_bytes(process: u32) -> io::Result<u64> {
    let table = fs::read_to_string(format!("/proc/{process}/status"))?;
    number_after(&table, "VmHWM:")
        .map(|kibibytes| kibibytes * 1024)
        .ok_or_else(|| io::Error::other("the kernel does not tell resident memory"))
}

/// The number on the line that starts so.
fn number_after(table: &str, label: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system time out of `/proc/PID/stat`.
fn ticks(stat: &str) -> io::Result<Duration> {
    // The name in parentheses may hold anything, even parentheses.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let mut numbers = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    match (numbers.next(), numbers.next(), sysconf(SysconfVar::CLK_TCK)) {
        (Some(Ok(user)), Some(Ok(system)), Ok(Some(per_second))) => Ok(Duration::from_secs_f64(
            (user + system) as f64 / per_second as f64,
        )),
        _ => Err(io::Error::other("the kernel's table is not as expected")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_process_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 300 200 0 0 20 0";
        let per_second = sysconf(SysconfVar::CLK_TCK).unwrap().unwrap() as f64;
        let expected = Duration::from_secs_f64(500.0 / per_second);
        for name in ["peers", "a (b) c)", "with space"] {
            let read = ticks(&format!("42 ({name}) {rest}")).unwrap();
            assert_eq!(read, expected, "{name}");
        }
    }

    #[test]
    fn this_process_has_memory_and_switches() {
        let this = std::process::id();
        assert!(resident_bytes(this).unwrap() > 100_000);
        let before = Usage::of(this).unwrap();
        std::thread::yield_now();
        let mut x = 0_u64;
        for n in 0..50_000_000_u64 {
            x = std::hint::black_box(x ^ n);
        }
        let used = Usage::of(this).unwrap() - before;
        assert!(used.cpu > Duration::ZERO);
    }
}
