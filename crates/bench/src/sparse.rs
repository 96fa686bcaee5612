//! As many pages far apart as close together: what a fault costs must not depend on it.

use crate::memory::{WORDS, Words};
use crate::numbers::{Random, number};
use serde_json::json;
use std::io::Error;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Pages that are touched: 256 MiB of them.
const PAGES: usize = 1 << 16;
const READS: usize = 20_000;

/// Touches pages spread evenly over `gib` GiB, in random order.
///
/// # Errors
/// The words cannot be mapped.
///
/// # Panics
/// If a word is not what was written.
pub(crate) fn run(gib: usize) -> Result<(), Error> {
    let mut words = Words::map(gib << 10, None)?;
    let stride = words.own().len() / WORDS / PAGES;
    let words = words.shared();
    let mut random = Random::new(gib as u64);
    let mut order: Vec<usize> = (0..PAGES).collect();
    (1..PAGES).rev().for_each(|last| order.swap(last, random.below(last + 1)));
    let at = |page: usize| page * stride * WORDS + 5;

    let start = Instant::now();
    for page in order {
        words[at(page)].store(number(page as u64), Relaxed);
    }
    let written = start.elapsed();
    let start = Instant::now();
    for _ in 0..READS {
        let page = random.below(PAGES);
        assert_eq!(words[at(page)].load(Relaxed), number(page as u64), "page {page}");
    }
    let read = start.elapsed();
    let metadata = std::env::var_os("OUTCORE_STATUS")
        .and_then(|path| sys::status::StatusPage::open(path.as_ref()))
        .and_then(|page| page.find(std::process::id()))
        .map(|record| (record.metadata_bytes.load(Relaxed), record.heap_bytes.load(Relaxed)));
    println!(
        "{}",
        json!({
            "gib": gib,
            "write_ns": written.as_nanos() as u64 / PAGES as u64,
            "read_ns": read.as_nanos() as u64 / READS as u64,
            "metadata_bytes": metadata.map(|(metadata, _)| metadata),
            "touched_bytes": metadata.map(|(_, touched)| touched),
        })
    );
    Ok(())
}
