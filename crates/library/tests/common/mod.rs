//! What several tests of paged heaps use.

#![allow(dead_code, reason = "each test uses some of it")]

use outcore::{Heap, HeapBuilder};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output};

pub(crate) const MIB: usize = 1 << 20;
pub(crate) const PAGE: usize = 4096;

/// The smallest budget but one: 8 MiB.
pub(crate) const BUDGET: usize = 8 * MIB;

pub(crate) fn builder() -> HeapBuilder {
    Heap::builder().budget(BUDGET as u64)
}

pub(crate) fn heap() -> Heap {
    builder().build().unwrap_or_else(|error| panic!("{error}"))
}

/// Numbers that look random (xorshift, Marsaglia 2003); the seed is not 0.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// What belongs at `index` of the data number `salt`.
pub(crate) fn word(salt: u64, index: usize) -> u64 {
    (index as u64 ^ salt << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

/// Runs a test of this binary that is ignored otherwise, in a process of its own.
pub(crate) fn run_alone(test: &str) -> Output {
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .output()
        .expect("the test runs")
}

/// The test of that name passes in a process of its own; what it says on standard error.
#[track_caller]
pub(crate) fn passes(test: &str) -> String {
    let output = run_alone(test);
    let (status, said) = (output.status, in_text(&output.stderr));
    assert!(status.success(), "{status:?}\n{}{said}", in_text(&output.stdout));
    said
}

/// It is killed by that signal; what it says on standard error.
#[track_caller]
pub(crate) fn is_killed(test: &str, signal: i32) -> String {
    let output = run_alone(test);
    let (status, said) = (output.status, in_text(&output.stderr));
    assert_eq!(status.signal(), Some(signal), "{status:?}\n{}{said}", in_text(&output.stdout));
    said
}

/// It is killed by SIGBUS, and says this.
#[track_caller]
pub(crate) fn dies_by_a_bus_error(test: &str, message: &str) {
    let said = is_killed(test, libc::SIGBUS);
    assert!(said.contains(message), "{said}");
}

fn in_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a process has of what a heap needs: threads, descriptors of any of them, mappings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
    pub(crate) mappings: usize,
}

impl Held {
    /// The process has this again.
    pub(crate) fn comes_back(&self, when: &str) {
        assert_eq!(Self::with_threads(self.threads), *self, "{when}");
    }

    /// Now, or as soon as there are so many threads: one that has been joined is listed for
    /// an instant.
    pub(crate) fn with_threads(threads: usize) -> Self {
        let start = std::time::Instant::now();
        while Self::now().threads != threads && start.elapsed().as_secs() < 5 {
            std::thread::yield_now();
        }
        Self::now()
    }

    /// As soon as nothing comes or goes any more, where it is not known how many threads
    /// there will be: two looks agree, between which a thread that has been joined goes.
    pub(crate) fn settled() -> Self {
        let start = std::time::Instant::now();
        let mut before = Self::now();
        loop {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let now = Self::now();
            if now == before {
                return now;
            }
            assert!(start.elapsed().as_secs() < 10, "no rest: {before:?}, {now:?}");
            before = now;
        }
    }

    pub(crate) fn now() -> Self {
        let tasks: Vec<_> = std::fs::read_dir("/proc/self/task").expect("proc").flatten().collect();
        let of_task =
            |task: &std::fs::DirEntry| std::fs::read_dir(task.path().join("fd")).map_or(0, Iterator::count);
        let maps = std::fs::read_to_string("/proc/self/maps").expect("proc");
        Self {
            threads: tasks.len(),
            descriptors: tasks.iter().map(of_task).sum(),
            mappings: maps.lines().count(),
        }
    }
}
