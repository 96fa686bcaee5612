//! Stacks in paged memory, with coroutines on them.

#![expect(unsafe_code, reason = "lends stacks to coroutines")]

mod common;

use allocator_api2::vec::Vec as PagedVec;
use common::{BUDGET, Held, MIB, PAGE, dies_by_a_bus_error, heap, word};
use core::hint::black_box;
use core::num::NonZeroUsize;
use core::sync::atomic::{AtomicUsize, Ordering};
use corosensei::stack::{Stack, StackPointer};
use corosensei::{Coroutine, CoroutineResult, Yielder};
use outcore::{Advice, ArenaError, Heap, Stacks};
use std::time::Instant;

struct Paged(outcore::Stack);

// SAFETY: from the guard to the base is one stack, of which nobody else has a part.
unsafe impl Stack for Paged {
    fn base(&self) -> StackPointer {
        NonZeroUsize::new(self.0.base()).expect("not 0")
    }

    fn limit(&self) -> StackPointer {
        NonZeroUsize::new(self.0.limit()).expect("not 0")
    }
}

type Worker = Coroutine<u64, u64, u64, Paged>;

fn worker(stacks: &Stacks, work: impl FnOnce(&Yielder<u64, u64>, u64) -> u64 + 'static) -> Worker {
    Coroutine::with_stack(Paged(stacks.stack().expect("a stack")), work)
}

fn resume(worker: &mut Worker, value: u64) -> Option<u64> {
    match worker.resume(value) {
        CoroutineResult::Yield(value) => Some(value),
        CoroutineResult::Return(_) => None,
    }
}

/// Pauses at every level of a recursion, whose frames are checked on the way back.
fn descend(yielder: &Yielder<u64, u64>, salt: u64, levels: usize) -> u64 {
    let frame: [u64; 128] = core::array::from_fn(|index| word(salt, levels * 128 + index));
    let frame = black_box(frame);
    let mut sum = yielder.suspend(levels as u64);
    if levels > 0 {
        sum += descend(yielder, salt, levels - 1);
    }
    for (index, found) in frame.iter().enumerate() {
        assert_eq!(*found, word(salt, levels * 128 + index), "level {levels}");
    }
    sum
}

#[test]
fn idle_stacks_leave_and_come_back_whole() {
    let heap = heap();
    let stacks = heap.stacks(MIB, 600).expect("stacks");
    let mut workers: Vec<Worker> = (0..600u64)
        .map(|number| worker(&stacks, move |yielder, _| descend(yielder, number, 8 + number as usize % 24)))
        .collect();
    let mut rounds = 0;
    while workers.iter().any(|worker| !worker.done()) {
        for worker in workers.iter_mut().filter(|worker| !worker.done()) {
            resume(worker, 1);
        }
        rounds += 1;
    }
    assert_eq!(rounds, 33);
    let stats = heap.stats();
    assert!(stats.swap_outs > (BUDGET / PAGE) as u64 && stats.swap_ins > 1000, "{stats}");
    drop(workers);
    drop(stacks);
    // A write that was under way keeps its place until it ends.
    let start = Instant::now();
    let held = || (heap.stats().swapped_bytes, heap.stats().store_used_bytes);
    while held() != (0, 0) && start.elapsed().as_secs() < 10 {
        std::thread::yield_now();
    }
    assert_eq!(held(), (0, 0));
}

/// The kernel writes a frame far below the stack pointer before it moves it, over a page's end
/// as well; and what it saves there must come back, out of the store, too.
#[test]
fn signals_are_handled_on_paged_stacks() {
    extern "C" fn handler(_: libc::c_int) {
        HANDLED.fetch_add(1, Ordering::Relaxed);
    }
    static HANDLED: AtomicUsize = AtomicUsize::new(0);
    fn raise_below(depth: usize) -> usize {
        let kept = black_box([depth; 32]);
        // SAFETY: the handler counts, and no more.
        assert_eq!(unsafe { libc::raise(libc::SIGUSR1) }, 0);
        let below = if depth > 0 { raise_below(depth - 1) } else { 0 };
        below + usize::from(kept.iter().all(|word| *word == depth))
    }
    let action = handler as extern "C" fn(libc::c_int);
    // SAFETY: the handler makes no call that a handler may not.
    unsafe { libc::signal(libc::SIGUSR1, action as libc::sighandler_t) };
    let heap = heap();
    let stacks = heap.stacks(MIB, 300).expect("stacks");
    let mut workers: Vec<Worker> = (0..300usize)
        .map(|_| worker(&stacks, move |_, _| if raise_below(100) == 101 { 0 } else { panic!("changed") }))
        .collect();
    for worker in &mut workers {
        assert_eq!(resume(worker, 0), None);
    }
    assert_eq!(HANDLED.load(Ordering::Relaxed), 300 * 101);
    assert!(heap.stats().swap_outs > 0, "{}", heap.stats());
}

