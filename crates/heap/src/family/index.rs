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

/// A length, meta block included, and an address; of equal lengths, the lowest address
/// counts as the longest.
type Key = (usize, Reverse<usize>);

/// Free blocks ordered by length. Every operation is O(log n); none is needed while a
/// family takes one object after the other from the block at the head.
#[derive(Debug, Default)]
pub(super) struct FreeIndex {
    /// The longest, unless it has just been removed.
    head: Option<Key>,
    /// The others.
    rest: BTreeSet<Key>,
}

impl FreeIndex {
    pub(super) fn insert(&mut self, len: usize, address: usize) {
        let new = (len, Reverse(address));
        let longest = self.head.as_ref().or(self.rest.last());
        if longest.is_none_or(|longest| *longest < new) {
            self.rest.extend(self.head.replace(new));
        } else {
            let inserted = self.rest.insert(new);
            debug_assert!(inserted, "a block becomes free once");
        }
    }

    pub(super) fn remove(&mut self, len: usize, address: usize) {
        let old = (len, Reverse(address));
        if self.head == Some(old) {
            self.head = None;
        } else {
            let removed = self.rest.remove(&old);
            debug_assert!(removed, "free blocks are in the index");
        }
    }

    pub(super) fn contains(&self, len: usize, address: usize) -> bool {
        let key = (len, Reverse(address));
        self.head == Some(key) || self.rest.contains(&key)
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len() + usize::from(self.head.is_some())
    }

    /// Length and address of a block of at least `len` bytes.
    pub(super) fn choose(&mut self, len: usize, choice: Choice) -> Option<(usize, usize)> {
        if self.head.is_none() {
            self.head = self.rest.pop_last();
        }
        let head = self.head.filter(|(longest, _)| *longest >= len)?;
        let (found, Reverse(address)) = match choice {
            Choice::MostRoom => head,
            Choice::BestFit => self.shortest(len).unwrap_or(head),
        };
        Some((found, address))
    }

    /// The shortest of at least `len` bytes, if it is shorter than the head.
    fn shortest(&self, len: usize) -> Option<Key> {
        let (shortest, _) = self.rest.range((len, Reverse(usize::MAX))..).next()?;
        let lowest = self.rest.range(..=(*shortest, Reverse(0))).next_back().copied();
        lowest.filter(|_| self.head.is_none_or(|(longest, _)| *shortest < longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever has come and gone, the choice is that of a plain list.
        #[test]
        fn the_longest_is_at_the_head_and_the_lowest_of_equals(
            changes in prop::collection::vec((1usize..9, 0usize..20, any::<bool>(), 1usize..10), 1..200),
        ) {
            let (mut index, mut plain) = (FreeIndex::default(), BTreeSet::new());
            for (len, address, looks, wanted) in changes {
                if plain.remove(&(len, address)) {
                    index.remove(len, address);
                } else {
                    plain.insert((len, address));
                    index.insert(len, address);
                }
                prop_assert_eq!(index.len(), plain.len());
                prop_assert!(plain.iter().all(|(len, address)| index.contains(*len, *address)));
                if !looks {
                    continue;
                }
                let fits = || plain.iter().copied().filter(|(len, _)| *len >= wanted);
                let most = fits().max_by_key(|(len, address)| (*len, Reverse(*address)));
                prop_assert_eq!(index.choose(wanted, Choice::MostRoom), most);
                prop_assert_eq!(index.choose(wanted, Choice::BestFit), fits().min());
            }
        }
    }
}
