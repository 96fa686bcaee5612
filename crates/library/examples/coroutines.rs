//! Many coroutines with stacks of a megabyte each, in little RAM.
//!
//! ```text
//! cargo run --release -p outcore-library --example coroutines -- --coroutines 100000 --budget 256M
//! ```

#![expect(unsafe_code, reason = "lends stacks to coroutines")]

mod common;

use common::{Peak, arguments, heap, mixed};
use core::num::NonZeroUsize;
use corosensei::stack::{Stack, StackPointer};
use corosensei::{Coroutine, CoroutineResult, Yielder};

/// Bytes that a stack may grow to.
const MAX: usize = 1 << 20;
/// How often each coroutine is resumed before it ends.
const ROUNDS: u64 = 3;

/// A paged stack as `corosensei` wants it.
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

/// Keeps an array on the stack over every pause, and sums up what it is given.
fn work(yielder: &Yielder<u64, u64>, first: u64) -> u64 {
    let mut kept = [first; 64];
    for (place, value) in kept.iter_mut().enumerate() {
        *value = mixed(*value + place as u64);
    }
    let mut sum = 0;
    for round in 0..ROUNDS {
        sum += yielder.suspend(kept[round as usize]);
    }
    assert!(kept.iter().enumerate().all(|(place, value)| *value == mixed(first + place as u64)));
    sum
}

fn main() {
    let [count, budget] = arguments([("coroutines", 10_000), ("budget", 32 << 20)]);
    let heap = heap(budget);
    let mut peak = Peak::default();
    let stacks = heap.stacks(MAX, count as usize).unwrap_or_else(|error| panic!("{error}"));
    let mut coroutines: Vec<Coroutine<u64, u64, u64, Paged>> = (0..count)
        .map(|_| {
            let stack = stacks.stack().unwrap_or_else(|error| panic!("{error}"));
            Coroutine::with_stack(Paged(stack), work)
        })
        .collect();
    for round in 0..=ROUNDS {
        for (number, coroutine) in coroutines.iter_mut().enumerate() {
            let number = number as u64;
            // The first time it is given its number, and then the round's.
            match coroutine.resume(if round == 0 { number } else { number * round }) {
                CoroutineResult::Yield(value) => assert_eq!(value, mixed(number + round)),
                CoroutineResult::Return(sum) => assert_eq!((round, sum), (ROUNDS, number * 6)),
            }
        }
        peak.look(&heap);
    }
    assert!(coroutines.iter().all(Coroutine::done));
    let maps = std::fs::read_to_string("/proc/self/maps").map_or(0, |maps| maps.lines().count());
    peak.report(&heap);
    println!("{count} coroutines with stacks of up to {} MiB have ended, each with its own sum", MAX >> 20);
    println!("mappings: {}", if maps < 500 { "few" } else { "many" });
}
