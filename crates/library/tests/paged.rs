#![expect(unsafe_code, reason = "allocates as collections do")]
//! Heaps in paged memory, on the real kernel.

mod common;

use allocator_api2::alloc::Allocator as _;
use allocator_api2::boxed::Box as PagedBox;
use allocator_api2::vec::Vec as PagedVec;
use common::{BUDGET, MIB, PAGE, Random, builder, heap, word};
use hashbrown::HashMap;
use outcore::{BuildError, Commit, Fallbacks, Heap, OpenError, Place, StorePlace};
use std::alloc::Layout;
use std::thread;

/// Fills `times` the budget, reads it in order and at random from `threads` threads, while
/// one of eight words changes, and compares every byte in the end.
fn every_byte(heap: &Heap, times: usize, threads: usize, salt: u64) {
    let words = times * BUDGET / 8;
    let mut data = PagedVec::with_capacity_in(words, heap.clone());
    data.extend((0..words).map(|index| word(salt, index)));
    let part = words.div_ceil(threads);
    thread::scope(|scope| {
        for (number, part_of) in data.chunks_mut(part).enumerate() {
            scope.spawn(move || {
                let base = number * part;
                for (index, found) in part_of.iter().enumerate() {
                    assert_eq!(*found, word(salt, base + index), "in order, word {}", base + index);
                }
                let mut random = Random(salt + number as u64 + 1);
                for _ in 0..4000 / threads {
                    let index = random.below(part_of.len());
                    let before = word(salt, base + index);
                    assert!(part_of[index] == before || part_of[index] == !before, "word {}", base + index);
                    part_of[index] = !before;
                }
            });
        }
    });
    let changed = data.iter().enumerate().filter(|(index, found)| {
        let before = word(salt, *index);
        assert!(**found == before || **found == !before, "in the end, word {index}");
        **found != before
    });
    let changed = changed.count();
    assert!((3000..=4000).contains(&changed), "{changed} changed");
}

/// At least what the budget does not hold has been written to the store.
fn assert_paged(heap: &Heap, touched: usize) {
    let stats = heap.stats();
    let over = touched.saturating_sub(BUDGET) / PAGE;
    assert!(stats.swap_outs >= over as u64, "{} of {over} pages went out", stats.swap_outs);
    assert!(
        stats.resident_bytes + stats.parked_bytes + stats.metadata_bytes <= BUDGET as u64,
        "{stats}: over the budget"
    );
}

#[test]
fn every_byte_is_right_at_one_to_sixteen_times_the_budget() {
    for times in [1, 2, 4, 8, 16] {
        let heap = heap();
        every_byte(&heap, times, 1, times as u64);
        assert_paged(&heap, times * BUDGET);
    }
}

#[test]
fn every_byte_is_right_from_eight_threads() {
    for times in [1, 4, 16] {
        let heap = heap();
        every_byte(&heap, times, 8, 100 + times as u64);
        assert_paged(&heap, times * BUDGET);
    }
}

#[test]
fn two_heaps_at_once_do_not_meet() {
    let heaps = [heap(), heap()];
    thread::scope(|scope| {
        for (number, heap) in heaps.iter().enumerate() {
            scope.spawn(move || every_byte(heap, 4, 2, 1000 + number as u64));
        }
    });
    heaps.iter().for_each(|heap| assert_paged(heap, 4 * BUDGET));
    let [first, second] = &heaps;
    let object = PagedBox::new_in(7u8, first.clone());
    let addr = (&raw const *object).addr();
    assert!(matches!(first.locate(addr), Some(Place::Object { usable: Some(16) })));
    assert_eq!(second.locate(addr), None);
}

#[test]
fn every_way_to_page_gives_the_same_bytes() {
    let ways = [
        Fallbacks { copy: true, ..Fallbacks::default() },
        Fallbacks { threads: true, ..Fallbacks::default() },
        Fallbacks { user_mode: true, ..Fallbacks::default() },
    ];
    for way in ways {
        let heap = builder().fallbacks(way).build().unwrap_or_else(|error| panic!("{way:?}: {error}"));
        every_byte(&heap, 4, 2, 77);
        assert_eq!(heap.stats().serves_system_calls, !way.user_mode, "{way:?}");
    }
    let heap = builder().store(StorePlace::Memory).readahead(false).build().expect("a heap");
    every_byte(&heap, 4, 2, 78);
    assert_eq!(heap.stats().readahead_pages, 0);
}

