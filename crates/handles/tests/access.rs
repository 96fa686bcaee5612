//! Reads, writes and handles: bounds, bytes of every value, what is gone and what never was.

mod common;

use common::{Faulty, PAGE, heap, over, pattern};
use handles::{AccessError, Handle, HandleError, MemoryStore, PinError, ReleaseError, VirtualHeap};
use std::collections::HashSet;

#[test]
fn every_byte_survives_swapping() {
    let heap = heap(2, 8);
    let all: Vec<u8> = (0..=255).collect();
    let blocks: Vec<_> = (0..8).map(|_| heap.alloc(PAGE).expect("room")).collect();
    // They do not overlap, in small pages either.
    let offsets = || [0, 1000, PAGE - 256].into_iter().filter(|offset| offset + 256 <= PAGE);
    for block in &blocks {
        for offset in offsets() {
            heap.write(*block, offset, &all).expect("in bounds");
        }
    }
    let mut back = [0; 256];
    for block in &blocks {
        for offset in offsets() {
            heap.read(*block, offset, &mut back).expect("in bounds");
            assert_eq!(back[..], all[..]);
        }
    }
}

#[test]
fn blocks_are_zero_and_keep_to_themselves() {
    let heap = heap(3, 12);
    let sizes = [1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 3 * PAGE + 7];
    let blocks: Vec<_> = sizes.iter().map(|size| heap.alloc(*size).expect("room")).collect();
    for (block, size) in blocks.iter().zip(sizes) {
        let mut bytes = vec![1; size];
        heap.read(*block, 0, &mut bytes).expect("in bounds");
        assert!(bytes.iter().all(|byte| *byte == 0));
        assert_eq!(heap.size(*block).ok(), Some(size));
        heap.write(*block, 0, &pattern(size as u64, size)).expect("in bounds");
    }
    for (block, size) in blocks.iter().zip(sizes) {
        let mut bytes = vec![0; size];
        heap.read(*block, 0, &mut bytes).expect("in bounds");
        assert_eq!(bytes, pattern(size as u64, size));
        // Parts that begin and end anywhere.
        for (from, to) in [(0, size.min(3)), (size / 3, size), (size - 1, size), (size, size)] {
            let mut part = vec![0; to - from];
            heap.read(*block, from, &mut part).expect("in bounds");
            assert_eq!(part, bytes[from..to]);
        }
    }
    heap.check_invariants();
}

#[test]
fn bounds_are_those_that_were_asked_for() {
    let heap = heap(2, 4);
    let block = heap.alloc(100).expect("room");
    heap.write(block, 90, &[7; 10]).expect("in bounds");
    let wrong =
        [(100, 1), (91, 10), (0, 101), (101, 0), (usize::MAX, 1), (1, usize::MAX / 2), (usize::MAX, 0)];
    for (offset, len) in wrong {
        if len > PAGE {
            continue;
        }
        let mut bytes = vec![5; len];
        for result in [heap.read(block, offset, &mut bytes), heap.write(block, offset, &vec![9; len])] {
            let error = result.expect_err("out of bounds");
            assert!(matches!(error, AccessError::OutOfBounds { size: 100, .. }), "{offset}, {len}: {error}");
            assert!(error.to_string().contains("block of 100"), "{error}");
        }
        assert!(bytes.iter().all(|byte| *byte == 5), "nothing was read");
    }
    let mut bytes = [0; 100];
    heap.read(block, 0, &mut bytes).expect("in bounds");
    assert_eq!((&bytes[..90], &bytes[90..]), (&[0; 90][..], &[7; 10][..]), "nothing else was written");
}

