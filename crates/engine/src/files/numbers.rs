//! Numbers of homes, which are given out in rows.

/// Which are free.
#[derive(Debug)]
pub(crate) struct Numbers {
    /// In order, and none next to another.
    free: Vec<(u32, u32)>,
}

impl Numbers {
    /// So many, without the first: it follows the last slot, and in a window the last place of the pool.
    pub(crate) fn new(count: u32) -> Self {
        Self { free: vec![(1, count - 1)] }
    }

    /// Numbers in a row. The one after them is nobody's, so that what is read ahead of a
    /// file's end is not the next file.
    pub(crate) fn take(&mut self, count: u64) -> Option<u32> {
        let count = u32::try_from(count + 1).ok()?;
        let index = self.free.iter().position(|(_, free)| *free >= count)?;
        let (first, free) = self.free[index];
        if free == count {
            self.free.remove(index);
        } else {
            self.free[index] = (first + count, free - count);
        }
        Some(first)
    }

    pub(crate) fn give_back(&mut self, first: u32, count: u64) {
        let count = count as u32 + 1;
        let at = self.free.partition_point(|(start, _)| *start < first);
        self.free.insert(at, (first, count));
        if let Some((next, more)) = self.free.get(at + 1).copied()
            && next == first + count
        {
            self.free[at].1 += more;
            self.free.remove(at + 1);
        }
        if let Some((before, len)) = at.checked_sub(1).map(|before| self.free[before])
            && before + len == first
        {
            self.free[at - 1].1 += self.free[at].1;
            self.free.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_grow_together_again() {
        let mut numbers = Numbers::new(1 << 18);
        let whole = numbers.free.clone();
        let [a, b, c] = [10, 20, 30].map(|count| numbers.take(count).expect("room"));
        assert_eq!((a, b, c), (1, 12, 33));
        numbers.give_back(b, 20);
        assert_eq!((numbers.take(15), numbers.take(6)), (Some(12), Some(64)));
        numbers.give_back(12, 15);
        numbers.give_back(a, 10);
        numbers.give_back(64, 6);
        numbers.give_back(c, 30);
        assert_eq!(numbers.free, whole);
        assert_eq!(numbers.take(1 << 18), None);
    }
}
