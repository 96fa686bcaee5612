#![expect(unsafe_code, reason = "drives an allocator")]
//! Large objects that are freed and asked for in turn are kept whole.

mod common;

use common::{Mapping, heap};
use heap::{FreeError, Heap, HeapStats};
use std::sync::atomic::Ordering::Relaxed;

const MIB: usize = 1 << 20;
const UNIT: usize = 64 << 10;

type TestHeap = Heap<&'static Mapping>;

fn alloc(heap: &TestHeap, size: usize) -> *mut u8 {
    let object = heap.alloc(None, size, 16);
    assert!(!object.is_null());
    // SAFETY: live, and as long.
    unsafe { object.write_bytes(1, size) };
    object
}

fn free(heap: &TestHeap, object: *mut u8) -> Result<(), FreeError> {
    // SAFETY: nobody uses it, and the heap finds out what is none.
    unsafe { heap.free(None, object) }
}

/// Frees and asks for 8 MiB until the heap has seen that.
fn turn_over(heap: &TestHeap) {
    for _ in 0..6 {
        let wave: Vec<*mut u8> = (0..16).map(|_| alloc(heap, MIB / 2)).collect();
        wave.into_iter().for_each(|object| free(heap, object).expect("freed once"));
    }
}

/// Objects of every length that is kept, one of each: what was in use before them, and they.
fn one_of_each(heap: &TestHeap) -> (HeapStats, Vec<*mut u8>) {
    let before = heap.stats();
    (before, (1..=16).map(|units| alloc(heap, units * UNIT - 100)).collect())
}

#[test]
fn what_is_asked_for_again_is_the_same_object() {
    let (heap, source) = heap(Mapping::new(1 << 30));
    turn_over(heap);
    let (before, objects) = one_of_each(heap);
    let during = heap.stats();
    assert_eq!(during.large_objects - before.large_objects, 16);
    assert_eq!(during.large_bytes - before.large_bytes, 136 * UNIT);
    let promised = source.promised.load(Relaxed);
    objects.iter().for_each(|object| free(heap, *object).expect("freed once"));
    assert_eq!(HeapStats { kept_bytes: 0, ..heap.stats() }, HeapStats { kept_bytes: 0, ..before });
    assert!(heap.stats().kept_bytes >= 136 * UNIT);
    for (units, object) in (1..).zip(&objects) {
        let addr = object.addr();
        assert_eq!(free(heap, *object), Err(FreeError::AlreadyFree(addr)));
        assert_eq!(
            (heap.usable_size(addr), free(heap, addr.wrapping_add(UNIT / 2) as *mut u8)),
            (None, Err(FreeError::NotAnObject))
        );
        // SAFETY: it is none, and the heap finds out.
        assert!(unsafe { heap.realloc(None, *object, 100) }.is_err());
        assert!((addr..addr + units * UNIT).step_by(4096).all(|page| heap.is_unused(page)), "{units}");
    }
    let again: Vec<*mut u8> = (1..=16).map(|units| alloc(heap, units * UNIT - 100)).collect();
    assert_eq!((again, heap.stats().large_bytes), (objects.clone(), during.large_bytes));
    assert_eq!(source.promised.load(Relaxed), promised);
    for (units, object) in (1..).zip(&objects) {
        assert_eq!(heap.usable_size(object.addr()), Some(units * UNIT));
        assert!(
            (object.addr()..object.addr() + units * UNIT).step_by(4096).all(|page| !heap.is_unused(page))
        );
        free(heap, *object).expect("freed once");
    }
    assert!(heap.trim());
    assert_eq!((heap.stats(), source.promised.load(Relaxed)), (HeapStats::default(), 0));
}

/// One that is longer than what was freed, of as many units, has its promise; where that is
/// refused there is none, and nothing is lost.
#[test]
fn a_longer_one_is_promised_what_it_is_longer() {
    let (heap, source) = heap(Mapping::new(1 << 30));
    turn_over(heap);
    for refused in [false, true] {
        heap.trim();
        turn_over(heap);
        let short = alloc(heap, 9 * UNIT + 1);
        free(heap, short).expect("freed once");
        if refused {
            source.most.store(0, Relaxed);
        }
        let long = heap.alloc(None, 10 * UNIT, 16);
        // What others left promised may do, if there is so much.
        assert!(refused || long == short);
        source.most.store(usize::MAX, Relaxed);
        assert!(long.is_null() || heap.usable_size(long.addr()) == Some(10 * UNIT));
        if !long.is_null() {
            assert!(source.promised.load(Relaxed) >= 10 * UNIT);
            free(heap, long).expect("freed once");
        }
        heap.trim();
        assert_eq!((heap.stats(), source.promised.load(Relaxed)), (HeapStats::default(), 0));
    }
}

/// What is kept whole would be in the way of what is in use.
#[test]
fn nothing_is_kept_whole_where_memory_is_scarce() {
    let (heap, source) = heap(Mapping::new(1 << 30));
    turn_over(heap);
    let (_, objects) = one_of_each(heap);
    let last = alloc(heap, 3 * MIB);
    objects.iter().for_each(|object| free(heap, *object).expect("freed once"));
    assert!(heap.stats().kept_bytes > 8 * MIB);
    source.scarce.store(true, Relaxed);
    free(heap, last).expect("freed once");
    assert!(heap.stats().kept_bytes <= 6 * MIB, "{:?}", heap.stats());
    let object = alloc(heap, MIB);
    free(heap, object).expect("freed once");
    assert_eq!(free(heap, object), Err(FreeError::NotAnObject), "not kept whole");
}

/// Where promises are refused, what is freed is nobody's.
#[test]
fn nothing_is_kept_whole_where_promises_may_not_be_spare() {
    let (heap, source) = heap(Mapping { spare: 0, ..Mapping::new(1 << 30) });
    turn_over(heap);
    let (_, objects) = one_of_each(heap);
    objects.iter().for_each(|object| free(heap, *object).expect("freed once"));
    assert_eq!((source.promised.load(Relaxed), free(heap, objects[0])), (0, Err(FreeError::NotAnObject)));
}

/// Long ones that are freed and short ones that are asked for leave promises that nobody needs.
#[test]
fn promises_do_not_pile_up_in_lists() {
    let (heap, source) = heap(Mapping::new(1 << 30));
    turn_over(heap);
    let short = || (0..8).map(|_| alloc(heap, 36 << 10)).collect::<Vec<_>>();
    let end = |objects: Vec<*mut u8>| {
        objects.into_iter().for_each(|object| free(heap, object).expect("freed once"));
    };
    end(short());
    let before = source.promised.load(Relaxed);
    for _ in 0..1000 {
        let long = alloc(heap, UNIT);
        free(heap, long).expect("freed once");
        end(short());
    }
    let more = source.promised.load(Relaxed).saturating_sub(before);
    assert!(more <= 4 * MIB, "{more} bytes are promised, and nothing is in use");
    heap.trim();
    assert_eq!((heap.stats(), source.promised.load(Relaxed)), (HeapStats::default(), 0));
}
