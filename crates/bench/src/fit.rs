//! Work in memory that fits the budget, which must cost what it costs without Outcore.

use crate::numbers::{Random, number};
use crate::phase::phase;
use std::collections::BTreeMap;

/// Uses up to about `mib` MiB, half for objects and half for arrays.
pub(crate) fn run(mib: usize) {
    let objects = (mib << 20) / 2 / 128;
    phase("objects", 0, objects, || {
        let mut random = Random::new(1);
        for _ in 0..3 {
            let mut map = BTreeMap::new();
            for index in 0..objects as u64 {
                let len = 8 + random.below(64);
                map.insert(number(index), vec![index as u8; len]);
            }
            for index in (0..objects as u64).step_by(2) {
                map.remove(&number(index));
            }
            assert_eq!(map.len(), objects / 2);
        }
    });
    let words = (mib << 20) / 2 / 8;
    phase("arrays", words * 8, words / 512, || {
        for round in 0..4 {
            let mut array: Vec<u64> = (0..words as u64).map(|index| number(index ^ round)).collect();
            let (low, high) = array.split_at_mut(words / 2);
            low.iter_mut().zip(high).for_each(|(low, high)| *low = low.wrapping_mul(*high));
            assert_ne!(array.iter().fold(0, |sum, word| sum ^ word), 1);
        }
    });
}