/// Every call refuses every handle that names no block, and nothing happens.
#[test]
fn stale_and_foreign_handles_are_told_apart_and_refused() {
    let (heap, other) = (heap(2, 4), heap(2, 4));
    let (kept, gone) = (heap.alloc(PAGE).expect("room"), heap.alloc(PAGE).expect("room"));
    heap.write(kept, 0, b"kept").expect("in bounds");
    heap.free(gone).expect("it is there");
    let next = heap.alloc(PAGE).expect("room");
    assert_ne!(next, gone, "the same page, another generation");
    heap.write(next, 0, b"next").expect("in bounds");
    let foreign = other.alloc(PAGE).expect("room");
    let made_up = [u64::MAX, 1, 1 << 40, next.to_bits() + (1 << 32), next.to_bits() + 1];
    let stale = (gone, HandleError::Stale(gone));
    let foreign = [foreign].into_iter().chain(made_up.into_iter().filter_map(Handle::from_bits));
    for (handle, error) in
        [stale].into_iter().chain(foreign.map(|handle| (handle, HandleError::Foreign(handle))))
    {
        let refused = |result: Result<(), AccessError>| {
            assert!(matches!(result, Err(AccessError::Handle(got)) if got == error), "{handle:?}");
        };
        refused(heap.read(handle, 0, &mut [0; 4]));
        refused(heap.write(handle, 0, b"lost"));
        refused(heap.size(handle).map(drop));
        assert!(matches!(heap.pin(handle), Err(PinError::Handle(got)) if got == error));
        assert!(matches!(heap.check(handle), Err(PinError::Handle(got)) if got == error));
        assert!(matches!(heap.pin_address(handle), Err(PinError::Handle(got)) if got == error));
        assert_eq!(heap.free(handle), Err(ReleaseError::Handle(error)), "a double free among them");
        assert_eq!(heap.release(handle), Err(ReleaseError::Handle(error)));
    }
    let mut bytes = [0; 4];
    heap.read(kept, 0, &mut bytes).expect("in bounds");
    assert_eq!(&bytes, b"kept");
    heap.read(next, 0, &mut bytes).expect("in bounds");
    assert_eq!(&bytes, b"next");
    heap.check_invariants();
    assert_eq!(heap.blocks(), 2);
}

#[test]
fn no_handle_is_given_out_twice() {
    let heap = heap(2, 3);
    let mut seen = HashSet::new();
    for _ in 0..if cfg!(miri) { 30 } else { 1000 } {
        let handle = heap.alloc(2 * PAGE).expect("room");
        assert!(seen.insert(handle));
        heap.free(handle).expect("it is there");
    }
    for handle in seen {
        assert_eq!(heap.free(handle), Err(ReleaseError::Handle(HandleError::Stale(handle))));
    }
}

/// A page that nobody changed is not written again, even if its address was asked for.
#[test]
fn the_same_bytes_are_written_once() {
    let store = Faulty::new();
    let heap = over(store.clone(), 1, 3);
    let [one, two] = [1_u8, 2].map(|byte| {
        let block = heap.alloc(PAGE).expect("room");
        heap.write(block, 0, &[byte; 64]).expect("in bounds");
        block
    });
    heap.read(one, 0, &mut [0]).expect("a store that works");
    let writes = heap.stats().swap_outs;
    assert_eq!(writes, 2);
    for _ in 0..5 {
        heap.check(two).expect("a frame");
        heap.check(one).expect("a frame");
        heap.read(two, 0, &mut [0]).expect("a store that works");
        heap.write(one, 3, &[1]).expect("the same as before");
    }
    assert_eq!(heap.stats().swap_outs, writes);
    assert_eq!(store.writes.load(std::sync::atomic::Ordering::SeqCst), writes);
    assert!(heap.stats().clean_evictions >= 20, "{:?}", heap.stats());
    heap.write(one, 3, &[9]).expect("another byte");
    heap.read(two, 0, &mut [0]).expect("a store that works");
    assert_eq!(heap.stats().swap_outs, writes + 1);
}

#[test]
fn pages_of_any_size() {
    let sizes: &[usize] = if cfg!(miri) { &[512] } else { &[512, 1024, 65536] };
    for &page_size in sizes {
        let builder = VirtualHeap::builder().page_size(page_size).store(MemoryStore::new());
        let heap =
            builder.physical(2 * page_size).virtual_size(6 * page_size).build().expect("possible sizes");
        let block = heap.alloc(5 * page_size + 1).expect("room");
        let bytes = pattern(4, 5 * page_size + 1);
        heap.write(block, 0, &bytes).expect("in bounds");
        let mut back = vec![0; bytes.len()];
        heap.read(block, 0, &mut back).expect("in bounds");
        assert_eq!(back, bytes);
        heap.check_invariants();
    }
}
