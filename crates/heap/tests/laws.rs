#![expect(unsafe_code, reason = "drives an allocator")]
//! What the heap promises, one law each.

mod common;

use common::{Mapping, heap};
use heap::{CLASSES, FreeError, LARGEST_SMALL, ThreadCache, class_size, span_len};
use rustix::mm::{MprotectFlags, mprotect};
use std::sync::atomic::Ordering::Relaxed;

const MIB: usize = 1 << 20;

fn resident(addr: usize, len: usize) -> usize {
    let pagemap = std::fs::File::open("/proc/self/pagemap").expect("pagemap");
    let mut entries = vec![0u8; len / 4096 * 8];
    std::os::unix::fs::FileExt::read_exact_at(&pagemap, &mut entries, (addr / 4096 * 8) as u64)
        .expect("pagemap");
    // Bit 63: present; bit 62: swapped.
    entries.iter().skip(7).step_by(8).filter(|byte| **byte & 0xc0 != 0).count()
}

/// Frees and flushes may not read, nor write, what they free: they may not fault.
#[test]
fn freeing_touches_nothing() {
    let (heap, source) = heap(Mapping::new(1 << 30));
    let mut cache = ThreadCache::new();
    let objects: Vec<_> = (0..20_000usize)
        .map(|index| {
            heap.alloc((index % 3 > 0).then_some(&mut *cache), [16, 100, 5000, 70_000][index % 4], 16)
        })
        .collect();
    for object in &objects {
        // SAFETY: live and not empty.
        unsafe { object.write(1) };
    }
    let (base, len) = (source.base.load(Relaxed), source.len);
    // SAFETY: nothing is used after this but by the calls under test.
    unsafe { mprotect(base as *mut _, len, MprotectFlags::empty()) }.expect("mprotect");
    for (index, object) in objects.into_iter().enumerate() {
        assert!(heap.usable_size(object.addr()).is_some());
        // SAFETY: live.
        unsafe { heap.free((index % 2 > 0).then_some(&mut *cache), object) }.expect("freed once");
    }
    heap.flush(&mut cache).expect("flush");
    heap.trim();
    assert_eq!(heap.stats().spans, 0);
}

#[test]
fn everything_freed_is_discarded() {
    let (heap, source) = heap(Mapping::new(1 << 30));
    let mut cache = ThreadCache::new();
    let sizes = [24, 200, 3000, 20_000, 100_000, 3 * MIB];
    let objects: Vec<_> = (0..3000usize)
        .map(|index| {
            let size = sizes[index % if index % 50 == 0 { 6 } else { 5 }];
            let object = heap.alloc(Some(&mut cache), size, 16);
            // SAFETY: live, and has that many bytes.
            unsafe { object.write_bytes(7, size) };
            object
        })
        .collect();
    let (base, top) = (source.base.load(Relaxed), heap.high_water());
    assert!(resident(base, top - base) > 1000);
    for object in objects {
        // SAFETY: live.
        unsafe { heap.free(Some(&mut cache), object) }.expect("freed once");
    }
    heap.flush(&mut cache).expect("flush");
    heap.trim();
    assert_eq!(resident(base, top - base), 0);
    assert_eq!((heap.high_water(), source.promised.load(Relaxed)), (base, 0));
}

/// A span's objects, whatever their class, fill all of it but a thirty-second; and
/// 64-byte objects, not much larger than their metadata might be, cost 1.6 % at most.
#[test]
fn little_is_lost() {
    for class in 0..CLASSES {
        let (heap, _) = heap(Mapping::new(64 * MIB));
        let (size, spans) = (class_size(class), 8);
        let count = span_len(class) / size * spans;
        for _ in 0..count {
            assert!(!heap.alloc(None, size, 16).is_null());
        }
        let stats = heap.stats();
        assert_eq!((stats.spans, stats.in_use_bytes), (spans, size * count), "objects of {size}");
        assert!(stats.in_use_bytes * 32 >= stats.span_bytes * 31, "objects of {size}: {stats:?}");
        if size == 64 {
            assert!(stats.metadata_bytes * 1000 <= stats.span_bytes * 16, "{stats:?}");
        }
    }
}

