//! From page numbers to small numbers: a hash table that is fast and always the same.
//!
//! Open addressing with linear probing; a removal moves later members back, so that no
//! tombstones are left. Sixteen bytes a place, at most three places in four are used.
//! The hash is fixed, because the core has no randomness: page numbers that were chosen
//! to collide make it as slow as a list, and never wrong.

/// The value of a place that is free.
const FREE: u32 = u32::MAX;
const FEWEST: usize = 16;

/// Small numbers (any but `u32::MAX`) by page number.
#[derive(Clone, Debug)]
pub struct PageMap {
    /// A power of two of places.
    places: Vec<(u64, u32)>,
    len: usize,
    shift: u32,
}

impl Default for PageMap {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl PageMap {
    /// An empty map that holds `pages` pages before it allocates again.
    pub fn with_capacity(pages: usize) -> Self {
        let places = (pages + pages / 2).next_power_of_two().max(FEWEST);
        Self { places: vec![(0, FREE); places], len: 0, shift: 64 - places.trailing_zeros() }
    }

    /// Pages in the map.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the search for `page` starts. The multiplier is that of Steele and Vigna,
    /// "Computationally easy, spectrally good multipliers" (2021), for 64 bits; the
    /// upper half is folded in before, so that regular strides of any size spread.
    fn home(&self, page: u64) -> usize {
        ((page ^ (page >> 32)).wrapping_mul(0xd134_2543_de82_ef95) >> self.shift) as usize
    }

    /// The place of `page`, or the free one where it belongs.
    fn find(&self, page: u64) -> usize {
        let mask = self.places.len() - 1;
        let mut place = self.home(page);
        while self.places[place].1 != FREE && self.places[place].0 != page {
            place = (place + 1) & mask;
        }
        place
    }

    /// The number of `page`.
    pub fn get(&self, page: u64) -> Option<u32> {
        let (_, number) = self.places[self.find(page)];
        (number != FREE).then_some(number)
    }

    /// The number of `page`, which is `number` from now on if it had none.
    ///
    /// # Panics
    /// If `number` is `u32::MAX`.
    pub fn get_or_insert(&mut self, page: u64, number: u32) -> u32 {
        assert!(number != FREE, "{number} stands for no number");
        let place = self.find(page);
        if self.places[place].1 != FREE {
            return self.places[place].1;
        }
        self.places[place] = (page, number);
        self.len += 1;
        if self.len > self.places.len() / 4 * 3 {
            self.grow();
        }
        number
    }

    /// Gives `page` the number `number`, whatever it had.
    ///
    /// # Panics
    /// If `number` is `u32::MAX`.
    pub fn insert(&mut self, page: u64, number: u32) {
        if self.get_or_insert(page, number) != number {
            let place = self.find(page);
            self.places[place].1 = number;
        }
    }

    /// Takes `page` out and gives its number.
    pub fn remove(&mut self, page: u64) -> Option<u32> {
        let mask = self.places.len() - 1;
        let mut hole = self.find(page);
        let (_, number) = self.places[hole];
        if number == FREE {
            return None;
        }
        self.len -= 1;
        let mut place = hole;
        loop {
            place = (place + 1) & mask;
            let (other, value) = self.places[place];
            if value == FREE {
                break;
            }
            // A member may move back to the hole unless its search starts after it.
            let from_home = place.wrapping_sub(self.home(other)) & mask;
            let from_hole = place.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                self.places[hole] = (other, value);
                hole = place;
            }
        }
        self.places[hole] = (0, FREE);
        Some(number)
    }

    fn grow(&mut self) {
        let doubled = vec![(0, FREE); self.places.len() * 2];
        let before = core::mem::replace(&mut self.places, doubled);
        self.shift -= 1;
        for (page, number) in before {
            if number != FREE {
                let place = self.find(page);
                self.places[place] = (page, number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Few pages that share their low or their high bits, so that they meet.
        #[test]
        fn does_what_an_ordered_map_does(
            steps in prop::collection::vec((0..4u8, 0..40u64, prop::bool::ANY, 0..1000u32), 0..600),
        ) {
            let (mut map, mut plain) = (PageMap::default(), BTreeMap::new());
            for (step, page, high, number) in steps {
                let page = if high { u64::MAX - (page << 40) } else { page };
                match step {
                    0 => { prop_assert_eq!(map.remove(page), plain.remove(&page)); }
                    1 => {
                        let had = *plain.entry(page).or_insert(number);
                        prop_assert_eq!(map.get_or_insert(page, number), had);
                    }
                    2 => {
                        map.insert(page, number);
                        plain.insert(page, number);
                    }
                    _ => { prop_assert_eq!(map.get(page), plain.get(&page).copied()); }
                }
                prop_assert_eq!(map.len(), plain.len());
            }
            for (page, number) in plain {
                prop_assert_eq!(map.get(page), Some(number));
            }
        }
    }

    #[test]
    fn strides_of_any_size_are_spread() {
        for shift in 0..48 {
            let mut map = PageMap::default();
            (0..4096u32).for_each(|n| map.insert(u64::from(n) << shift, n));
            let mask = map.places.len() - 1;
            let away = |place: usize, page: u64| place.wrapping_sub(map.home(page)) & mask;
            let worst = map.places.iter().enumerate().filter(|(_, (_, n))| *n != FREE);
            let worst = worst.map(|(place, (page, _))| away(place, *page)).max();
            assert!(worst < Some(400), "stride 2^{shift}: {worst:?} places from home");
        }
    }
}
