//! A family's free blocks, by their size.

use core::cmp::Reverse;
use std::collections::BTreeSet;

/// Which free block a request is taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The one with the most room, so that what remains is as useful as can be.
    #[default]
    MostRoom,
    /// The smallest that has room.
    BestFit,
}

/// Free blocks ordered by length, meta block included; of equals, the lowest address
/// counts as the longest. Every operation is O(log n).
#[derive(Debug, Default)]
pub(super) struct FreeIndex {
    blocks: BTreeSet<(usize, Reverse<usize>)>,
}

impl FreeIndex {
    pub(super) fn insert(&mut self, len: usize, address: usize) {
        let new = self.blocks.insert((len, Reverse(address)));
        debug_assert!(new, "a block becomes free once");
    }

    pub(super) fn remove(&mut self, len: usize, address: usize) {
        let was = self.blocks.remove(&(len, Reverse(address)));
        debug_assert!(was, "free blocks are in the index");
    }

    pub(super) fn contains(&self, len: usize, address: usize) -> bool {
        self.blocks.contains(&(len, Reverse(address)))
    }

    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Length and address of a block of at least `len` bytes.
    pub(super) fn choose(&self, len: usize, choice: Choice) -> Option<(usize, usize)> {
        let (found, Reverse(address)) = match choice {
            Choice::MostRoom => self.blocks.last().filter(|(longest, _)| *longest >= len)?,
            // Of equals the last has the lowest address.
            Choice::BestFit => {
                let (shortest, _) = self.blocks.range((len, Reverse(usize::MAX))..).next()?;
                self.blocks.range(..=(*shortest, Reverse(0))).next_back()?
            }
        };
        Some((*found, *address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_is_at_the_head_and_the_lowest_of_equals() {
        let mut index = FreeIndex::default();
        for (len, address) in [(100, 5), (300, 9), (300, 7), (200, 1), (200, 3)] {
            index.insert(len, address);
        }
        assert_eq!(index.choose(1, Choice::MostRoom), Some((300, 7)));
        assert_eq!(index.choose(301, Choice::MostRoom), None);
        assert_eq!(index.choose(150, Choice::BestFit), Some((200, 1)));
        assert_eq!(index.choose(200, Choice::BestFit), Some((200, 1)));
        assert_eq!(index.choose(301, Choice::BestFit), None);
        index.remove(300, 7);
        assert_eq!(index.choose(1, Choice::MostRoom), Some((300, 9)));
        assert!(index.contains(300, 9) && !index.contains(300, 7) && index.len() == 4);
    }
}