#[test]
fn wrong_frees_are_told() {
    let (heap, _) = heap(Mapping::new(1 << 30));
    let (small, large) = (heap.alloc(None, 100, 16), heap.alloc(None, MIB, 16));
    // SAFETY: wrong on purpose: the heap looks, and changes nothing.
    unsafe {
        let mut local = 0u8;
        assert_eq!(heap.free(None, &raw mut local), Err(FreeError::Foreign));
        for inside in [small.add(1), small.add(16), large.add(16), large.add(70_000), large.add(64 * MIB)] {
            assert_eq!(heap.free(None, inside), Err(FreeError::NotAnObject));
            assert_eq!(heap.realloc(None, inside, 10), Err(FreeError::NotAnObject));
            assert_eq!(heap.usable_size(inside.addr()), None);
        }
        let again = |object: *mut u8| Err(FreeError::AlreadyFree(object.addr()));
        assert_eq!(heap.free(None, small.add(112)), again(small.add(112)));
        assert_eq!((heap.free(None, small), heap.free(None, small)), (Ok(()), again(small)));
        assert_eq!(heap.realloc(None, small, 10), Err(FreeError::AlreadyFree(small.addr())));
        assert_eq!((heap.free(None, large), heap.free(None, large)), (Ok(()), Err(FreeError::NotAnObject)));
        let mut cache = ThreadCache::new();
        let objects = [0; 100].map(|_| heap.alloc(Some(&mut cache), 100, 16));
        for (index, object) in objects.iter().enumerate() {
            assert_eq!(heap.free(Some(&mut cache), *object), Ok(()));
            // Of the last two the cache knows; of the others where it looks when it is full.
            for freed in &objects[index.saturating_sub(1)..=index] {
                assert_eq!(heap.free(Some(&mut cache), *freed), again(*freed));
            }
        }
        let late = heap.free(Some(&mut cache), objects[90]).and_then(|()| heap.flush(&mut cache));
        assert_eq!(late, again(objects[90]), "found at the latest when all go back");
    }
}

/// A double free that other frees lie between: found before the memory is twice anybody's.
#[test]
fn a_second_free_is_found_when_the_bin_is_full() {
    let (heap, _) = heap(Mapping::new(1 << 30));
    let mut cache = ThreadCache::new();
    let objects: Vec<*mut u8> = (0..1000).map(|_| heap.alloc(Some(&mut cache), 48, 16)).collect();
    let twice = objects[0];
    // SAFETY: wrong on purpose; nothing uses the objects.
    let found = objects
        .iter()
        .chain(&[twice; 1])
        .chain(&objects[500..])
        .find_map(|object| unsafe { heap.free(Some(&mut cache), *object).err() });
    assert_eq!(found, Some(FreeError::AlreadyFree(twice.addr())));
}

#[test]
fn an_array_that_grows_moves_seldom() {
    let (heap, _) = heap(Mapping::new(1 << 36));
    let mut object = heap.alloc(None, 16, 16);
    let mut moves = 0;
    let mut others = Vec::new();
    for size in (1..64 * MIB).step_by(40_000) {
        // Keeps it from growing into units that happen to be free.
        others.push(heap.alloc(None, 40_000, 16));
        // SAFETY: live.
        let moved = unsafe { heap.realloc(None, object, size) }.expect("live");
        moves += usize::from(moved != object);
        object = moved;
    }
    assert!(moves <= 8, "{moves} moves");
    assert!(heap.usable_size(object.addr()).is_some_and(|size| size < 64 * MIB + 4096));
    // SAFETY: live.
    let same = unsafe { heap.realloc(None, object, LARGEST_SMALL + 1) };
    assert_eq!((same, heap.usable_size(object.addr())), (Ok(object), Some(LARGEST_SMALL + 4096)));
}

#[test]
fn a_refused_promise_is_null_and_changes_nothing() {
    let (heap, source) = heap(Mapping::new(1 << 30));
    let kept = heap.alloc(None, MIB, 16);
    let small = heap.alloc(None, 64, 16);
    source.most.store(source.promised.load(Relaxed), Relaxed);
    let before = heap.stats();
    assert!(heap.alloc(None, MIB, 16).is_null() && heap.alloc_zeroed(None, 5000, 16).is_null());
    // SAFETY: live.
    let grown = unsafe { heap.realloc(None, kept, 2 * MIB) };
    assert_eq!((grown, heap.stats()), (Ok(std::ptr::null_mut()), before));
    assert!(!heap.alloc(None, 64, 16).is_null(), "a span that is there is still used");
    source.most.store(usize::MAX, Relaxed);
    for size in [usize::MAX, isize::MAX as usize, isize::MAX as usize + 1, 2 << 30] {
        assert!(heap.alloc(None, size, 16).is_null());
        // SAFETY: live, and stays so.
        assert_eq!(unsafe { heap.realloc(None, small, size) }, Ok(std::ptr::null_mut()));
    }
    assert!(heap.alloc(None, 16, 1 << 62).is_null());
}

