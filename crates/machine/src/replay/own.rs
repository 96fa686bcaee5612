//! The live pager's own replacement, on references alone.
//!
//! The core decides as it does for a program: queues, parked pages, reclaim in batches. There is no disk: a
//! transfer ends before the next reference. Every page is taken for changed when it leaves.

use pager::{
    Commit, Config, Content, Eviction, Fault, FillResult, PageNo, PageRange, Pager, Parking, Rights, State,
    WriteResult,
};

/// As the engine does it: pages parked in one call, calls of a round, pages evicted together.
const PARK_RUN: u32 = 256;
const PARK_CALLS: u32 = 16;
const EVICT_BATCH: u32 = 64;
pub(super) const MOST_VICTIMS: u32 = 256;
/// The core keeps so many frames free that with fewer there would be none to use.
pub const FEWEST_FRAMES: u32 = 128;

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// First references, and those to pages that had left.
    pub misses: u64,
    /// Those to pages that had left.
    pub major: u64,
}

/// References to the pages `0..pages` by their numbers, in `frames` frames, at least [`FEWEST_FRAMES`].
pub fn own(numbers: &[u32], pages: u32, frames: u32, readahead: bool) -> Own {
    let frames = frames.max(FEWEST_FRAMES);
    let config = Config { frames, slots: (1 << 28) - 2, commit: Commit::Lazy, readahead };
    let mut pager = Pager::new(config);
    pager.add_area(PageRange { start: PageNo(0), count: pages.into() }, Rights::ReadWrite);
    let mut victims = Vec::with_capacity(MOST_VICTIMS as usize);
    let mut digest = 0;
    for number in numbers {
        loop {
            match pager.fault(PageNo((*number).into())) {
                Fault::NoFrame => reclaim(&mut pager, &mut victims, &mut digest),
                Fault::Read | Fault::Map(_) | Fault::InFlight => {
                    for index in 0..pager.reads().len() {
                        let frame = pager.reads()[index].frame;
                        pager.fill_done(frame, FillResult::Good);
                    }
                    break;
                }
                _ => break,
            }
        }
        reclaim(&mut pager, &mut victims, &mut digest);
    }
    let counters = pager.counters();
    let first = u64::from(pages);
    // What was zero and is touched again counts once: nothing is discarded here.
    Own { misses: first + counters.major_faults, major: counters.major_faults }
}

/// Parks and evicts as the engine does, at once.
pub(super) fn reclaim(pager: &mut Pager, victims: &mut Vec<pager::FrameNo>, digest: &mut u128) {
    let need = pager.reclaim_need(0);
    if need == 0 {
        return;
    }
    let stock = pager.parking_target() + need.min(EVICT_BATCH);
    for _ in 0..PARK_CALLS {
        if pager.frames_parked() >= stock {
            break;
        }
        let Parking::Pages(range) = pager.next_parking(PARK_RUN) else { break };
        let resident = |page: &PageNo| matches!(pager.state(*page), State::Resident { .. });
        let pages: Vec<PageNo> = range.pages().filter(resident).collect();
        if pages.is_empty() {
            break;
        }
        pages.into_iter().for_each(|page| pager.parked(page));
    }
    victims.clear();
    pager.next_evictions(need.min(MOST_VICTIMS), victims);
    for frame in victims.iter().copied() {
        // A trace may be anything: what is not as it should be is passed over.
        if !matches!(pager.state(pager.page_of(frame)), State::Parked { frame: of, .. } if of == frame) {
            continue;
        }
        *digest += 1;
        let content = if pager.known_clean(frame) { None } else { Some(Content::Digest(*digest)) };
        if let Eviction::Write(_) = pager.evict(frame, content) {
            pager.write_done(frame, WriteResult::Done);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_misses_once_and_a_loop_that_does_not_misses_often() {
        let numbers: Vec<u32> = (0..10).flat_map(|_| 0..1000).collect();
        assert_eq!(own(&numbers, 1000, 2000, false), Own { misses: 1000, major: 0 });
        let short = own(&numbers, 1000, 500, false);
        assert!(short.major > 3000 && short.misses == short.major + 1000, "{short:?}");
    }
}
