//! An in-place sort by two threads.

use crate::memory::Words;
use crate::numbers::number;
use crate::phase::phase;
use std::io::Error;
use std::path::Path;
use std::thread;

/// Fills and sorts `mib` MiB of random integers, and checks their order and sum.
///
/// # Errors
/// The words cannot be mapped.
pub(crate) fn run(mib: usize, file: Option<&Path>) -> Result<(), Error> {
    let mut words = Words::map(mib, file)?;
    let words = words.own();
    let mut sum = 0u64;
    for (index, word) in words.iter_mut().enumerate() {
        *word = number(index as u64);
        sum = sum.wrapping_add(*word);
    }
    let bytes = words.len() * 8;
    phase("sort", bytes, bytes / 4096, || {
        let (low, high) = partition(words, 1 << 63);
        thread::scope(|scope| {
            scope.spawn(|| low.sort_unstable());
            high.sort_unstable();
        });
    });
    let mut last = 0;
    for word in words.iter() {
        assert!(*word >= last, "out of order");
        last = *word;
        sum = sum.wrapping_sub(*word);
    }
    assert_eq!(sum, 0, "not the same numbers");
    Ok(())
}

/// Numbers below `pivot` first: Hoare's partition, from both ends.
fn partition(words: &mut [u64], pivot: u64) -> (&mut [u64], &mut [u64]) {
    let (mut from, mut to) = (0, words.len());
    loop {
        while from < to && words[from] < pivot {
            from += 1;
        }
        while from < to && words[to - 1] >= pivot {
            to -= 1;
        }
        if from >= to {
            return words.split_at_mut(from);
        }
        words.swap(from, to - 1);
    }
}
