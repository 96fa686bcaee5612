//! Looks at every thread of its process, so it is alone in it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use sys::aio::Aio;

/// What the threads of this process block, as bit masks.
fn blocked() -> BTreeMap<OsString, u64> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks
        .map(|task| {
            let task = task.unwrap();
            let status = fs::read_to_string(task.path().join("status")).unwrap();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
            (task.file_name(), u64::from_str_radix(mask, 16).unwrap())
        })
        .collect()
}

#[test]
fn workers_take_no_signals() {
    // All but SIGKILL and SIGSTOP, which cannot be, and the two that glibc keeps.
    let all = !(1 << 8 | 1 << 18 | 1 << 31 | 1 << 32);
    let before = blocked();
    let pool = Aio::threads(1, 3, || ()).unwrap();
    let with_pool = blocked();
    // Others may block theirs for a moment, as who makes a thread does.
    let new: Vec<_> = with_pool.iter().filter(|(thread, _)| !before.contains_key(*thread)).collect();
    assert_eq!(new.len(), 3);
    assert!(new.iter().all(|(_, mask)| **mask & all == all), "{new:x?}");
    drop(pool);
}
