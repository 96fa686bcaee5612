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
    let add = |sum: u64, words: &[u64]| words.iter().fold(sum, |sum, word| sum.wrapping_add(*word));
    let reads = [("read", 1), ("read again", 1), ("read, 16 streams", 16)];
    for (name, streams) in reads.into_iter().filter(|(name, _)| chosen(name)) {
        phase(name, bytes, pages, || {
            let parts: Vec<&[u64]> = words.own().chunks(pages.div_ceil(streams) * WORDS).collect();
            let of_page = |page: usize| parts.iter().filter_map(move |part| part.chunks(WORDS).nth(page));
            // A page of each part by turns, as a merge takes them.
            let found = (0..parts[0].len() / WORDS).flat_map(of_page).fold(0, add);
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
    let phase = |name: &str, touches: usize, work: &dyn Fn()| {
        if chosen(name) {
            phase(name, 0, touches, work);
        }
    };
    phase("random read", touches, &|| random_reads(shared, 1, touches));
    phase("random read, 8 threads", 4 * touches, &|| each(|seed| random_reads(shared, seed, touches / 2)));
    phase("random rewrite", touches, &|| {
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
    phase("hot", hot_touches, &|| hot_reads(shared, 201, hot_touches));
    phase("hot, 8 threads", 2 * hot_touches, &|| {
        each(|seed| hot_reads(shared, 300 + seed, hot_touches / 4));
    });
    Ok(())
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
