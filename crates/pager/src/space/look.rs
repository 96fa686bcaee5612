//! Questions that change nothing.

use super::area::SpaceArea;
use super::backing::{Key, Place, SpaceNo};
use super::prot::Prot;
use super::rights::{Sharing, Standing, rights};
use super::{Spaces, ZERO_FRAME};
use crate::counters::Counters;
use crate::entry::State;
use crate::page::{FrameNo, PageNo, PageRange};

/// A page-table entry: what the hardware may allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pte {
    /// Where the page is; means nothing without rights.
    pub frame: FrameNo,
    /// What is allowed there.
    pub prot: Prot,
}

/// What a page is made from: the supplementary page table's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// The area that has it.
    pub area: SpaceArea,
    /// Where its bytes are when they are not in memory. None: zeros, in no place yet.
    pub place: Option<Place>,
    /// What is true of what backs it. None: zeros of its own.
    pub state: Option<State>,
    /// Its bytes in memory differ from those in its place.
    pub dirty: bool,
    /// How many entries name the same.
    pub owners: usize,
}

/// What a frame holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// What is true of it.
    pub state: State,
    /// Where its bytes came from or will go.
    pub place: Option<Place>,
    /// Its bytes differ from those in its place.
    pub dirty: bool,
    /// The entries that name it.
    pub owners: Vec<(SpaceNo, PageNo)>,
}

impl Spaces {
    /// The entry of a page. None: no area has it.
    pub fn pte(&self, space: SpaceNo, page: PageNo) -> Option<Pte> {
        let record = self.space(space)?;
        let area = record.areas.find(page)?;
        let Some(backing) = record.entries.get(&page).copied() else {
            let prot = rights(Standing::NeverWritten, Sharing::Direct, area.prot);
            return Some(Pte { frame: ZERO_FRAME, prot });
        };
        let (standing, frame) = match self.pager.state(backing) {
            State::Untouched => (Standing::NeverWritten, ZERO_FRAME),
            State::Resident { frame, .. } if self.backings.get(backing).dirty => (Standing::Dirty, frame),
            State::Resident { frame, .. } => (Standing::Clean, frame),
            _ => (Standing::Trapped, ZERO_FRAME),
        };
        let sharing = if self.copies(backing, area) { Sharing::CopyOnWrite } else { Sharing::Direct };
        Some(Pte { frame, prot: rights(standing, sharing, area.prot) })
    }

    /// What a page is made from. None: no area has it.
    pub fn recipe(&self, space: SpaceNo, page: PageNo) -> Option<Recipe> {
        let record = self.space(space)?;
        let area = record.areas.find(page)?;
        let Some(backing) = record.entries.get(&page).copied() else {
            return Some(Recipe { area, place: None, state: None, dirty: false, owners: 1 });
        };
        let record = self.backings.get(backing);
        Some(Recipe {
            area,
            place: self.place_of(backing),
            state: Some(self.pager.state(backing)),
            dirty: record.dirty,
            owners: record.mappings.len(),
        })
    }

    /// What `frame` holds. None: nothing, or the zeros of frame 0.
    pub fn holding(&self, frame: FrameNo) -> Option<Holding> {
        let page = self.pager.page_of(frame);
        let record = self.backings.try_get(page)?;
        let state = self.pager.state(page);
        let own = match state {
            State::Resident { frame, .. }
            | State::Parked { frame, .. }
            | State::Filling { frame, .. }
            | State::Writing { frame, .. } => frame,
            State::Untouched | State::Swapped { .. } | State::Poisoned => return None,
        };
        (own == frame).then(|| Holding {
            state,
            place: self.place_of(page),
            dirty: record.dirty,
            owners: record.mappings.iter().copied().collect(),
        })
    }

    fn place_of(&self, backing: PageNo) -> Option<Place> {
        let slot = match self.pager.state(backing) {
            State::Resident { slot, .. } | State::Parked { slot, .. } => slot,
            State::Filling { slot, .. } | State::Writing { slot, .. } | State::Swapped { slot } => Some(slot),
            State::Untouched | State::Poisoned => None,
        };
        match self.backings.get(backing).file() {
            Some(_) => Some(self.place(backing, self.home(backing))),
            None => slot.map(|slot| self.place(backing, slot)),
        }
    }

    /// Who has `slot`: the entries of the page whose place it is.
    pub fn slot_owners(&self) -> impl Iterator<Item = (crate::SlotNo, Vec<(SpaceNo, PageNo)>)> {
        self.backings.iter().filter_map(|(page, backing)| match self.place_of(page)? {
            Place::Slot(slot) => Some((slot, backing.mappings.iter().copied().collect())),
            Place::Block { .. } => None,
        })
    }

    /// The areas of a process, in order.
    pub fn areas(&self, space: SpaceNo) -> impl Iterator<Item = SpaceArea> {
        self.space(space).into_iter().flat_map(|space| space.areas.iter())
    }

    /// The parts of areas that lie in `range`, in order.
    pub fn areas_within(&self, space: SpaceNo, range: PageRange) -> Vec<SpaceArea> {
        self.space(space).map(|space| space.areas.within(range)).unwrap_or_default()
    }

    /// Whether a page of anybody's shows `file`, or blocks of it are in memory. Pages that were
    /// copied when they were written show it no longer.
    pub fn uses_file(&self, file: super::FileNo) -> bool {
        let first = Key::File { file, block: 0, bytes: 0 };
        let next = self.backings.keys().range(first..).next();
        matches!(next, Some((Key::File { file: own, .. }, _)) if *own == file)
    }

    /// Pages of a process with a slot promised to each.
    pub fn charged(&self, space: SpaceNo) -> u64 {
        self.space(space).map_or(0, |space| space.charged)
    }

    /// Frames in use, that of zeros included.
    pub fn frames_used(&self) -> u32 {
        self.pager.frames_used()
    }

    /// Slots that hold a page, or are set aside for one that has been written.
    pub fn slots_used(&self) -> u32 {
        self.pager.slots_used()
    }

    /// What happened so far, as the core below counts it.
    pub fn counters(&self) -> Counters {
        self.pager.counters()
    }
}
