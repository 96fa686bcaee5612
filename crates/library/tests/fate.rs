#![expect(unsafe_code, reason = "forks")]
//! What becomes of heaps that end, fork or fail. Each in a process of its own.

mod common;

use allocator_api2::vec::Vec as PagedVec;
use common::{BUDGET, Held, MIB, PAGE, builder, heap, is_killed, passes, word};
use outcore::{Fallbacks, Heap};
use std::os::unix::process::ExitStatusExt as _;

fn fill(heap: &Heap, bytes: usize) -> PagedVec<u64, Heap> {
    let mut data = PagedVec::with_capacity_in(bytes / 8, heap.clone());
    data.extend((0..bytes / 8).map(|index| word(1, index)));
    data
}

fn check(data: &[u64]) {
    for (index, found) in data.iter().enumerate() {
        assert_eq!(*found, word(1, index), "word {index}");
    }
}

#[test]
fn nothing_is_left_of_a_heap_that_is_dropped() {
    passes("nothing_is_left");
}

#[test]
#[ignore = "counts what its process has: run by the test above"]
fn nothing_is_left() {
    let ways = [
        Fallbacks::default(),
        Fallbacks { threads: true, ..Fallbacks::default() },
        Fallbacks { copy: true, ..Fallbacks::default() },
    ];
    let live_and_die = |way| {
        let heap = builder().fallbacks(way).build().expect("a heap");
        let arena = heap.arena(4 * BUDGET).expect("an arena");
        let mut pages = arena.alloc(2 * BUDGET).expect("pages");
        pages.fill(7);
        let family = heap.family::<[u64; 9]>("nines").expect("a family");
        let handle = family.alloc([9; 9]).expect("pages");
        let data = fill(&heap, 2 * BUDGET);
        assert!(heap.stats().swap_outs > 0);
        let during = Held::now();
        // The last reads are still under way when it ends.
        assert_eq!((data[0], pages[0], handle[0]), (word(1, 0), 7, 9));
        during
    };
    let threads = Held::now().threads;
    // What the C library keeps of the first threads for the next ones.
    for way in ways {
        let _ = live_and_die(way);
    }
    let before = Held::with_threads(threads);
    for round in 0..10 {
        for way in ways {
            let during = live_and_die(way);
            assert!(during.threads > before.threads && during.descriptors > before.descriptors + 4);
            before.comes_back(&format!("round {round}, {way:?}"));
        }
    }
    assert!(builder().store_in("/nowhere").build().is_err());
    before.comes_back("after a heap that could not be made");
}

#[test]
fn a_forked_child_is_told_what_it_has_not_got() {
    let said = passes("a_child_touches");
    let told = "outcore: a forked child touched paged memory, which children do not have: \
        execute another program, or make a heap in the child\n";
    assert_eq!(said.matches(told).count(), 2, "{said}");
}

/// What became of a forked child that did this.
fn forked(work: impl FnOnce() -> i32) -> std::process::ExitStatus {
    // SAFETY: the child uses what is its own and what is under test, and leaves at once.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork");
    if child == 0 {
        let status = work();
        // SAFETY: no destructor of the parent's may run.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: the status may be written.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    std::process::ExitStatus::from_raw(status)
}

#[test]
#[ignore = "forks: run by the test above"]
fn a_child_touches() {
    let heap = heap();
    let mut data = fill(&heap, 2 * BUDGET);
    let arena = heap.arena(BUDGET).expect("an arena");
    let last = data.len() - 1;
    // One in the store, one in memory: neither reads as zeros.
    for index in [0, last] {
        let status = forked(|| (data[index] == 0).into());
        assert_eq!(status.signal(), Some(libc::SIGSEGV), "word {index}: {status:?}");
    }
    // What a child is refused, and what it may do.
    let status = forked(|| {
        let refused = [
            arena.alloc(PAGE).is_err(),
            heap.arena(PAGE).is_err(),
            PagedVec::<u64, Heap>::new_in(heap.clone()).try_reserve_exact(MIB).is_err(),
        ];
        if refused != [true; 3] {
            return 1;
        }
        let own = common::heap();
        let data = fill(&own, 2 * BUDGET);
        check(&data);
        drop((data, own));
        drop((arena, heap));
        0
    });
    assert_eq!(status.code(), Some(0), "{status:?}");
    // The parent has everything.
    check(&data);
    data[0] = 1;
    assert_eq!(data[0], 1);
}

#[test]
fn a_page_that_does_not_come_back_is_a_bus_error() {
    for (test, cause) in [
        ("a_read_fails", "the store could not read it"),
        ("a_read_lies", "the store returned other bytes than were written"),
    ] {
        let said = is_killed(test, libc::SIGBUS);
        assert!(said.contains("outcore: the page at 0x") && said.contains(cause), "{said}");
    }
}

fn read_back_with(plan: &str) {
    let heap = builder().faults(plan).build().expect("a heap");
    let data = fill(&heap, 4 * BUDGET);
    check(&data);
    unreachable!("every byte came back");
}

#[test]
#[ignore = "is killed: run by the test above"]
fn a_read_fails() {
    read_back_with("read-error@20");
}

#[test]
#[ignore = "is killed: run by the test above"]
fn a_read_lies() {
    read_back_with("corrupt-read@20");
}

#[test]
fn a_store_that_cannot_be_written_loses_nothing() {
    let said = passes("a_write_fails");
    assert!(said.contains("outcore: writing to the store failed"), "{said}");
}

#[test]
#[ignore = "says so on standard error: run by the test above"]
fn a_write_fails() {
    let heap = builder().faults("write-error@20").build().expect("a heap");
    let mut data = fill(&heap, 3 * BUDGET);
    check(&data);
    data.reverse();
    data.reverse();
    check(&data);
    let message = heap.message().expect("a message");
    assert!(
        message.starts_with("writing to the store failed") && message.contains("the heap's budget"),
        "{message}"
    );
}

#[test]
fn a_full_store_is_told_and_loses_nothing() {
    let said = passes("the_store_fills");
    assert!(said.contains("outcore: nothing more can be evicted"), "{said}");
}

#[test]
#[ignore = "says so on standard error: run by the test above"]
fn the_store_fills() {
    let heap = builder().store_size(4 * MIB as u64).build().expect("a heap");
    let data = fill(&heap, 3 * BUDGET);
    check(&data);
    let stats = heap.stats();
    assert!(stats.resident_bytes + stats.parked_bytes > BUDGET as u64, "{stats}");
    assert_eq!(stats.store_bytes, 4 * MIB as u64);
}

#[test]
fn the_process_stays_within_the_budget() {
    passes("a_process_fills");
}

/// A line of `/proc/self/status`, in bytes.
fn status(name: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").expect("proc");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line of that name");
    line.trim_matches([':', ' ', '\t', 'k', 'B']).parse::<usize>().expect("a number") << 10
}

#[test]
#[ignore = "measures its process: run by the test above"]
fn a_process_fills() {
    let before = status("VmHWM");
    let budget = 64 * MIB;
    let heap = Heap::builder().budget(budget as u64).build().expect("a heap");
    let data = fill(&heap, 6 * budget);
    check(&data);
    let grown = status("VmHWM") - before;
    // Stacks of four threads, the transfers' tables.
    assert!(grown <= budget + 6 * MIB, "{} MiB", grown / MIB);
    assert!(heap.stats().swap_outs >= (5 * budget / PAGE) as u64);
}
