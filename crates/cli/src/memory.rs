//! How much memory there is for a program: the machine's and its cgroup's.

use crate::cgroup;
use std::fs;

/// Memory in bytes, of the machine and of the tightest cgroup around us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// RAM of the machine.
    pub(crate) total: u64,
    /// What the kernel reckons can be had without swapping.
    pub(crate) available: u64,
    /// The smallest limit of a cgroup around us, if there is one below `total`.
    pub(crate) limit: Option<u64>,
    /// What the cgroups around us leave, if they limit anything.
    pub(crate) limit_leaves: Option<u64>,
}

impl Memory {
    /// Looks at this machine.
    pub(crate) fn look() -> Self {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let field = |name| meminfo(&text, name);
        let total = field("MemTotal").unwrap_or(u64::MAX);
        let limits: Vec<_> = cgroup::limits().into_iter().filter(|level| level.limit_bytes < total).collect();
        Self {
            total,
            available: field("MemAvailable").or_else(|| field("MemFree")).unwrap_or(0),
            limit: limits.iter().map(|level| level.limit_bytes).min(),
            limit_leaves: limits.iter().map(|level| level.leaves()).min(),
        }
    }

    /// The bytes that percentages are of: the cgroup's limit, else all RAM.
    pub(crate) fn whole(&self) -> u64 {
        self.limit.unwrap_or(self.total)
    }

    /// The bytes that nobody uses now.
    pub(crate) fn left(&self) -> u64 {
        self.available.min(self.limit_leaves.unwrap_or(u64::MAX))
    }
}

/// A field of `/proc/meminfo`, in bytes.
fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_in_kilobytes() {
        let text = "MemTotal:       16384 kB\nMemAvailable:    8192 kB\n";
        assert_eq!(meminfo(text, "MemTotal"), Some(16 << 20));
        assert_eq!(meminfo(text, "MemAvailable"), Some(8 << 20));
        assert_eq!(meminfo(text, "Mem"), None);
    }

    #[test]
    fn this_machine_has_memory() {
        let memory = Memory::look();
        assert!(memory.total >= memory.whole());
        assert!(memory.left() <= memory.total);
    }
}
