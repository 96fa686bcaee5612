//! Memory that Outcore pages.

use super::{Extent, Figures, InOrder, Kind, Measured, fill, fork, missing, scattered, touch};
use crate::memory::{WORDS, Words};
use crate::numbers::Random;
use std::io::Error;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};
use sys::status::{Record, StatusPage};

/// No fault takes less, and nothing else takes so long.
const FAULT_NS: u64 = 1500;
/// How long it takes at most until the pager has counted a fault.
const COUNTED: Duration = Duration::from_millis(1);
/// Pages that a forked child writes to.
const COPIED: usize = 2000;

/// The kinds that are measured here.
pub const KINDS: [Kind; 8] = [
    Kind::ZeroFill,
    Kind::Window,
    Kind::WindowPage,
    Kind::SwapIn,
    Kind::Parked,
    Kind::CopyOnWrite,
    Kind::Ahead,
    Kind::AheadPage,
];

/// Measures in this process, whose data exceed its budget, so that it is paged. Its only
/// thread may call this.
///
/// # Errors
/// Memory is not to be had, or Outcore does not count here.
pub fn measure(extent: Extent, tell: &mut dyn FnMut(Kind, Measured)) -> Result<(), Error> {
    let counted = StatusPage::open(Path::new(&std::env::var_os("OUTCORE_STATUS").unwrap_or_default()));
    let own = || counted.and_then(|page| page.find(std::process::id()));
    let record = own().ok_or_else(|| Error::other("faults are measured under outcore run"))?;
    let Extent { mib, samples } = extent;
    let mut words = Words::map(mib, None)?;
    fill(&mut words);
    let pages = words.own().len() / WORDS;
    let mut found = |kind, nanoseconds: Vec<u64>, what: &str| {
        tell(kind, Figures::of(nanoseconds).ok_or_else(|| missing(what)));
    };

    let mut fresh = Words::map(mib / 4, None)?;
    let order = scattered(fresh.own().len() / WORDS, samples, 1);
    let zero_fill = order.into_iter().map(|page| touch(fresh.shared(), page, true)).collect();
    found(Kind::ZeroFill, zero_fill, "zero fill");

    let mut fresh = Words::map(mib / 4, None)?;
    let count = fresh.own().len() / WORDS;
    let fresh = fresh.shared();
    let in_order = InOrder::touch(count, |page| {
        let took = touch(fresh, page, true);
        (took, took > FAULT_NS)
    });
    found(Kind::Window, in_order.faults, "growth window");
    found(Kind::WindowPage, in_order.a_page, "growth window");

    let mut random = Random::new(1);
    let mut kinds = Kinds::default();
    let mut touches = 0;
    while kinds.swapped.len() < samples && touches < 100 * samples {
        kinds.add(record, || touch(words.shared(), random.below(pages), false));
        touches += 1;
    }
    found(Kind::SwapIn, kinds.swapped, "swap-in");

    // Pages are touched again while they wait for their eviction where some are hot.
    let mut kinds = Kinds::default();
    touches = 0;
    while kinds.parked.len() < samples / 10 && touches < 20 * samples {
        let among = if random.below(100) < 95 { pages / 5 } else { pages };
        kinds.add(record, || touch(words.shared(), random.below(among), false));
        touches += 1;
    }
    found(Kind::Parked, kinds.parked, "parked page");

    let copied: Vec<usize> = (0..COPIED.min(pages / 8)).collect();
    for page in &copied {
        touch(words.shared(), *page, true);
    }
    let copies = {
        let shared = words.shared();
        let mut took = vec![1; copied.len()];
        fork::in_child(move || {
            let Some(record) = own() else { return Vec::new() };
            let mut others = Kinds::default();
            // The list itself is copied before it counts.
            took.fill(0);
            for (took, page) in took.iter_mut().zip(&copied) {
                let before = others.all();
                let nanoseconds = others.add(record, || touch(shared, *page, true));
                // Not what the pager had unmapped, or sent away.
                *took = if others.all() == before { nanoseconds } else { 0 };
            }
            took.retain(|took| *took > 0);
            took
        })?
    };
    found(Kind::CopyOnWrite, copies, "copy");

    // Whatever of the first pages is in memory is not any more after the rest.
    let mut kinds = Kinds::default();
    let shared = words.shared();
    for page in 0..pages {
        touch(shared, page, false);
    }
    let in_order = InOrder::touch(pages, |page| {
        let before = kinds.faults();
        let took = kinds.add(record, || touch(shared, page, false));
        (took, kinds.faults() > before)
    });
    found(Kind::Ahead, in_order.faults, "page that was read ahead");
    found(Kind::AheadPage, in_order.a_page, "page that was read ahead");
    Ok(())
}

/// How long touches took, by what they turned out to be.
#[derive(Default)]
struct Kinds {
    parked: Vec<u64>,
    ahead: Vec<u64>,
    swapped: Vec<u64>,
}

impl Kinds {
    /// Touches that turned out to be faults of a stream.
    fn faults(&self) -> usize {
        self.ahead.len() + self.swapped.len()
    }

    /// Touches that the pager saw.
    fn all(&self) -> usize {
        self.faults() + self.parked.len()
    }

    /// Makes a touch, and tells its kind by the counter that moves; how long it took.
    fn add(&mut self, record: &Record, touch: impl FnOnce() -> u64) -> u64 {
        let counts =
            || [&record.rescues, &record.readahead_hits, &record.major_faults].map(|c| c.load(Relaxed));
        let before = counts();
        let took = touch();
        if took < FAULT_NS {
            return took;
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
        took
    }
}