#[test]
fn a_buffer_that_was_just_freed_is_reused_with_its_pages() {
    let (heap, _source) = heap(Mapping::new(1 << 30));
    let buffer = heap.alloc(None, MIB, 16);
    // SAFETY: live, and has that many bytes; then no longer used.
    unsafe {
        buffer.write_bytes(1, MIB);
        heap.free(None, buffer).expect("freed once");
    }
    assert_eq!(heap.alloc(None, MIB - 5000, 16), buffer);
    assert_eq!(resident(buffer.addr(), MIB), MIB / 4096);
    // SAFETY: live.
    unsafe { heap.free(None, buffer) }.expect("freed once");
    let zero = heap.alloc_zeroed(None, MIB, 16);
    assert_ne!(zero, buffer, "a new one costs no clearing");
    // SAFETY: live.
    unsafe { heap.free(None, zero) }.expect("freed once");
    assert_eq!(heap.stats().kept_bytes, 2 * MIB);
    assert!(heap.trim() && !heap.trim());
    assert_eq!((heap.stats().kept_bytes, resident(buffer.addr(), 2 * MIB)), (0, 0));
}

/// What is kept is not in the way of what needs a place.
#[test]
fn kept_units_are_given_back_when_there_is_no_other_room() {
    let (heap, _) = heap(Mapping::new(64 * MIB));
    let blocks: Vec<*mut u8> =
        std::iter::from_fn(|| Some(heap.alloc(None, MIB, 16)).filter(|block| !block.is_null())).collect();
    assert_eq!(blocks.len(), 64);
    for block in &blocks[10..12] {
        // SAFETY: live.
        unsafe { heap.free(None, *block) }.expect("freed once");
    }
    let zero = heap.alloc_zeroed(None, 2 * MIB, 16);
    assert_eq!(zero, blocks[10]);
}

/// An object that grows where it is may take units that others have used; when it
/// shrinks, what it gives back reads as zeros all the same.
#[test]
fn what_is_given_back_reads_as_zeros() {
    let (heap, source) = heap(Mapping::new(64 * MIB));
    for round in 0..50 {
        let len = 70_000 + round * 10_007;
        let (object, next) = (heap.alloc(None, len, 16), heap.alloc(None, MIB, 16));
        // SAFETY: live, and as long.
        unsafe {
            object.write_bytes(1, len);
            next.write_bytes(2, MIB);
            heap.free(None, next).expect("freed once");
            let grown = heap.realloc(None, object, len + 300_000).expect("live");
            grown.write_bytes(3, len + 300_000);
            let shrunk = heap.realloc(None, grown, 40_000).expect("live");
            shrunk.write_bytes(4, 40_000);
            heap.free(None, shrunk).expect("freed once");
        }
        let zero = heap.alloc_zeroed(None, 4 * MIB, 16);
        // SAFETY: live, and as long.
        let bytes = unsafe { std::slice::from_raw_parts(zero, 4 * MIB) };
        assert!(bytes.iter().all(|byte| *byte == 0), "round {round}");
        // SAFETY: live.
        unsafe { heap.free(None, zero) }.expect("freed once");
    }
    heap.trim();
    assert_eq!(heap.high_water(), source.base.load(Relaxed));
}

/// All sizes, in random order, and nothing but 8 MiB is left, in the heap's pages and
/// its metadata, though threads keep objects.
#[test]
fn what_is_freed_is_given_back() {
    let (heap, source) = heap(Mapping::new(1 << 30));
    let mut cache = ThreadCache::new();
    let mut random = 1u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize
    };
    let mut objects: Vec<(*mut u8, usize)> = Vec::new();
    let mut bytes = 0;
    while bytes < 200 * MIB {
        let base = 8 << (next() % 16);
        let size = base + next() % base;
        let object = heap.alloc(Some(&mut cache), size, 16);
        // SAFETY: live, and as long.
        unsafe { object.write_bytes(1, size) };
        objects.push((object, size));
        bytes += size;
    }
    for index in (1..objects.len()).rev() {
        objects.swap(index, next() % (index + 1));
    }
    let (base, top) = (source.base.load(Relaxed), heap.high_water());
    assert!(resident(base, top - base) >= 200 * MIB / 4096);
    for (object, _) in &objects {
        // SAFETY: live.
        unsafe { heap.free(Some(&mut cache), *object) }.expect("freed once");
    }
    let left = resident(base, top - base) * 4096;
    assert!(
        left <= 7 * MIB,
        "{left} bytes are left, {} of them kept for reuse: {:?}",
        heap.stats().kept_bytes,
        heap.stats()
    );
    assert!(heap.stats().metadata_bytes + size_of::<ThreadCache>() <= MIB, "{:?}", heap.stats());
    heap.flush(&mut cache).expect("nothing freed twice");
}

