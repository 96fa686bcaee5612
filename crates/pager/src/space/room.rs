//! Room for a page: a free frame, or one that the policy chooses.

use super::Spaces;
use super::fault::{FaultError, Next, SpaceFault, Transfer};
use crate::entry::State;
use crate::page::{FrameNo, PageNo};
use crate::pager::Pager;
use crate::policy::Step;
use crate::reclaim::{Content, Eviction};

/// Every policy finds a victim within so many looks at each frame: reference counters end at 3.
const LOOKS: u32 = 8;

impl Spaces {
    /// None: a frame is free now. Otherwise what the fault must do first.
    pub(super) fn make_room(
        &mut self,
        fault: &mut SpaceFault,
        incoming: u64,
    ) -> Result<Option<Next>, FaultError> {
        let looks = LOOKS * self.config.frames;
        for _ in 0..looks {
            if self.pager.frames_used() < self.config.frames {
                return Ok(None);
            }
            let (pager, backings) = (&self.pager, &self.backings);
            let mut may = |frame| {
                let page = movable(pager, frame);
                page.is_some_and(|page| backings.try_get(page).is_some_and(|backing| !backing.stays()))
            };
            let Some(step) = self.policy.next(incoming, &mut may) else { break };
            let (Step::Unreference(frame) | Step::Evict(frame)) = step;
            assert!(may(frame), "the policy chose {frame:?}, which may not be taken");
            let page = self.pager.page_of(frame);
            self.trap(page);
            if step == Step::Evict(frame)
                && let Some(transfer) = self.evict(page, frame)?
            {
                fault.major = true;
                return Ok(Some(Next::Write(transfer)));
            }
        }
        let transfers = self.pager.frames_in_transfer() > 0;
        if transfers || self.backings.iter().any(|(_, backing)| backing.syncing) {
            return Ok(Some(Next::Wait));
        }
        Err(FaultError::NoFrame)
    }

    /// Clears the reference bit: the next touch will be noticed.
    fn trap(&mut self, page: PageNo) {
        if matches!(self.pager.state(page), State::Resident { .. }) {
            self.pager.parked(page);
            self.backing_changed(page);
        }
    }

    /// Takes the frame of a trapped page. What is dirty is to be written first.
    fn evict(&mut self, page: PageNo, frame: FrameNo) -> Result<Option<Transfer>, FaultError> {
        let dirty = self.backings.get(page).dirty;
        match self.pager.evict(frame, Some(if dirty { Content::Dirty } else { Content::Clean })) {
            Eviction::Freed => {
                self.policy.evicted(frame);
                self.drop_if_forgotten(page);
                Ok(None)
            }
            Eviction::Write(slot) => Ok(Some(Transfer { frame, place: self.place(page, slot) })),
            Eviction::StoreFull => Err(FaultError::StoreFull),
        }
    }
}

/// The page in a frame that no transfer owns and that is not that of zeros.
fn movable(pager: &Pager, frame: FrameNo) -> Option<PageNo> {
    let page = pager.page_of(frame);
    let held = matches!(
        pager.state(page),
        State::Resident { frame: own, .. } | State::Parked { frame: own, .. } if own == frame
    );
    (held && !pager.area(page)?.pinned).then_some(page)
}
