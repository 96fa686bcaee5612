//! The same memory, as the kernel pages it.

use super::calls::{Hint, faults_so_far, hint};
use super::{Extent, Figures, InOrder, Kind, Measured, fill, fork, missing, scattered, touch};
use crate::memory::{WORDS, Words};
use rustix::fs::{Advice, fadvise};
use rustix::process::{Resource, getrlimit};
use std::fs::File;
use std::hint::black_box;
use std::io::Error;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Pages that a forked child writes to.
const COPIED: usize = 2000;
/// Pages by which the stack grows.
const DEEPER: usize = 1000;
/// Bytes of stack that a step of that takes at most.
const STEP_BYTES: u64 = 16 << 10;
/// MiB that go to swap: nothing else is measured there.
const SWAPPED_MIB: usize = 64;

/// What swap is given to write that.
const WRITTEN: Duration = Duration::from_millis(300);

/// The kinds that are measured here.
pub const KINDS: [Kind; 11] = [
    Kind::ZeroFill,
    Kind::Window,
    Kind::WindowPage,
    Kind::CopyOnWrite,
    Kind::SwapIn,
    Kind::Ahead,
    Kind::AheadPage,
    Kind::File,
    Kind::FileAhead,
    Kind::FileAheadPage,
    Kind::Stack,
];

/// Measures in this process, which Outcore does not page. Its first thread may call this while it has no
/// other. `file` is on the disk that is measured, and not in the page cache.
///
/// # Errors
/// Memory is not to be had, or the file not to be mapped.
pub fn measure(extent: Extent, file: &File, tell: &mut dyn FnMut(Kind, Measured)) -> Result<(), Error> {
    let Extent { mib, samples } = extent;
    let mut fresh = Words::map(mib / 4, None)?;
    hint(&mut fresh, Hint::SmallPages)?;
    let order = scattered(fresh.own().len() / WORDS, samples, 1);
    let zero_fill = order.into_iter().map(|page| touch(fresh.shared(), page, true)).collect();
    tell(Kind::ZeroFill, figures(zero_fill, "zero fill"));

    // With huge pages, if that is how the machine is set.
    let mut fresh = Words::map(mib / 4, None)?;
    let in_order = scan(&mut fresh, true, Faults::Any);
    tell(Kind::Window, figures(in_order.faults, "fault"));
    tell(Kind::WindowPage, figures(in_order.a_page, "fault"));

    let mut words = Words::map(SWAPPED_MIB.min(mib), None)?;
    hint(&mut words, Hint::SmallPages)?;
    fill(&mut words);
    let copied = COPIED.min(words.own().len() / WORDS);
    let shared = words.shared();
    let mut took = vec![1; copied];
    let copies = fork::in_child(move || {
        // The list itself is copied before it counts.
        took.fill(0);
        took.iter_mut().enumerate().for_each(|(page, took)| *took = touch(shared, page, true));
        took
    })?;
    tell(Kind::CopyOnWrite, figures(copies, "copy"));

    // What is being written is still in memory; when it comes again and leaves again it is clean.
    for _ in 0..2 {
        hint(&mut words, Hint::PageOut)?;
        scan(&mut words, false, Faults::Major);
        sleep(WRITTEN);
    }
    let pages = words.own_pages();
    hint(&mut words, Hint::PageOut)?;
    let alone = majors(&mut words, &scattered(pages, samples, 2));
    hint(&mut words, Hint::PageOut)?;
    let in_order = scan(&mut words, false, Faults::Major);
    if in_order.faults.is_empty() {
        let why = if has_swap() { "nothing came back from swap" } else { "no swap space is on" };
        for kind in [Kind::SwapIn, Kind::Ahead, Kind::AheadPage] {
            tell(kind, Err(why.to_owned()));
        }
    } else {
        tell(Kind::SwapIn, figures(alone, "page that came back from swap alone"));
        tell(Kind::Ahead, figures(in_order.faults, "page that came back from swap"));
        tell(Kind::AheadPage, figures(in_order.a_page, "page that came back from swap"));
    }

    let mut mapped = Words::of_file(file)?;
    let pages = mapped.own_pages();
    hint(&mut mapped, Hint::Random)?;
    tell(
        Kind::File,
        figures(majors(&mut mapped, &scattered(pages, samples, 3)), "page that came from the disk"),
    );
    mapped.unmap()?;
    fadvise(file, 0, None, Advice::DontNeed)?;
    let mut mapped = Words::of_file(file)?;
    hint(&mut mapped, Hint::Sequential)?;
    let in_order = scan(&mut mapped, false, Faults::Major);
    tell(Kind::FileAhead, figures(in_order.faults, "page that came from the disk"));
    tell(Kind::FileAheadPage, figures(in_order.a_page, "page that came from the disk"));

    tell(Kind::Stack, figures(stack(), "growth"));
    Ok(())
}

fn figures(nanoseconds: Vec<u64>, what: &str) -> Measured {
    Figures::of(nanoseconds).ok_or_else(|| missing(what))
}

/// Which faults count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Faults {
    Any,
    Major,
}

/// Touches all pages in order.
fn scan(words: &mut Words, write: bool, counts: Faults) -> InOrder {
    let pages = words.own_pages();
    let words = words.shared();
    let mut before = faults_so_far();
    InOrder::touch(pages, |page| {
        let took = touch(words, page, write);
        let now = faults_so_far();
        let fault = now.1 > before.1 || counts == Faults::Any && now.0 > before.0;
        before = now;
        (took, fault)
    })
}

/// How long those of the touches took that waited for a disk.
fn majors(words: &mut Words, order: &[usize]) -> Vec<u64> {
    let words = words.shared();
    let mut took = Vec::with_capacity(order.len());
    let (_, mut before) = faults_so_far();
    for page in order {
        let nanoseconds = touch(words, *page, false);
        let (_, now) = faults_so_far();
        if now > before {
            took.push(nanoseconds);
        }
        before = now;
    }
    took
}

/// Whether the machine has any swap space.
fn has_swap() -> bool {
    std::fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1)
}

/// How long the first touches of pages took by which this thread's stack grew.
fn stack() -> Vec<u64> {
    // What is left of a small stack is not for measuring.
    let most = getrlimit(Resource::Stack).current.map_or(u64::MAX, |bytes| bytes / 2 / STEP_BYTES);
    let steps = (DEEPER as u64).min(most) as usize;
    let mut took = vec![1; steps];
    took.fill(0);
    deeper(0, Instant::now(), &mut took);
    took
}

/// A frame of a page and more, which is touched before the clock is read.
#[inline(never)]
fn deeper(step: usize, before: Instant, took: &mut [u64]) {
    let mut page = [0_u8; 4096];
    black_box(&mut page);
    let now = before.elapsed().as_nanos() as u64;
    if let Some(took) = took.get_mut(step) {
        *took = now;
    } else {
        return;
    }
    deeper(step + 1, Instant::now(), took);
    black_box(&page);
}
