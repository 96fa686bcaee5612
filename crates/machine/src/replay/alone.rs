//! A run from what its program did, and the frames that it had, alone.
//!
//! Of a recorded run nothing is looked at that its pager did: neither the pace, nor what was in pages, nor when transfers
//! ended. The core decides when there is need, as for the live engine, and every transfer ends at once.

use super::deeds;
use super::own::{FEWEST_FRAMES, MOST_VICTIMS, reclaim};
use super::rerun::{self, MOST_FRAMES, MOST_HELD};
use pager::{Fault, FillResult, FrameNo, PageNo, Pager};
use trace::{Event, Header, Outcome};

/// Rounds of reclaim in one fault. Where these find no frame, all that could leave is pinned.
const MOST_ROUNDS: u32 = 64;

/// See the module's page.
#[derive(Debug)]
pub struct Alone {
    pager: Pager,
    victims: Vec<FrameNo>,
    digest: u128,
}

impl Alone {
    /// Of a run of this trace.
    pub fn new(header: &Header) -> Self {
        Self { pager: rerun::pager(header), victims: Vec::with_capacity(MOST_VICTIMS as usize), digest: 0 }
    }

    /// Touches that waited for the store so far.
    pub fn major_faults(&self) -> u64 {
        self.pager.counters().major_faults
    }

    /// Applies the next event, if it tells what the program did.
    pub fn apply(&mut self, event: &Event) {
        match *event {
            Event::Touch { page, outcome } if outcome != Outcome::Lost => self.touch(PageNo(page)),
            // Touched before there was a trace.
            Event::Held { start, count } => {
                let held = start..start.saturating_add(count.min(MOST_HELD));
                held.for_each(|page| self.touch(PageNo(page)));
            }
            Event::Frames { limit } => {
                self.pager.set_frame_limit(limit.clamp(FEWEST_FRAMES, MOST_FRAMES));
            }
            _ => drop(deeds::apply(&mut self.pager, event)),
        }
    }

    fn touch(&mut self, page: PageNo) {
        for _ in 0..MOST_ROUNDS {
            match self.pager.fault(page) {
                Fault::NoFrame => reclaim(&mut self.pager, &mut self.victims, &mut self.digest),
                _ => break,
            }
        }
        for index in 0..self.pager.reads().len() {
            let frame = self.pager.reads()[index].frame;
            self.pager.fill_done(frame, FillResult::Good);
        }
        reclaim(&mut self.pager, &mut self.victims, &mut self.digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trace::{Gone, Rights, Source};

    fn run(events: impl IntoIterator<Item = Event>) -> u64 {
        let header = Header {
            page_bytes: 4096,
            source: Source::Faults,
            budget_bytes: 4 << 20,
            slots: 1 << 20,
            readahead: false,
            started: 0,
            program: "test".into(),
        };
        let mut alone = Alone::new(&header);
        alone.apply(&Event::Frames { limit: 1000 });
        alone.apply(&Event::Area { start: 0, count: 10_000, rights: Rights::ReadWrite });
        events.into_iter().for_each(|event| alone.apply(&event));
        alone.major_faults()
    }

    fn touches(pages: std::ops::Range<u64>) -> impl Iterator<Item = Event> {
        pages.map(|page| Event::Touch { page, outcome: Outcome::Zero })
    }

    #[test]
    fn what_was_given_up_is_no_swap_in_when_it_is_used_again() {
        // Three times the frames, twice: what comes again was away.
        let kept = run(touches(0..3000).chain(touches(0..3000)));
        assert!(kept > 2000, "{kept}");
        // Given up in between, it is new.
        for why in [Gone::Discarded, Gone::Unmapped] {
            let gone = Event::Gone { start: 0, count: 3000, why };
            let area = Event::Area { start: 0, count: 3000, rights: Rights::ReadWrite };
            assert_eq!(run(touches(0..3000).chain([gone, area]).chain(touches(0..3000))), 0);
        }
        // And what is given up leaves room for what is not.
        let gone = Event::Gone { start: 600, count: 900, why: Gone::Discarded };
        let with_room = touches(0..600).chain(touches(600..1200)).chain([gone]).chain(touches(0..600));
        assert!(run(with_room) < run(touches(0..1200).chain(touches(0..600))));
    }

    #[test]
    fn frames_are_those_that_the_run_had() {
        let more = [Event::Frames { limit: 300 }].into_iter().chain(touches(0..600)).chain(touches(0..600));
        assert!(run(more) > 200);
        assert_eq!(run(touches(0..600).chain(touches(0..600))), 0);
    }

    #[test]
    fn what_cannot_leave_is_no_endless_loop() {
        let pinned = Event::Protected { start: 0, count: 10_000, rights: Rights::Pinned };
        run([pinned].into_iter().chain(touches(0..3000)));
    }
}
