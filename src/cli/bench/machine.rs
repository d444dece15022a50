//! On which machine was it measured, and was the machine disturbed meanwhile?

use serde::{Deserialize, Serialize};

/// What decides a latency beside the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Threads of it that this process may use.
    pub cores: usize,
    pub memory_mib: u64,
    /// As in `linux 6.1.0 x86_64`.
    pub system: String,
    /// Processes that wanted to run before the benchmark, in the mean of a minute.
    pub load_before: Option<f64>,
    /// The share of time that the hypervisor gave to other machines, meanwhile.
    pub steal_share: Option<f64>,
}

impl Machine {
    /// Of this process; empty where the system does not say.
    pub(super) fn read() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let kernel = text("/proc/sys/kernel/osrelease");
        Self {
            cpu: cpu(&text("/proc/cpuinfo")),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: memory_mib(&text("/proc/meminfo")),
            system: format!("{} {} {}", std::env::consts::OS, kernel.trim(), std::env::consts::ARCH),
            load_before: text("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()),
            steal_share: None,
        }
    }
}

fn cpu(info: &str) -> String {
    let names = ["model name", "Model", "Hardware"];
    let line = info.lines().find(|line| names.iter().any(|name| line.starts_with(name)));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim());
    name.unwrap_or("unknown").to_owned()
}

fn memory_mib(info: &str) -> u64 {
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}

/// Ticks of all processors since the system started: in all, and stolen by the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticks {
    all: u64,
    stolen: u64,
}

impl Ticks {
    /// `None` where the system does not say.
    pub(super) fn read() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // user nice system idle iowait irq softirq steal; guests are in user already (proc_stat(5)).
        let counts = stat.lines().next()?.strip_prefix("cpu ")?;
        let counts: Vec<u64> =
            counts.split_whitespace().map_while(|count| count.parse().ok()).take(8).collect();
        let all = counts.iter().fold(0, |sum: u64, count| sum.saturating_add(*count));
        Some(Self { all, stolen: *counts.get(7)? })
    }

    /// The share that was stolen since `earlier`.
    #[expect(clippy::cast_precision_loss, reason = "ticks of a benchmark")]
    pub(super) fn stolen_since(self, earlier: Self) -> Option<f64> {
        let all = self.all.checked_sub(earlier.all).filter(|all| *all > 0)?;
        Some(self.stolen.checked_sub(earlier.stolen)? as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_does_not_say_is_left_open() {
        assert_eq!(cpu(""), "unknown");
        assert_eq!(memory_mib("MemFree: 1 kB"), 0);
        for stat in ["", "intr 1", "cpu  1 2 3"] {
            assert_eq!(Ticks::parse(stat), None, "{stat}");
        }
        let ticks = Ticks { all: 10, stolen: 1 };
        assert_eq!(ticks.stolen_since(ticks), None);
        assert_eq!(ticks.stolen_since(Ticks { all: 5, stolen: 2 }), None);
    }

    #[test]
    fn processor_memory_and_stolen_time_are_read() {
        assert_eq!(cpu("processor : 0\nmodel name\t: AMD EPYC\nmodel name\t: other"), "AMD EPYC");
        assert_eq!(memory_mib("MemTotal:       24576000 kB\n"), 24_000);
        let before = Ticks::parse("cpu  10 0 10 70 0 0 0 10 99 99\ncpu0 1").unwrap();
        let after = Ticks::parse("cpu  20 0 20 140 0 0 0 20 99 99\n").unwrap();
        assert_eq!(after.stolen_since(before), Some(0.1));
        assert!(Machine::read().cores >= 1);
    }
}
