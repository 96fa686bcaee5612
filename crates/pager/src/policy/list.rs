//! Doubly linked lists of small numbers, in order of arrival.
//!
//! The links live in one table, indexed by the number, so that a list costs eight bytes
//! a member, a move touches neighbouring words only, and nothing is allocated once the
//! table has grown to the largest number. A number is in at most one of the lists that
//! share a table.

use crate::page::FrameNo;
use core::fmt;

/// No number.
pub(super) const NONE: u32 = u32::MAX;
/// In the place of a link: the number is in no list.
const OUT: u32 = u32::MAX - 1;
/// Room that is made beforehand, in numbers; beyond it the table grows with what it holds.
const ROOM: u32 = 1 << 20;

#[derive(Clone, Copy)]
struct Link {
    older: u32,
    newer: u32,
}

/// The links of all numbers.
pub(super) struct Links {
    table: Vec<Link>,
}

impl Links {
    /// Room for the numbers below `count`.
    pub(super) fn new(count: u32) -> Self {
        Self { table: Vec::with_capacity(count.min(ROOM) as usize) }
    }

    /// The next newer member of `number`'s list.
    pub(super) fn newer(&self, number: u32) -> Option<u32> {
        let newer = self.table[number as usize].newer;
        (newer != NONE).then_some(newer)
    }
}

/// One list. Its links are in a [`Links`] that every call is given.
#[derive(Clone, Copy)]
pub(super) struct List {
    oldest: u32,
    newest: u32,
    len: u32,
}

impl List {
    pub(super) const EMPTY: Self = Self { oldest: NONE, newest: NONE, len: 0 };

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// Adds `number`, which is in no list, as the newest.
    pub(super) fn push(&mut self, links: &mut Links, number: u32) {
        let index = number as usize;
        if index >= links.table.len() {
            links.table.resize(index + 1, Link { older: OUT, newer: OUT });
        }
        debug_assert!(links.table[index].older == OUT, "{number} is in a list already");
        links.table[index] = Link { older: self.newest, newer: NONE };
        match self.newest {
            NONE => self.oldest = number,
            newest => links.table[newest as usize].newer = number,
        }
        self.newest = number;
        self.len += 1;
    }

    /// Takes `number` out of this list, which it is in.
    pub(super) fn remove(&mut self, links: &mut Links, number: u32) {
        let Link { older, newer } = links.table[number as usize];
        assert!(older != OUT, "{number} is in no list");
        match older {
            NONE => self.oldest = newer,
            older => links.table[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => links.table[newer as usize].older = older,
        }
        links.table[number as usize] = Link { older: OUT, newer: OUT };
        self.len -= 1;
    }

    /// Makes `number`, a member, the newest.
    pub(super) fn renew(&mut self, links: &mut Links, number: u32) {
        if number != self.newest {
            self.remove(links, number);
            self.push(links, number);
        }
    }

    /// From the oldest to the newest.
    pub(super) fn iter<'a>(&self, links: &'a Links) -> impl Iterator<Item = u32> + use<'a> {
        core::iter::successors(self.oldest(), |number| links.newer(*number))
    }

    /// The oldest frame that may be taken.
    pub(super) fn oldest_of(&self, links: &Links, may: &mut dyn FnMut(FrameNo) -> bool) -> Option<u32> {
        self.iter(links).find(|frame| may(FrameNo(*frame)))
    }

    /// For `Debug`: the frames from the oldest to the newest, each with what `mark` says.
    pub(super) fn show(
        &self,
        links: &Links,
        f: &mut fmt::Formatter<'_>,
        name: &str,
        mark: impl Fn(u32) -> String,
    ) -> fmt::Result {
        write!(f, "{name} [")?;
        for (index, frame) in self.iter(links).enumerate() {
            let space = if index > 0 { " " } else { "" };
            write!(f, "{space}{:?}{}", FrameNo(frame), mark(frame))?;
        }
        f.write_str("]")
    }
}

/// [`List::show`] with nothing to say of a frame.
pub(super) fn plain(_: u32) -> String {
    String::new()
}

/// A table by frame that grows to the largest frame that was set.
pub(super) struct ByFrame<T> {
    table: Vec<T>,
    empty: T,
}

impl<T: Copy> ByFrame<T> {
    /// Room for the frames below `count`; `empty` is what is read of a frame that was not set.
    pub(super) fn new(count: u32, empty: T) -> Self {
        Self { table: Vec::with_capacity(count.min(ROOM) as usize), empty }
    }

    pub(super) fn set(&mut self, frame: FrameNo, value: T) {
        let index = frame.0 as usize;
        if index >= self.table.len() {
            self.table.resize(index + 1, self.empty);
        }
        self.table[index] = value;
    }

    pub(super) fn get(&self, frame: FrameNo) -> T {
        self.table.get(frame.0 as usize).copied().unwrap_or(self.empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(list: &List, links: &Links) -> Vec<u32> {
        list.iter(links).collect()
    }

    #[test]
    fn order_is_that_of_arrival() {
        let mut links = Links::new(4);
        let (mut one, mut two) = (List::EMPTY, List::EMPTY);
        (0..4).for_each(|n| one.push(&mut links, n));
        two.push(&mut links, 9);
        one.renew(&mut links, 1);
        one.renew(&mut links, 1);
        assert_eq!(members(&one, &links), [0, 2, 3, 1]);
        one.remove(&mut links, 0);
        one.remove(&mut links, 1);
        assert_eq!((members(&one, &links), one.len()), (vec![2, 3], 2));
        one.remove(&mut links, 2);
        one.remove(&mut links, 3);
        assert_eq!((one.oldest(), one.len()), (None, 0));
        assert_eq!(members(&two, &links), [9]);
    }

    #[test]
    #[should_panic(expected = "7 is in no list")]
    fn what_is_in_no_list_cannot_be_removed() {
        let mut links = Links::new(8);
        let mut list = List::EMPTY;
        (0..8).for_each(|n| list.push(&mut links, n));
        list.remove(&mut links, 7);
        list.remove(&mut links, 7);
    }
}
