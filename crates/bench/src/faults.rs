//! What one fault costs, kind by kind, and the parts of it that can be had alone.

use crate::memory::{WORDS, Words};
use crate::numbers::Random;
use pager::{Commit, Config, Fault, PageNo, PageRange, Pager, Rights};
use serde_json::json;
use std::hint::black_box;
use std::io::Error;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};
use store::Digester;
use sys::status::{Record, StatusPage};

const PAGE: usize = 4096;
/// Touches of one kind.
const TOUCHES: usize = 20_000;
/// Calls that are timed together where one is shorter than the clock's tick.
const BATCH: usize = 64;

/// Measures in a process whose `mib` MiB exceed its budget, so that it is paged.
///
/// # Errors
/// Memory is not to be had, or Outcore does not count here.
pub(crate) fn run(mib: usize) -> Result<(), Error> {
    parts();
    let counted = StatusPage::open(Path::new(&std::env::var_os("OUTCORE_STATUS").unwrap_or_default()));
    let record = counted.and_then(|page| page.find(std::process::id()));
    let record = record.ok_or_else(|| Error::other("faults are measured under outcore run"))?;
    let mut words = Words::map(mib, None)?;
    words.own().iter_mut().step_by(8).enumerate().for_each(|(index, word)| *word = index as u64 | 1);
    let pages = words.own().len() / WORDS;

    let mut fresh = Words::map(mib / 4, None)?;
    let mut order: Vec<usize> = (0..fresh.own().len() / WORDS).collect();
    let mut random = Random::new(1);
    (1..order.len()).rev().for_each(|last| order.swap(last, random.below(last + 1)));
    let zero_fill = order.iter().take(TOUCHES).map(|page| touch(fresh.shared(), *page, true)).collect();
    tell("zero fill, at random", zero_fill);

    let mut fresh = Words::map(mib / 4, None)?;
    let count = fresh.own().len() / WORDS;
    let mut windows = Vec::new();
    let start = Instant::now();
    for page in 0..count {
        let took = touch(fresh.shared(), page, true);
        if took > FAULT_NS {
            windows.push(took);
        }
    }
    let a_page = start.elapsed().as_nanos() as u64 / count as u64;
    tell("zero fill, in order: a growth window", windows);
    tell("zero fill, in order: a page", vec![a_page]);

    let mut kinds = Kinds::default();
    let mut touches = 0;
    while kinds.swapped.len() < TOUCHES && touches < 100 * TOUCHES {
        kinds.add(record, || touch(words.shared(), random.below(pages), false));
        touches += 1;
    }
    tell("mapped", kinds.mapped);
    tell("swapped in alone", kinds.swapped);

    // Pages are touched again while they wait for their eviction where some are hot.
    let mut kinds = Kinds::default();
    touches = 0;
    while kinds.parked.len() < TOUCHES / 10 && touches < 20 * TOUCHES {
        let among = if random.below(100) < 95 { pages / 5 } else { pages };
        kinds.add(record, || touch(words.shared(), random.below(among), false));
        touches += 1;
    }
    tell("parked", kinds.parked);

    let mut kinds = Kinds::default();
    (0..pages).for_each(|page| kinds.add(record, || touch(words.shared(), page, false)));
    tell("read ahead: a window", kinds.ahead);
    let start = Instant::now();
    for page in 0..pages {
        touch(words.shared(), page, false);
    }
    tell("read ahead: a page", vec![start.elapsed().as_nanos() as u64 / pages as u64]);
    Ok(())
}

/// No fault takes less, and nothing else takes so long.
const FAULT_NS: u64 = 1500;
/// How long it takes at most until the pager has counted a fault.
const COUNTED: Duration = Duration::from_millis(1);

/// How long touches took, by what they turned out to be.
#[derive(Default)]
struct Kinds {
    mapped: Vec<u64>,
    parked: Vec<u64>,
    ahead: Vec<u64>,
    swapped: Vec<u64>,
}

impl Kinds {
    /// Makes a touch, and tells its kind by the counter that moves.
    fn add(&mut self, record: &Record, touch: impl FnOnce() -> u64) {
        let counts =
            || [&record.rescues, &record.readahead_hits, &record.major_faults].map(|c| c.load(Relaxed));
        let before = counts();
        let took = touch();
        if took < FAULT_NS {
            self.mapped.push(took);
            return;
        }
        let start = Instant::now();
        // The pager counts after it has woken this thread, and may share its processor.
        while counts() == before && start.elapsed() < COUNTED {
            thread::yield_now();
        }
        let [rescued, hit, major] = counts();
        if major > before[2] {
            self.swapped.push(took);
        } else if rescued > before[0] {
            self.parked.push(took);
        } else if hit > before[1] {
            self.ahead.push(took);
        }
    }
}

/// Touches a page; how many nanoseconds it took.
fn touch(words: &[AtomicU64], page: usize, write: bool) -> u64 {
    let word = &words[page * WORDS + 1];
    let start = Instant::now();
    if write {
        word.store(1, Relaxed);
    } else {
        black_box(word.load(Relaxed));
    }
    start.elapsed().as_nanos() as u64
}

/// Parts of a fault without the kernel.
fn parts() {
    let page = vec![7u8; 2 * PAGE];
    let aligned = (page.as_ptr() as usize).next_multiple_of(PAGE);
    match Digester::random() {
        Ok(digester) => tell(
            "digest of a page",
            batches(|_| {
                black_box(digest(&digester, aligned));
            }),
        ),
        Err(error) => eprintln!("no digest: {error}"),
    }
    let config = Config { frames: 1 << 16, slots: 1 << 16, commit: Commit::Lazy, readahead: true };
    let mut pager = Pager::new(config);
    let area = PageRange { start: PageNo(1 << 20), count: 1 << 18 };
    pager.add_area(area, Rights::ReadWrite);
    let mut random = Random::new(2);
    tell(
        "decision about a zero fill",
        batches(|_| {
            let page = area.start.plus(random.below(area.count as usize) as u64);
            if let Fault::Zero(range) = pager.fault(page) {
                range.pages().for_each(|page| pager.vanished(page));
            }
        }),
    );
    let counter = AtomicU64::new(0);
    tell("counter update", batches(|round| counter.store(round as u64, Relaxed)));
}

#[expect(unsafe_code, reason = "the digest takes an address")]
fn digest(digester: &Digester, addr: usize) -> u128 {
    // SAFETY: a page of the caller's vector, which nobody writes.
    unsafe { digester.of_page(addr, PAGE) }.0
}

/// Nanoseconds a call, batch by batch.
fn batches(mut call: impl FnMut(usize)) -> Vec<u64> {
    let mut samples = Vec::with_capacity(1000);
    for batch in 0..1000 {
        let start = Instant::now();
        (0..BATCH).for_each(|index| call(batch * BATCH + index));
        samples.push(start.elapsed().as_nanos() as u64 / BATCH as u64);
    }
    samples
}

fn tell(kind: &str, mut nanoseconds: Vec<u64>) {
    nanoseconds.sort_unstable();
    let at = |share: usize| nanoseconds.get(nanoseconds.len() * share / 100).copied();
    println!(
        "{}",
        json!({ "kind": kind, "median_ns": at(50), "p99_ns": at(99), "samples": nanoseconds.len() })
    );
}
