//! The page-table entry: what is true of one page now, in one word.
//!
//! ```text
//!  63          36 35           8  7..5   4     3..0
//! ┌──────────────┬──────────────┬──────┬──────┬──────┐
//! │ slot + 1     │ frame        │ 0    │ mark │ kind │
//! └──────────────┴──────────────┴──────┴──────┴──────┘
//! ```
//!
//! The all-zero word is an untouched page, so that a table of them can be had
//! from the kernel without being written.

use crate::page::{FrameNo, SlotNo};
use core::fmt;

/// Frames and slots are numbered in 28 bits: 1 TiB of each at 4 KiB a page.
pub(crate) const NUMBER_LIMIT: u32 = (1 << 28) - 1;

const KIND: u64 = 0xf;
const MARK: u64 = 1 << 4;
const FRAME_SHIFT: u32 = 8;
const SLOT_SHIFT: u32 = 36;
const NUMBER_MASK: u64 = NUMBER_LIMIT as u64;

/// Where a page is in its life.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Never written, or discarded since: reads as zeros, holds nothing.
    Untouched,
    /// Mapped. The slot, if any, held the same bytes when the page came in.
    Resident {
        /// The permit it holds.
        frame: FrameNo,
        /// A possibly stale copy.
        slot: Option<SlotNo>,
    },
    /// Unmapped, bytes still in memory.
    Parked {
        /// The permit it holds.
        frame: FrameNo,
        /// A possibly stale copy; an exact one while `ahead`.
        slot: Option<SlotNo>,
        /// Read before it was asked for, and not touched since.
        ahead: bool,
    },
    /// Being read from its slot.
    Filling {
        /// The permit it will hold.
        frame: FrameNo,
        /// Where it is read from.
        slot: SlotNo,
        /// Somebody waits for it; otherwise it is read ahead.
        wanted: bool,
    },
    /// Being written to its slot; unmapped.
    Writing {
        /// The permit it holds until the write has ended.
        frame: FrameNo,
        /// Where it is written to.
        slot: SlotNo,
        /// Somebody waits to have it back.
        wanted: bool,
    },
    /// Only in the store.
    Swapped {
        /// Where.
        slot: SlotNo,
    },
    /// Its bytes were lost by the store: a touch is a bus error.
    Poisoned,
}

impl State {
    /// Read before it was asked for, or being read so.
    pub(crate) fn is_ahead(self) -> bool {
        matches!(self, Self::Parked { ahead: true, .. } | Self::Filling { wanted: false, .. })
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = |on: bool, name: &'static str| if on { name } else { "" };
        match *self {
            Self::Untouched => f.write_str("untouched"),
            Self::Resident { frame, slot } => write!(f, "resident {frame:?} {slot:?}"),
            Self::Parked { frame, slot, ahead } => {
                write!(f, "parked {frame:?} {slot:?}{}", flag(ahead, " ahead"))
            }
            Self::Filling { frame, slot, wanted } => {
                write!(f, "filling {frame:?} {slot:?}{}", flag(wanted, " wanted"))
            }
            Self::Writing { frame, slot, wanted } => {
                write!(f, "writing {frame:?} {slot:?}{}", flag(wanted, " wanted"))
            }
            Self::Swapped { slot } => write!(f, "swapped {slot:?}"),
            Self::Poisoned => f.write_str("poisoned"),
        }
    }
}

/// The packed form of a [`State`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry(pub(crate) u64);

impl Entry {
    pub(crate) fn pack(state: State) -> Self {
        let word = |kind: u64, frame: Option<FrameNo>, slot: Option<SlotNo>, mark: bool| {
            let frame = frame.map_or(0, |f| u64::from(f.0)) << FRAME_SHIFT;
            let slot = slot.map_or(0, |s| u64::from(s.0) + 1) << SLOT_SHIFT;
            Self(kind | frame | slot | if mark { MARK } else { 0 })
        };
        match state {
            State::Untouched => Self(0),
            State::Resident { frame, slot } => word(1, Some(frame), slot, false),
            State::Parked { frame, slot, ahead } => word(2, Some(frame), slot, ahead),
            State::Filling { frame, slot, wanted } => word(3, Some(frame), Some(slot), wanted),
            State::Writing { frame, slot, wanted } => word(4, Some(frame), Some(slot), wanted),
            State::Swapped { slot } => word(5, None, Some(slot), false),
            State::Poisoned => Self(6),
        }
    }

    pub(crate) fn unpack(self) -> State {
        let mark = self.0 & MARK != 0;
        let frame = FrameNo(((self.0 >> FRAME_SHIFT) & NUMBER_MASK) as u32);
        let slot_word = (self.0 >> SLOT_SHIFT) as u32;
        let slot = slot_word.checked_sub(1).map(SlotNo);
        match (self.0 & KIND, slot) {
            (0, _) => State::Untouched,
            (1, slot) => State::Resident { frame, slot },
            (2, slot) => State::Parked { frame, slot, ahead: mark },
            (3, Some(slot)) => State::Filling { frame, slot, wanted: mark },
            (4, Some(slot)) => State::Writing { frame, slot, wanted: mark },
            (5, Some(slot)) => State::Swapped { slot },
            (6, _) => State::Poisoned,
            _ => unreachable!("page-table word {:#x} was not made by pack", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_packing_at_its_limits() {
        for number in [0, 1, NUMBER_LIMIT - 1] {
            let (frame, slot) = (FrameNo(number), SlotNo(number));
            let mut states = vec![State::Untouched, State::Poisoned, State::Swapped { slot }];
            for mark in [false, true] {
                states.push(State::Filling { frame, slot, wanted: mark });
                states.push(State::Writing { frame, slot, wanted: mark });
                for slot in [None, Some(slot)] {
                    states.push(State::Parked { frame, slot, ahead: mark });
                    states.push(State::Resident { frame, slot });
                }
            }
            for state in states {
                assert_eq!(Entry::pack(state).unpack(), state);
            }
        }
        assert_eq!(Entry::pack(State::Untouched).0, 0, "fresh memory must read as untouched");
    }
}
