//! Where the blocks of a run begin, and which are used.

use crate::family::bits::{Bits, Pair};
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

/// With more slots than this, bits would cost more than a tree, and finding a neighbour
/// would take too long: runs that long are made for large blocks.
const MOST_BITS: usize = 8192;

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockState {
    /// In the family's index, to be allocated.
    Free,
    /// Handed out.
    Used,
}

/// The blocks of a run by the slot that they begin in. A block ends where the next
/// begins, so blocks tile the run by construction.
#[derive(Debug)]
pub(super) enum Blocks {
    /// Up to 64 slots, as a page has in most families: in place.
    Page(Pair),
    Few(Bits),
    #[expect(clippy::box_collection, reason = "8 bytes in place of 24 in each run that has no tree")]
    Many(Box<BTreeMap<usize, BlockState>>),
}

fn state(used: bool) -> BlockState {
    if used { BlockState::Used } else { BlockState::Free }
}

impl Blocks {
    /// No blocks yet.
    pub(super) fn new(slots: usize) -> Self {
        match slots {
            ..=64 => Self::Page(Pair::new()),
            65..=MOST_BITS => Self::Few(Bits::new(slots)),
            _ => Self::Many(Box::default()),
        }
    }

    /// The block that begins at `slot`.
    pub(super) fn at(&self, slot: usize) -> Option<BlockState> {
        match self {
            Self::Page(bits) => bits.begins(slot).then(|| state(bits.is_used(slot))),
            Self::Few(bits) => bits.begins(slot).then(|| state(bits.is_used(slot))),
            Self::Many(tree) => tree.get(&slot).copied(),
        }
    }

    /// The block that `slot` lies in.
    pub(super) fn around(&self, slot: usize) -> Option<(usize, BlockState)> {
        match self {
            Self::Page(bits) => bits.at_or_before(slot).map(|slot| (slot, state(bits.is_used(slot)))),
            Self::Few(bits) => bits.at_or_before(slot).map(|slot| (slot, state(bits.is_used(slot)))),
            Self::Many(tree) => tree.range(..=slot).next_back().map(|(slot, state)| (*slot, *state)),
        }
    }

    /// The block after the one that begins at `slot`.
    pub(super) fn after(&self, slot: usize) -> Option<(usize, BlockState)> {
        match self {
            Self::Page(bits) => bits.at_or_after(slot + 1).map(|slot| (slot, state(bits.is_used(slot)))),
            Self::Few(bits) => bits.at_or_after(slot + 1).map(|slot| (slot, state(bits.is_used(slot)))),
            Self::Many(tree) => {
                tree.range((Excluded(slot), Unbounded)).next().map(|(slot, state)| (*slot, *state))
            }
        }
    }

    /// The block before the one that begins at `slot`.
    pub(super) fn before(&self, slot: usize) -> Option<(usize, BlockState)> {
        self.around(slot.checked_sub(1)?)
    }

    /// A block begins at `slot`; if one did, it has this state now.
    pub(super) fn put(&mut self, slot: usize, state: BlockState) {
        match self {
            Self::Page(bits) => bits.put(slot, state == BlockState::Used),
            Self::Few(bits) => bits.put(slot, state == BlockState::Used),
            Self::Many(tree) => _ = tree.insert(slot, state),
        }
    }

    /// None begins there any more: the one before it goes on.
    pub(super) fn remove(&mut self, slot: usize) {
        match self {
            Self::Page(bits) => bits.remove(slot),
            Self::Few(bits) => bits.remove(slot),
            Self::Many(tree) => _ = tree.remove(&slot),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Bits and tree are the same to whoever asks.
        #[test]
        fn bits_are_as_the_tree(
            slots in 1usize..400,
            changes in prop::collection::vec((any::<usize>(), 0u8..3), 0..200),
        ) {
            let (mut few, mut many) = (Blocks::Few(Bits::new(slots)), Blocks::Many(Box::default()));
            let mut page = Blocks::Page(Pair::new());
            for (slot, change) in changes {
                if slots <= 64 {
                    match change {
                        0 => page.remove(slot % slots),
                        1 => page.put(slot % slots, BlockState::Free),
                        _ => page.put(slot % slots, BlockState::Used),
                    }
                }
                for blocks in [&mut few, &mut many] {
                    match change {
                        0 => blocks.remove(slot % slots),
                        1 => blocks.put(slot % slots, BlockState::Free),
                        _ => blocks.put(slot % slots, BlockState::Used),
                    }
                }
            }
            for slot in 0..slots {
                prop_assert_eq!(few.at(slot), many.at(slot));
                prop_assert_eq!(few.around(slot), many.around(slot));
                prop_assert_eq!(few.before(slot), many.before(slot));
                prop_assert_eq!(few.after(slot), many.after(slot));
                if slots <= 64 {
                    prop_assert_eq!(page.at(slot), many.at(slot));
                    prop_assert_eq!(page.around(slot), many.around(slot));
                    prop_assert_eq!(page.before(slot), many.before(slot));
                    prop_assert_eq!(page.after(slot), many.after(slot));
                }
            }
        }
    }
}
