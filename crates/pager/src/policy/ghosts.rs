//! Pages that have left, remembered in the order in which they did, up to a number.

use super::list::{Links, List};
use crate::pagemap::PageMap;

/// A queue of page numbers with O(1) look-up.
pub(super) struct Ghosts {
    most: u32,
    /// Places by page.
    places: PageMap,
    pages: Vec<u64>,
    free: Vec<u32>,
    links: Links,
    order: List,
}

/// Room that is made beforehand.
const ROOM: u32 = 1 << 20;

impl Ghosts {
    /// Remembers at most `most` pages, and one more for a moment.
    pub(super) fn new(most: u32) -> Self {
        let room = most.saturating_add(1).min(ROOM);
        Self {
            most,
            // The table is written when it is made: it starts small and grows.
            places: PageMap::default(),
            pages: Vec::with_capacity(room as usize),
            free: Vec::with_capacity(room as usize),
            links: Links::new(room),
            order: List::EMPTY,
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.order.len()
    }

    pub(super) fn contains(&self, page: u64) -> bool {
        self.places.get(page).is_some()
    }

    /// Remembers `page` as the newest; forgets the oldest if these are too many.
    pub(super) fn push(&mut self, page: u64) {
        self.take(page);
        let place = self.free.pop().unwrap_or_else(|| {
            self.pages.push(0);
            (self.pages.len() - 1) as u32
        });
        self.pages[place as usize] = page;
        self.places.insert(page, place);
        self.order.push(&mut self.links, place);
        if self.len() > self.most {
            self.forget_oldest();
        }
    }

    /// Forgets `page`; whether it was remembered.
    pub(super) fn take(&mut self, page: u64) -> bool {
        let Some(place) = self.places.remove(page) else { return false };
        self.order.remove(&mut self.links, place);
        self.free.push(place);
        true
    }

    /// Forgets the page that left first.
    pub(super) fn forget_oldest(&mut self) {
        if let Some(place) = self.order.oldest() {
            self.take(self.pages[place as usize]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut ghosts = Ghosts::new(3);
        [7, 8, 9, 7, u64::MAX].into_iter().for_each(|page| ghosts.push(page));
        let known = |ghosts: &Ghosts| [7, 8, 9, u64::MAX].map(|page| ghosts.contains(page));
        assert_eq!(known(&ghosts), [true, false, true, true]);
        assert!(ghosts.take(7) && !ghosts.take(7));
        ghosts.forget_oldest();
        assert_eq!((known(&ghosts), ghosts.len()), ([false, false, false, true], 1));
        let mut none = Ghosts::new(0);
        none.push(1);
        assert_eq!(none.len(), 0);
    }
}