/// What is freed and asked for again in turn keeps its pages, though nearly nothing is in use in
/// between; after that, freeing everything gives everything back as it does otherwise.
#[test]
fn what_is_turned_over_keeps_its_pages() {
    const WAVE: usize = 8 * MIB;
    let (heap, source) = heap(Mapping::new(1 << 30));
    let wave = |bytes: usize| -> Vec<*mut u8> {
        let block = || {
            let block = heap.alloc(None, 300_000, 16);
            // SAFETY: live, and as long.
            unsafe { block.write_bytes(1, 300_000) };
            block
        };
        (0..bytes / 300_000).map(|_| block()).collect()
    };
    let free = |blocks: Vec<*mut u8>| {
        // SAFETY: live, each once.
        blocks.into_iter().for_each(|block| unsafe { heap.free(None, block) }.expect("freed once"));
    };
    let left = || {
        let base = source.base.load(Relaxed);
        resident(base, heap.high_water() - base) * 4096
    };
    free(wave(WAVE));
    assert!(left() <= 6 * MIB, "{} bytes are left of what was used once", left());
    (0..4).for_each(|_| free(wave(WAVE)));
    let before = source.discards.load(Relaxed);
    (0..20).for_each(|_| free(wave(WAVE)));
    assert_eq!(source.discards.load(Relaxed), before, "discarded what was asked for again at once");
    assert!(left() >= WAVE * 9 / 10);
    free(wave(64 * MIB));
    assert!(left() <= 6 * MIB, "{} bytes are left of what was freed at last", left());
}

/// A page says that it is unused exactly when no object lies in it.
#[test]
fn unused_pages_are_those_without_objects() {
    let (heap, source) = heap(Mapping::new(1 << 30));
    let mut cache = ThreadCache::new();
    let sizes = [16, 48, 200, 1500, 5000, 20_000, 40_000, 300_000];
    let mut live: std::collections::BTreeMap<usize, usize> = Default::default();
    let mut random = 7u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize
    };
    for round in 0..40 {
        for _ in 0..300 {
            let size = sizes[next() % sizes.len()];
            let object = heap.alloc(Some(&mut cache), size, 16);
            live.insert(object.addr(), heap.usable_size(object.addr()).expect("live"));
        }
        let victims: Vec<usize> = live.keys().copied().filter(|_| next() % 100 < 90 + round % 10).collect();
        for addr in victims {
            live.remove(&addr);
            // SAFETY: live.
            unsafe { heap.free(Some(&mut cache), addr as *mut u8) }.expect("freed once");
        }
        heap.flush(&mut cache).expect("nothing freed twice");
        let mut used = std::collections::BTreeSet::new();
        for (addr, size) in &live {
            used.extend(addr / 4096..=(addr + size - 1) / 4096);
        }
        let base = source.base.load(Relaxed);
        for page in (base..heap.high_water() + MIB).step_by(4096) {
            // The first unit of a large object may say that it is used where it is not.
            let unused = heap.is_unused(page);
            assert!(!(unused && used.contains(&(page / 4096))), "a page with objects");
            let beside_large = live.range(..=page).next_back().is_some_and(|(addr, size)| {
                *size > LARGEST_SMALL && page < (addr + size).next_multiple_of(64 << 10)
            });
            assert!(unused || beside_large || used.contains(&(page / 4096)), "a page without objects");
        }
        assert!(!heap.is_unused(base - 4096) && !heap.is_unused(0));
    }
}

#[test]
fn what_cannot_be_made_usable_is_null_and_given_back() {
    let (heap, source) = heap(Mapping::new(1 << 30));
    let first = heap.alloc(None, MIB, 16);
    source.usable.store(8 * MIB, Relaxed);
    let held: Vec<*mut u8> =
        std::iter::from_fn(|| Some(heap.alloc(None, MIB, 16)).filter(|block| !block.is_null())).collect();
    assert!((5..8).contains(&held.len()), "{} blocks", held.len());
    let promised = source.promised.load(Relaxed);
    // SAFETY: live.
    let grown = unsafe { heap.realloc(None, held[held.len() - 1], 4 * MIB) };
    assert_eq!((grown, source.promised.load(Relaxed)), (Ok(std::ptr::null_mut()), promised));
    source.usable.store(0, Relaxed);
    assert!(!heap.alloc(None, 16 * MIB, 16).is_null());
    // SAFETY: live, each once.
    held.into_iter().chain([first]).for_each(|block| unsafe { heap.free(None, block) }.expect("freed once"));
}
