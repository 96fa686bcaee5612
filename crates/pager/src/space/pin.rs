//! Pages that a driver without page faults holds on to, and what it sees that hardware does not.
//!
//! A program that asks for its memory page by page gets an address, which has to stay good for
//! as long as it says. The frame of a pinned page is passed over when a frame is needed.

use super::Spaces;
use super::backing::SpaceNo;
use crate::entry::State;
use crate::page::{FrameNo, PageNo};

impl Spaces {
    /// The frame of `page` stays until as many [`Self::unpin`] have been said.
    ///
    /// # Panics
    /// If `page` has no frame of its own in memory, or is being written: bring it in with a write before.
    pub fn pin(&mut self, space: SpaceNo, page: PageNo) {
        let backing = self.backing(space, page);
        let held = backing.filter(|backing| self.frame_of(*backing).is_some());
        let backing = held.unwrap_or_else(|| panic!("{page:?} of {space:?} is pinned and not in memory"));
        self.backings.get_mut(backing).pins += 1;
    }

    /// Takes one [`Self::pin`] back.
    ///
    /// # Panics
    /// If there is none.
    pub fn unpin(&mut self, space: SpaceNo, page: PageNo) {
        let backing = self.backing(space, page).expect("a pinned page has a backing");
        let pins = &mut self.backings.get_mut(backing).pins;
        *pins = pins.checked_sub(1).expect("a page is unpinned as often as it was pinned");
    }

    /// Allows `frames` to be in use from now on, that of zeros included. If more are, they are
    /// taken when frames are needed.
    ///
    /// # Panics
    /// If there are fewer than two.
    pub fn set_frames(&mut self, frames: u32) {
        assert!(frames >= 2, "{frames} frames leave none beside that of zeros");
        self.config.frames = frames;
        self.pager.set_frame_limit(frames);
    }

    /// The page in `frame` was referenced, and its entry allowed it. Hardware does not tell;
    /// a driver that serves every access does, and gives the policy more to go by.
    pub fn referenced(&mut self, frame: FrameNo) {
        self.policy.touched(frame);
    }

    /// The frame that holds the bytes of `page`, whatever its rights. None: it is zeros of its
    /// own, or away, or being read.
    pub fn frame(&self, space: SpaceNo, page: PageNo) -> Option<FrameNo> {
        match self.pager.state(self.backing(space, page)?) {
            State::Resident { frame, .. } | State::Parked { frame, .. } | State::Writing { frame, .. } => {
                Some(frame)
            }
            _ => None,
        }
    }

    /// Whether `page` is being read or written.
    pub fn is_in_transfer(&self, space: SpaceNo, page: PageNo) -> bool {
        let state = self.backing(space, page).map(|backing| self.pager.state(backing));
        matches!(state, Some(State::Filling { .. } | State::Writing { .. }))
    }

    fn backing(&self, space: SpaceNo, page: PageNo) -> Option<PageNo> {
        self.space(space)?.entries.get(&page).copied()
    }
}
