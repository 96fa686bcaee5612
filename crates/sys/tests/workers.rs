//! Looks at every thread of its process, so it is alone in it.

use std::fs;
use sys::aio::Aio;

/// What the threads of this process block, as bit masks.
fn blocked() -> Vec<u64> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks
        .map(|task| {
            let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
            u64::from_str_radix(mask, 16).unwrap()
        })
        .collect()
}

#[test]
fn workers_take_no_signals() {
    // All but SIGKILL and SIGSTOP, which cannot be, and the two that glibc keeps.
    let all = !(1 << 8 | 1 << 18 | 1 << 31 | 1 << 32);
    let deaf = |masks: &[u64]| masks.iter().filter(|mask| **mask & all == all).count();
    let before = blocked();
    let pool = Aio::threads(1, 3, || ()).unwrap();
    let with_pool = blocked();
    assert_eq!(with_pool.len(), before.len() + 3);
    assert_eq!(deaf(&with_pool), deaf(&before) + 3);
    drop(pool);
}
