//! Fill, scan, rewrite and random touches of incompressible data.

use crate::memory::{WORDS, Words};
use crate::numbers::{Random, number};
use crate::phase::phase;
use clap::Args;
use std::io::Error;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

#[derive(Args)]
pub(crate) struct Options {
    /// MiB of data
    #[arg(long)]
    mib: usize,
    /// Use a shared mapping of this file in place of memory
    #[arg(long)]
    file: Option<PathBuf>,
    /// Random touches of one thread; of eight together four times as many
    #[arg(long, default_value_t = 20_000)]
    touches: usize,
    /// Fill, rewrite and then only the phases whose names begin so
    #[arg(long, default_value = "")]
    only: String,
}

const MANY: usize = 8;
const PLACES: usize = 16;
const BY_TURNS: &str = "read, 16 streams";
const FLIP: u64 = 0x5555_5555_5555_5555;

/// Runs every phase.
///
/// # Errors
/// The words cannot be mapped.
///
/// # Panics
/// If a word is not what was written: then nothing that was measured counts.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let mut words = Words::map(options.mib, options.file.as_deref())?;
    let bytes = options.mib << 20;
    let pages = words.own().len() / WORDS;

    phase("fill", bytes, pages, || {
        for (index, word) in words.own().iter_mut().enumerate() {
            *word = number(index as u64);
        }
    });
    let chosen = |name: &str| name.starts_with(&options.only);
    let mut sum = 0;
    for name in ["read", "read again"].into_iter().filter(|name| chosen(name)) {
        phase(name, bytes, pages, || {
            let found = sum_of(words.own());
            assert!(sum == 0 || sum == found, "two scans read different bytes");
            sum = found;
        });
    }
    let expected = (0..words.own().len() as u64).fold(0u64, |sum, index| sum.wrapping_add(number(index)));
    assert!(sum == 0 || sum == expected, "what was read is not what was written");
    phase("rewrite", bytes, pages, || {
        for word in words.own() {
            *word ^= FLIP;
        }
    });
    let touches = options.touches;
    let shared = words.shared();
    let touch = |name: &str, touches: usize, work: &dyn Fn()| {
        if chosen(name) {
            phase(name, 0, touches, work);
        }
    };
    touch("random read", touches, &|| random_reads(shared, 1, touches));
    touch("random read, 8 threads", 4 * touches, &|| each(|seed| random_reads(shared, seed, touches / 2)));
    touch("random rewrite", touches, &|| {
        let mut random = Random::new(100);
        for _ in 0..touches {
            let index = random.below(pages) * WORDS + 3;
            // Twice flipped is what it was: the next phases need not know.
            let word = shared[index].load(Relaxed);
            let was = word ^ FLIP;
            assert!(was == number(index as u64) || word == number(index as u64), "word {index}");
            shared[index].store(was, Relaxed);
        }
    });
    let hot_touches = 15 * touches;
    if chosen("hot") {
        hot_reads(shared, 200, hot_touches / 2);
    }
    touch("hot", hot_touches, &|| hot_reads(shared, 201, hot_touches));
    touch("hot, 8 threads", 2 * hot_touches, &|| {
        each(|seed| hot_reads(shared, 300 + seed, hot_touches / 4));
    });
    if chosen(BY_TURNS) {
        let mut found = 0;
        phase(BY_TURNS, bytes, pages, || found = sum_by_turns(words.own()));
        assert_eq!(found, sum_of(words.own()), "two scans read different bytes");
    }
    Ok(())
}

fn sum_of(words: &[u64]) -> u64 {
    words.iter().fold(0, |sum, word| sum.wrapping_add(*word))
}

/// The sum of a page of each of [`PLACES`] parts by turns, as a merge reads them.
fn sum_by_turns(words: &[u64]) -> u64 {
    let parts: Vec<&[u64]> = words.chunks((words.len() / WORDS).div_ceil(PLACES) * WORDS).collect();
    let turn = |page: usize| parts.iter().filter_map(move |part| part.chunks(WORDS).nth(page));
    (0..parts[0].len() / WORDS).flat_map(turn).fold(0, |sum, page| sum.wrapping_add(sum_of(page)))
}

fn each(work: impl Fn(u64) + Sync) {
    thread::scope(|scope| {
        for seed in 0..MANY as u64 {
            let work = &work;
            scope.spawn(move || work(seed + 2));
        }
    });
}

fn random_reads(words: &[AtomicU64], seed: u64, touches: usize) {
    let mut random = Random::new(seed);
    for _ in 0..touches {
        check(words, random.below(words.len() / WORDS));
    }
}

/// 95 touches of 100 go to a fifth of the pages.
fn hot_reads(words: &[AtomicU64], seed: u64, touches: usize) {
    let mut random = Random::new(seed);
    let pages = words.len() / WORDS;
    for _ in 0..touches {
        let hot = random.below(100) < 95;
        let page = random.below(if hot { pages / 5 } else { pages });
        // Hot pages lie everywhere.
        check(words, page * 5 % pages);
    }
}

fn check(words: &[AtomicU64], page: usize) {
    let index = page * WORDS;
    assert_eq!(words[index].load(Relaxed), number(index as u64) ^ FLIP, "page {page}");
}
