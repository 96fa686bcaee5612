#![expect(unsafe_code, reason = "drives an allocator")]
//! Random calls against a model: objects do not overlap, keep their contents, are
//! aligned and as large as they say; what is asked zeroed is zero.

mod common;

use common::{Mapping, heap};
use heap::ThreadCache;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Call {
    Alloc { size: usize, align: usize, zeroed: bool, cached: bool },
    Free { which: usize, cached: bool },
    Realloc { which: usize, size: usize, cached: bool },
    Flush,
    Trim,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0usize..600, 3 => 0usize..40_000, 2 => 30_000usize..400_000, 1 => 0usize..4_000_000]
}

fn call() -> impl Strategy<Value = Call> {
    let align = prop_oneof![3 => Just(16usize), 1 => (4u32..23).prop_map(|bits| 1 << bits)];
    prop_oneof![
        6 => (size(), align, any::<bool>(), any::<bool>())
            .prop_map(|(size, align, zeroed, cached)| Call::Alloc { size, align, zeroed, cached }),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(which, cached)| Call::Free { which, cached }),
        3 => (any::<usize>(), size(), any::<bool>())
            .prop_map(|(which, size, cached)| Call::Realloc { which, size, cached }),
        1 => Just(Call::Flush),
        1 => Just(Call::Trim),
    ]
}

struct Object {
    size: usize,
    seed: u8,
}

/// Every 61st byte, and the last.
fn places(size: usize) -> impl Iterator<Item = usize> {
    (0..size).step_by(61).chain(size.checked_sub(1))
}

fn value(seed: u8, place: usize) -> u8 {
    seed.wrapping_add((place / 61) as u8) | 1
}

fn write(addr: usize, object: &Object, usable: usize) {
    for place in places(usable) {
        // SAFETY: the object is live and has `usable` bytes.
        unsafe { ((addr + place) as *mut u8).write(value(object.seed, place)) };
    }
}

fn check(addr: usize, object: &Object, upto: usize) {
    for place in (0..object.size.min(upto)).step_by(61) {
        // SAFETY: as above.
        let found = unsafe { ((addr + place) as *const u8).read() };
        assert_eq!(found, value(object.seed, place), "byte {place} of {}", object.size);
    }
}

fn run(calls: Vec<Call>) {
    let (heap, source) = heap(Mapping::new(1 << 30));
    let mut cache = ThreadCache::new();
    let mut live: BTreeMap<usize, Object> = BTreeMap::new();
    let mut seed = 0u8;
    for call in calls {
        let pick = |live: &BTreeMap<usize, Object>, which: usize| {
            live.keys().nth(which % live.len().max(1)).copied()
        };
        seed = seed.wrapping_add(37);
        let enter = |live: &mut BTreeMap<usize, Object>, addr: usize, size: usize| {
            let usable = heap.usable_size(addr).expect("an object");
            assert!(usable >= size);
            let before = live.range(..addr).next_back();
            assert!(
                before.is_none_or(|(start, object)| start + object.size <= addr),
                "overlaps the one before"
            );
            assert!(
                live.range(addr..).next().is_none_or(|(next, _)| addr + usable <= *next),
                "overlaps the next"
            );
            // All that is usable is the program's.
            let object = Object { size: usable, seed };
            write(addr, &object, usable);
            live.insert(addr, object);
        };
        match call {
            Call::Alloc { size, align, zeroed, cached } => {
                let cache = cached.then_some(&mut *cache);
                let object = if zeroed {
                    heap.alloc_zeroed(cache, size, align)
                } else {
                    heap.alloc(cache, size, align)
                };
                assert!(!object.is_null() && object.addr().is_multiple_of(align) && heap.owns(object.addr()));
                for place in places(if zeroed { size } else { 0 }) {
                    // SAFETY: within the object.
                    assert_eq!(unsafe { object.add(place).read() }, 0);
                }
                enter(&mut live, object.addr(), size);
            }
            Call::Free { which, cached } => {
                let Some(addr) = pick(&live, which) else { continue };
                let object = live.remove(&addr).expect("picked");
                check(addr, &object, usize::MAX);
                // SAFETY: live, and from here on unused.
                unsafe { heap.free(cached.then_some(&mut *cache), addr as *mut u8) }.expect("freed once");
            }
            Call::Realloc { which, size, cached } => {
                let Some(addr) = pick(&live, which) else { continue };
                let object = live.remove(&addr).expect("picked");
                // SAFETY: as above.
                let moved = unsafe { heap.realloc(cached.then_some(&mut *cache), addr as *mut u8, size) };
                let moved = moved.expect("live").addr();
                assert_ne!(moved, 0);
                check(moved, &object, size);
                enter(&mut live, moved, size);
            }
            Call::Flush => heap.flush(&mut cache).expect("nothing freed twice"),
            Call::Trim => _ = heap.trim(),
        }
        assert!(live.last_key_value().is_none_or(|(addr, object)| addr + object.size <= heap.high_water()));
    }
    for (addr, object) in live {
        check(addr, &object, usize::MAX);
        // SAFETY: as above.
        unsafe { heap.free(None, addr as *mut u8) }.expect("freed once");
    }
    heap.flush(&mut cache).expect("nothing freed twice");
    heap.trim();
    let stats = heap.stats();
    assert_eq!((stats.in_use_bytes, stats.spans, stats.span_bytes, stats.metadata_bytes), (0, 0, 0, 0));
    assert_eq!(source.promised.load(std::sync::atomic::Ordering::Relaxed), 0);
    assert_eq!(heap.high_water(), source.base.load(std::sync::atomic::Ordering::Relaxed));
    // SAFETY: unmaps a heap that is no longer used, to keep the test small.
    unsafe {
        let base = source.base.load(std::sync::atomic::Ordering::Relaxed);
        rustix::mm::munmap(base as *mut _, source.len).expect("munmap");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_the_model(calls in prop::collection::vec(call(), 1..400)) {
        run(calls);
    }
}
