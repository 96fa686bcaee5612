//! Parts of a fault, without the kernel.

use crate::numbers::Random;
use pager::{Commit, Config, Fault, PageNo, PageRange, Pager, Rights};
use std::hint::black_box;
use std::io::Error;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;
use store::Digester;

const PAGE: usize = 4096;
/// Calls that are timed together where one is shorter than the clock's tick.
const BATCH: usize = 64;
/// How often.
const BATCHES: usize = 1000;

/// Measures each, and tells its name and how many nanoseconds it took.
///
/// # Errors
/// The kernel gives no random numbers.
pub fn measure(tell: &mut dyn FnMut(&str, Vec<u64>)) -> Result<(), Error> {
    let page = vec![7u8; 2 * PAGE];
    let aligned = (page.as_ptr() as usize).next_multiple_of(PAGE);
    let digester = Digester::random().map_err(Error::from)?;
    let digests = batches(|_| {
        black_box(digest(&digester, aligned));
    });
    tell("digest of a page", digests);
    let config = Config { frames: 1 << 16, slots: 1 << 16, commit: Commit::Lazy, readahead: true };
    let mut pager = Pager::new(config);
    let area = PageRange { start: PageNo(1 << 20), count: 1 << 18 };
    pager.add_area(area, Rights::ReadWrite);
    let mut random = Random::new(2);
    let decisions = batches(|_| {
        let page = area.start.plus(random.below(area.count as usize) as u64);
        if let Fault::Zero(range) = pager.fault(page) {
            range.pages().for_each(|page| pager.vanished(page));
        }
    });
    tell("decision about a zero fill", decisions);
    let counter = AtomicU64::new(0);
    tell("counter update", batches(|round| counter.store(round as u64, Relaxed)));
    Ok(())
}

#[expect(unsafe_code, reason = "the digest takes an address")]
fn digest(digester: &Digester, addr: usize) -> u128 {
    // SAFETY: a page of the caller's vector, which nobody writes.
    unsafe { digester.of_page(addr, PAGE) }.0
}

/// Nanoseconds a call, batch by batch.
pub(super) fn batches(mut call: impl FnMut(usize)) -> Vec<u64> {
    let mut samples = Vec::with_capacity(BATCHES);
    for batch in 0..BATCHES {
        let start = Instant::now();
        (0..BATCH).for_each(|index| call(batch * BATCH + index));
        samples.push(start.elapsed().as_nanos() as u64 / BATCH as u64);
    }
    samples
}