/// Bytes that are written upwards to the end of a stack do not reach into the next one's guard.
#[test]
fn a_stack_that_is_filled_upwards_ends_where_it_ends() {
    let heap = heap();
    let stacks = heap.stacks(MIB, 4).expect("stacks");
    let one = stacks.stack().expect("a stack");
    for page in (one.limit() + PAGE..one.base()).step_by(PAGE) {
        let byte: *mut u8 = core::ptr::with_exposed_provenance_mut(page);
        // SAFETY: of the stack, on which nobody runs.
        unsafe { byte.write_volatile(1) };
    }
    let usage = heap.stats().resident_bytes + heap.stats().parked_bytes;
    assert_eq!(usage, MIB as u64, "{}", heap.stats());
}

/// What the library does for a thread that runs on a paged stack must not need that stack.
#[test]
fn the_heap_is_used_from_paged_stacks() {
    let heap = heap();
    let stacks = heap.stacks(256 << 10, 400).expect("stacks");
    let mut workers: Vec<Worker> = (0..400u64)
        .map(|number| {
            let heap = heap.clone();
            worker(&stacks, move |yielder, _| {
                let arena = heap.arena(MIB).expect("an arena");
                let mut pages = arena.alloc(64 << 10).expect("pages");
                for round in 0..6 {
                    pages.fill(round);
                    let mut data: PagedVec<u64, Heap> = PagedVec::new_in(heap.clone());
                    data.extend((0..6000).map(|index| word(number, index)));
                    yielder.suspend(0);
                    assert!(data.iter().enumerate().all(|(index, found)| *found == word(number, index)));
                    assert!(pages.iter().all(|byte| *byte == round));
                    pages.advise(.., Advice::Cold).expect("a range");
                    pages.discard(..32 << 10).expect("a range");
                    assert_eq!(pages.usage(..32 << 10).map(|usage| usage.untouched), Ok(8));
                    assert!(heap.stats().budget_bytes == BUDGET as u64);
                }
                0
            })
        })
        .collect();
    for _ in 0..7 {
        for worker in &mut workers {
            let _ = resume(worker, 0);
        }
    }
    assert!(workers.iter().all(Coroutine::done));
    assert!(heap.stats().swap_outs > (BUDGET / PAGE) as u64);
}

#[test]
fn a_panic_passes_through_and_stacks_are_reused() {
    let heap = heap();
    let stacks = heap.stacks(MIB, 2).expect("stacks");
    for round in 0..20 {
        let one = stacks.stack().expect("a stack");
        let other = stacks.stack().expect("a stack");
        assert_eq!(stacks.stack().map(|_| ()), Err(ArenaError::Full { bytes: MIB }));
        assert!(one.base() <= other.limit() || other.base() <= one.limit());
        drop((one, other));
        let mut deep = worker(&stacks, move |yielder, _| descend(yielder, round, 150));
        while resume(&mut deep, 0).is_some() {}
    }
    let family = heap.family::<u64>("numbers").expect("a family");
    let again = heap.clone();
    let mut panics = worker(&stacks, move |_, _| u64::from(again.family::<u64>("").is_err()));
    assert_eq!(resume(&mut panics, 0), None);
    assert_eq!(heap.families().registered().len(), 2, "{family:?}");
}

#[test]
fn guards_take_no_mappings() {
    let heap = heap();
    let before = Held::now().mappings;
    let stacks = heap.stacks(64 << 10, 20_000).expect("stacks");
    let kept: Vec<outcore::Stack> = (0..20_000).map(|_| stacks.stack().expect("a stack")).collect();
    assert_eq!(kept.len(), 20_000);
    let more = Held::now().mappings - before;
    assert!(more < 50, "{more} mappings");
}

#[test]
fn an_overflow_is_a_bus_error() {
    dies_by_a_bus_error("overflows", "outcore: a stack overflows at 0x");
}

#[test]
#[ignore = "is killed: run by the test above"]
fn overflows() {
    let heap = heap();
    let stacks = heap.stacks(128 << 10, 3).expect("stacks");
    let _below = stacks.stack().expect("a stack");
    let mut deep = worker(&stacks, |yielder, _| descend(yielder, 1, 100_000));
    while resume(&mut deep, 0).is_some() {}
}

#[test]
fn a_touch_far_below_the_stack_pointer_is_a_bus_error() {
    dies_by_a_bus_error("reaches_down", "outcore: a stack is touched far below its stack pointer at 0x");
}

#[test]
#[ignore = "is killed: run by the test above"]
fn reaches_down() {
    let heap = heap();
    let stacks = heap.stacks(MIB, 1).expect("stacks");
    let mut wild = worker(&stacks, |_, _| {
        let here = 0u8;
        let below = (&raw const here).wrapping_sub(64 << 10).cast_mut();
        // SAFETY: not at all: it is what is tested.
        unsafe { below.write_volatile(1) };
        0
    });
    resume(&mut wild, 0);
}
