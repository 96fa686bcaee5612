//! Finding what an address belongs to takes as long in a large heap as in a small one, and
//! brings nothing in.

mod common;

use common::{BUDGET, MIB, Random, heap};
use outcore::{Heap, Place};
use std::time::{Duration, Instant};

type Object = [u64; 8];

/// The median of how long a thousand addresses take, found over and over.
fn time(heap: &Heap, addrs: &[usize]) -> Duration {
    let mut rounds: Vec<Duration> = (0..31)
        .map(|_| {
            let start = Instant::now();
            for addr in addrs {
                assert!(matches!(heap.locate(*addr), Some(Place::Family(_))));
            }
            start.elapsed() / addrs.len() as u32
        })
        .collect();
    rounds.sort();
    rounds[rounds.len() / 2]
}

#[test]
fn an_address_is_found_in_the_same_time_in_any_heap() {
    let heap = heap();
    let family = heap.family::<Object>("object").expect("a family");
    let mut random = Random(5);
    let mut objects = Vec::new();
    let mut times = Vec::new();
    for total in [MIB / 16, 16 * BUDGET] {
        while objects.len() * size_of::<Object>() < total {
            objects.push(family.alloc([1; 8]).expect("pages"));
        }
        // The same number of addresses, so that what is known of them is cached alike.
        let addrs: Vec<usize> = (0..1000)
            .map(|_| objects[random.below(objects.len())].as_ptr().addr() + random.below(64))
            .collect();
        let faults = heap.stats().major_faults;
        times.push(time(&heap, &addrs));
        assert_eq!(heap.stats().major_faults, faults, "locating touched a page");
    }
    println!("{:?} with {} KiB, {:?} with {} MiB", times[0], MIB / 16 / 1024, times[1], 16 * BUDGET / MIB);
    // Two thousand times as many blocks; caches and the lookup's own tables allow for some.
    assert!(times[1] < 4 * times[0] + Duration::from_micros(1), "{times:?}");
}
