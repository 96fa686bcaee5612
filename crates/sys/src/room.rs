//! How much more may be mapped, where that is limited.

use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, getrlimit};

/// Bytes of writable private memory that this process may still map, touched or not:
/// what is left of RLIMIT_AS (`ulimit -v`), and of the machine's promises where
/// `vm.overcommit_memory` is 2. None where neither limits it. Does not allocate.
pub fn room() -> Option<u64> {
    let address_space = getrlimit(Resource::As).current.map(|limit| {
        let size = crate::maps::Statm::open().and_then(|statm| statm.read());
        limit.saturating_sub(size.map_or(0, |sample| sample.size_bytes))
    });
    [address_space, promises()].into_iter().flatten().min()
}

/// What the kernel will still promise; none where it counts nothing.
fn promises() -> Option<u64> {
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
