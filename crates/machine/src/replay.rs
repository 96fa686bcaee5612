//! Replay: how often each policy misses, given what a program referenced.
//!
//! A [`Trace`] is read once; [`misses`] runs it through one policy with one number of frames, and
//! [`grid()`] through every policy with every number, on as many processors as there are.
//! The policies are those of the core, and are told exactly what a pager that sees every
//! reference would tell them. All frames hold pages (none is pinned), misses include first
//! touches, and the clock takes what comes in for unreferenced.

mod alone;
mod deeds;
mod format;
mod grid;
mod own;
mod rerun;
mod trace;

pub use alone::Alone;
pub use format::{Format, TraceError};
pub use grid::{Row, grid, grid_telling};
pub use own::{FEWEST_FRAMES, Own, own};
pub use rerun::Rerun;
pub use trace::{Builder, Trace};

use pager::policy::{Arrival, Future, Opt, TooLong};
use pager::{FrameNo, Policy, PolicyKind, Step};
use std::sync::Arc;

/// The most frames that a replay can have.
pub const MOST_FRAMES: u32 = u32::MAX - 2;

/// No frame.
const NOWHERE: u32 = u32::MAX;

/// What OPT has to know of `trace`.
///
/// # Errors
/// [`TooLong`].
pub fn future(trace: &Trace) -> Result<Arc<Future>, TooLong> {
    Future::new(trace.numbers().iter().map(|number| u64::from(*number))).map(Arc::new)
}

/// How many references of `trace` miss in `frames` frames under `kind`. `future` is that of the same
/// trace, and needed for OPT only.
///
/// # Panics
/// If `frames` is 0 or more than [`MOST_FRAMES`], if OPT is not given the trace's future, and
/// if a policy names a frame that holds nothing.
pub fn misses(trace: &Trace, kind: PolicyKind, frames: u32, future: Option<&Arc<Future>>) -> u64 {
    assert!((1..=MOST_FRAMES).contains(&frames), "{frames} frames");
    let mut policy = kind.build(frames, Arrival::Unreferenced).unwrap_or_else(|| {
        let future = future.expect("OPT is given the future of the trace");
        Box::new(Opt::new(Arc::clone(future)))
    });
    // Pages are numbered from 0 in the order of their first references, so a table finds their frames.
    let mut frame_of: Vec<u32> = vec![NOWHERE; trace.pages() as usize];
    let mut page_in: Vec<u32> = Vec::new();
    let mut misses = 0;
    for page in trace.numbers().iter().copied() {
        let frame = frame_of[page as usize];
        if frame != NOWHERE {
            policy.touched(FrameNo(frame));
            continue;
        }
        misses += 1;
        let frame = if page_in.len() < frames as usize {
            page_in.push(page);
            page_in.len() as u32 - 1
        } else {
            let frame = victim(policy.as_mut(), page);
            let before = std::mem::replace(&mut page_in[frame as usize], page);
            frame_of[before as usize] = NOWHERE;
            policy.evicted(FrameNo(frame));
            frame
        };
        frame_of[page as usize] = frame;
        policy.inserted(FrameNo(frame), u64::from(page));
    }
    misses
}

/// The frame that `policy` gives up for `page`.
fn victim(policy: &mut dyn Policy, page: u32) -> u32 {
    loop {
        match policy.next(u64::from(page), &mut |_| true) {
            // A reference bit that is cleared is the policy's own affair: it is told of every reference.
            Some(Step::Unreference(_)) => {}
            Some(Step::Evict(frame)) => return frame.0,
            None => unreachable!("every frame holds a page and may be taken: {policy:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: u64 = u64::MAX;

    #[test]
    fn counts_are_those_of_the_textbooks() {
        // Belady, Nelson and Shedler 1969, with large numbers for pages.
        let trace = [1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5].map(|page| LARGE - page);
        let trace = Trace::from_pages(trace).expect("a trace");
        let future = future(&trace).expect("a short trace");
        let count = |kind, frames| misses(&trace, kind, frames, Some(&future));
        assert_eq!((trace.references(), trace.pages()), (12, 5));
        assert_eq!([count(PolicyKind::Fifo, 3), count(PolicyKind::Fifo, 4)], [9, 10]);
        assert_eq!([count(PolicyKind::Lru, 3), count(PolicyKind::Lru, 4)], [10, 8]);
        assert_eq!([count(PolicyKind::Opt, 3), count(PolicyKind::Opt, 4)], [7, 6]);
        for kind in PolicyKind::ALL {
            assert_eq!(count(kind, MOST_FRAMES), 5, "{kind}");
        }
    }
}
