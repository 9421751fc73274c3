//! What the figures were measured on.

use std::fs;
use std::thread::available_parallelism;

use serde::{Deserialize, Serialize};

/// This machine, as far as it tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    /// Whether it says that it is a virtual one.
    pub(crate) virtual_machine: bool,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
}

impl Machine {
    pub(crate) fn this() -> Machine {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = processors.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim())
        };
        let flags = field("flags").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kibibytes = memory
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Machine {
            processor: field("model name")
                .unwrap_or("unknown processor")
                .to_owned(),
            cores: available_parallelism().map_or(1, usize::from),
            virtual_machine: flags.split(' ').any(|flag| flag == "hypervisor"),
            memory_bytes: kibibytes.unwrap_or(0) * 1024,
            kernel: release.trim().to_owned(),
        }
    }

    /// One line for people.
    pub(crate) fn describe(&self) -> String {
        let kind = match self.virtual_machine {
            true => " (virtual machine)",
            false => "",
        };
        let cores = match self.cores {
            1 => "1 core".to_owned(),
            cores => format!("{cores} cores"),
        };
        format!(
            "{}, {cores}, {:.0} GiB{kind}, Linux {}",
            self.processor,
            self.memory_bytes as f64 / f64::from(1 << 30),
            self.kernel
        )
    }
}