#[test]
fn maps_and_boxes_live_in_it() {
    let heap = heap();
    let mut map: HashMap<u64, PagedBox<[u64; 32], Heap>, _, Heap> = HashMap::new_in(heap.clone());
    for key in 0..100_000u64 {
        map.insert(key, PagedBox::new_in([word(5, key as usize); 32], heap.clone()));
    }
    for key in (0..100_000).step_by(3) {
        assert_eq!(map.remove(&key).map(|found| found[31]), Some(word(5, key as usize)));
    }
    assert_eq!(map.len(), 66_666);
    for (key, found) in &map {
        assert!(found.iter().all(|found| *found == word(5, *key as usize)), "key {key}");
    }
    assert_paged(&heap, 100_000 * 256);
}

#[test]
fn families_live_in_it_and_are_freed_without_being_touched() {
    struct Node {
        number: usize,
        bytes: [u8; 500],
    }
    let heap = heap();
    let nodes = heap.family::<Node>("node").expect("a family");
    let count = 4 * BUDGET / size_of::<Node>();
    let mut handles = Vec::new();
    for number in 0..count {
        handles.push(nodes.alloc(Node { number, bytes: [number as u8; 500] }).expect("pages"));
    }
    assert!(handles.iter().enumerate().all(|(n, node)| node.number == n && node.bytes == [n as u8; 500]));
    assert_paged(&heap, count * size_of::<Node>());
    let found = heap.locate(handles[count / 2].as_ptr().addr() + 100);
    let Some(Place::Family(found)) = found else { panic!("{found:?}") };
    assert_eq!((found.family, found.data), (nodes.id(), handles[count / 2].as_ptr().addr()));
    let before = heap.stats();
    // What has no drop glue is freed as it is.
    let mut random = Random(3);
    while !handles.is_empty() {
        handles.swap_remove(random.below(handles.len()));
    }
    let after = heap.stats();
    assert_eq!(after.major_faults, before.major_faults);
    assert_eq!(heap.families().stats(nodes.id()).map(|stats| (stats.blocks, stats.pages)), Some((0, 0)));
    heap.families().trim();
    assert_eq!(heap.stats().swapped_bytes, 0);
    heap.families().check().expect("the laws hold");
}

#[test]
fn zeroed_memory_is_zero_and_what_is_freed_comes_back() {
    let heap = heap();
    for round in 0..4 {
        let mut data: PagedVec<u8, Heap> = PagedVec::new_in(heap.clone());
        data.resize(3 * BUDGET, round);
        drop(data);
        let layout = Layout::array::<u8>(2 * BUDGET).expect("a layout");
        let zeroed = heap.allocate_zeroed(layout).expect("memory");
        // SAFETY: just allocated, as bytes; freed once.
        unsafe {
            assert!(zeroed.as_ref().iter().all(|byte| *byte == 0));
            heap.deallocate(zeroed.cast(), layout);
        }
    }
    // A few freed objects are kept at hand.
    let stats = heap.stats();
    assert!(stats.resident_bytes + stats.parked_bytes + stats.swapped_bytes <= BUDGET as u64, "{stats}");
}

#[test]
fn what_is_free_is_not_written() {
    let heap = heap();
    let objects = |byte: u8| -> Vec<PagedBox<[u8; 1024], Heap>> {
        (0..BUDGET * 3 / 4 / 1024).map(|_| PagedBox::new_in([byte; 1024], heap.clone())).collect()
    };
    let mut kept = objects(1);
    // Three of four pages have nothing in them.
    kept = kept.into_iter().enumerate().filter(|(n, _)| n % 16 < 4).map(|(_, object)| object).collect();
    let more: PagedVec<u8, Heap> = {
        let mut more = PagedVec::new_in(heap.clone());
        more.resize(BUDGET, 2);
        more
    };
    assert!(kept.iter().all(|object| **object == [1; 1024]) && more.iter().all(|byte| *byte == 2));
    let stats = heap.stats();
    assert!(stats.zero_evictions > (BUDGET / 4 / PAGE) as u64, "{stats:?}");
    assert!(stats.swap_outs < (BUDGET * 6 / 4 / PAGE) as u64, "{stats:?}");
    drop(kept);
    let again = objects(3);
    assert!(again.iter().all(|object| **object == [3; 1024]));
}

/// Nine of ten blocks of families are free, in pages of their own; these are dropped, and
/// blocks that get them again are as new.
#[test]
fn what_is_free_in_families_is_not_written() {
    const LONG: usize = 15 * PAGE;
    let heap = heap();
    let bytes = heap.families().bytes();
    let long = || heap.families().calloc(bytes, LONG).expect("pages");
    let blocks: Vec<_> = (0..17).map(|_| long()).collect();
    for block in &blocks {
        // SAFETY: live, and as long.
        unsafe { block.as_ptr().write_bytes(7, LONG) };
    }
    for block in &blocks {
        // SAFETY: used by nobody.
        unsafe { heap.families().free(block.as_ptr()) }.expect("used");
    }
    let kept = heap.families().cached_pages();
    assert!(kept >= 100, "{kept} pages are kept");
    let mut more: PagedVec<u8, Heap> = PagedVec::new_in(heap.clone());
    more.resize(BUDGET + MIB, 2);
    let stats = heap.stats();
    assert!(stats.zero_evictions >= kept as u64 / 2, "of {kept} pages: {stats:?}");
    for _ in 0..17 {
        // SAFETY: live, and as long.
        let block = unsafe { std::slice::from_raw_parts(long().as_ptr(), LONG) };
        assert!(block.iter().all(|byte| *byte == 0));
    }
    assert!(more.iter().all(|byte| *byte == 2));
    heap.families().check().expect("the laws hold");
}

