//! How much more may be mapped, where that is limited.

use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, getrlimit};

/// Bytes of writable private memory that this process may still map, touched or not. None
/// where neither [`address_space`] nor [`promises`] limit it. Does not allocate.
pub fn room() -> Option<u64> {
    [address_space(), promises()].into_iter().flatten().min()
}

/// What is left of RLIMIT_AS (`ulimit -v`), which counts everything that is mapped.
pub fn address_space() -> Option<u64> {
    getrlimit(Resource::As).current.map(|limit| {
        let size = crate::maps::Statm::open().and_then(|statm| statm.read());
        limit.saturating_sub(size.map_or(0, |sample| sample.size_bytes))
    })
}

/// What the machine will still promise, where `vm.overcommit_memory` is 2: that counts
/// private memory from when it is made writable on, once more in each forked child.
pub fn promises() -> Option<u64> {
    let mut mode = [0; 1];
    if read("/proc/sys/vm/overcommit_memory", &mut mode) != 1 || mode != *b"2" {
        return None;
    }
    let mut text = [0; 4096];
    let len = read("/proc/meminfo", &mut text);
    let text = core::str::from_utf8(&text[..len]).ok()?;
    let kibibytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    let (limit, promised) = (kibibytes("CommitLimit:")?, kibibytes("Committed_AS:")?);
    Some(limit.saturating_sub(promised) << 10)
}

fn read(path: &str, buffer: &mut [u8]) -> usize {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|file| rustix::io::read(file, buffer))
        .unwrap_or(0)
}
