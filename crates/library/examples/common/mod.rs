//! What the examples share: arguments, numbers that look random, and what is said at the
//! end.

#![allow(dead_code, reason = "each example uses some of it")]

use outcore::{Heap, Stats};
use std::process::exit;

/// Bytes of a page.
pub(crate) const PAGE: u64 = 4096;

/// The values of `--name NUMBER` options, in the order of `known`; a number may end in K, M
/// or G. What is not understood ends the example with exit status 2.
pub(crate) fn arguments<const N: usize>(known: [(&str, u64); N]) -> [u64; N] {
    let mut values = known.map(|(_, default)| default);
    let mut given = std::env::args().skip(1);
    while let Some(option) = given.next() {
        let place = known.iter().position(|(name, _)| option.strip_prefix("--") == Some(name));
        let value = given.next().and_then(|text| number(&text));
        match (place, value) {
            (Some(place), Some(value)) => values[place] = value,
            (Some(_), None) => refuse(&format!("{option} needs a number, such as 64M")),
            (None, _) => {
                let names: Vec<String> =
                    known.iter().map(|(name, default)| format!("--{name} {default}")).collect();
                refuse(&format!("{option} is not known; known are {}", names.join(", ")));
            }
        }
    }
    values
}

fn number(text: &str) -> Option<u64> {
    let shift = match text.chars().last()? {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        _ => 0,
    };
    let digits = if shift > 0 { &text[..text.len() - 1] } else { text };
    digits.parse::<u64>().ok()?.checked_shl(shift).filter(|number| *number > 0)
}

fn refuse(message: &str) -> ! {
    eprintln!("outcore: {message}");
    exit(2);
}

/// A heap with this budget.
pub(crate) fn heap(budget: u64) -> Heap {
    Heap::builder().budget(budget).build().unwrap_or_else(|error| refuse(&error.to_string()))
}

/// Numbers that look random and are the same in every run (SplitMix64, Steele 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// Below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }
}

/// A number that is spread over all 64 bits.
pub(crate) fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// How much the heap holds at the most, looked at after each step.
#[derive(Default)]
pub(crate) struct Peak {
    pages: u64,
}

impl Peak {
    pub(crate) fn look(&mut self, heap: &Heap) -> Stats {
        let stats = heap.stats();
        let bytes = stats.resident_bytes + stats.parked_bytes + stats.swapped_bytes;
        self.pages = self.pages.max(bytes / PAGE);
        stats
    }

    /// Says what went to the store and came back.
    pub(crate) fn report(&mut self, heap: &Heap) {
        let stats = self.look(heap);
        println!(
            "pages: {} held, {} in the budget, {} written, {} read",
            self.pages,
            stats.budget_bytes / PAGE,
            stats.swap_outs,
            stats.swap_ins
        );
    }
}