#[test]
fn what_grows_elsewhere_takes_its_pages_along() {
    let heap = heap();
    let words = 4 * BUDGET / 8;
    let mut data: PagedVec<u64, Heap> = PagedVec::with_capacity_in(words, heap.clone());
    data.extend((0..words).map(|index| word(4, index)));
    let neighbour = PagedBox::new_in([0u8; 1 << 17], heap.clone());
    let (before, start) = (heap.stats(), data.as_ptr());
    data.reserve_exact(words);
    let after = heap.stats();
    assert_ne!(data.as_ptr(), start);
    let read = after.swap_ins - before.swap_ins;
    assert!(read < 100, "{read} pages were read to be copied");
    assert!(data.iter().enumerate().all(|(index, found)| *found == word(4, index)));
    data.extend((words..2 * words).map(|index| word(4, index)));
    assert!(data.iter().enumerate().all(|(index, found)| *found == word(4, index)));
    assert_eq!(*neighbour, [0; 1 << 17]);
}

#[test]
fn vectors_grow_and_shrink_with_their_bytes() {
    let heap = heap();
    let mut data: PagedVec<u64, Heap> = PagedVec::new_in(heap.clone());
    for index in 0..2 * BUDGET / 8 {
        data.push(word(9, index));
    }
    data.truncate(1000);
    data.shrink_to_fit();
    assert!(data.iter().enumerate().all(|(index, found)| *found == word(9, index)));
    #[repr(align(4096))]
    struct Aligned([u8; 4096]);
    let aligned = PagedBox::new_in(Aligned([3; 4096]), heap.clone());
    assert!((&raw const *aligned).addr().is_multiple_of(4096) && aligned.0 == [3; 4096]);
    let mut aligned: PagedVec<Aligned, Heap> = PagedVec::new_in(heap.clone());
    for number in 0..50u8 {
        aligned.push(Aligned([number; 4096]));
    }
    assert!(aligned.iter().zip(0..).all(|(found, number)| found.0 == [number; 4096]));
    let none: PagedBox<[u64; 0], Heap> = PagedBox::new_in([], heap);
    assert!(none.is_empty());
}

#[test]
fn strict_commit_refuses_what_the_store_cannot_hold() {
    let heap = builder().store_size(16 * MIB as u64).commit(Commit::Strict).build().expect("a heap");
    let mut kept: Vec<PagedVec<u64, Heap>> = Vec::new();
    let refused = loop {
        let mut data: PagedVec<u64, Heap> = PagedVec::new_in(heap.clone());
        if data.try_reserve_exact(MIB / 8).is_err() {
            break kept.len();
        }
        data.extend((0..MIB / 8).map(|index| word(kept.len() as u64, index)));
        kept.push(data);
        assert!(kept.len() < 100, "nothing is refused");
    };
    assert_eq!(refused, 16);
    for (salt, data) in kept.iter().enumerate() {
        assert!(data.iter().enumerate().all(|(index, found)| *found == word(salt as u64, index)));
    }
    // What is freed can be promised again.
    kept.truncate(8);
    let mut again: PagedVec<u64, Heap> = PagedVec::new_in(heap.clone());
    again.try_reserve_exact(6 * MIB / 8).expect("room");
    assert_eq!(heap.message(), None);
}

#[test]
fn bad_settings_are_told() {
    let error = |built: Result<Heap, BuildError>| built.map(|_| ()).expect_err("refused").to_string();
    assert_eq!(
        error(Heap::builder().build()),
        "no budget was given: say how many bytes of RAM the heap may take"
    );
    assert_eq!(
        error(Heap::builder().budget(1 << 20).build()),
        "a budget of 1048576 bytes is too small: give at least 4194304 bytes"
    );
    assert!(matches!(
        Heap::builder().budget(1 << 40).build(),
        Err(BuildError::Open(OpenError::LargeBudget { .. }))
    ));
    assert_eq!(
        error(builder().store_in("/nowhere/at/all").build()),
        "the store directory /nowhere/at/all does not exist; create it or choose another"
    );
    assert!(error(builder().store_in("/dev/shm").build()).contains("is in memory (tmpfs)"));
    assert!(error(builder().faults("often").build()).starts_with("the plan of failures: "));
}
