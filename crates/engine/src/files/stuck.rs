//! Parked pages that cannot leave, because what they go home to takes nothing.

/// How many there are, as of the last time that all parked pages were looked at: they are looked
/// at in turn.
#[derive(Debug, Default)]
pub(crate) struct Stuck {
    pages: u32,
    /// Of the turn under way: how many were refused, and how many are still to be looked at.
    refused: u32,
    left: u32,
}

impl Stuck {
    pub(crate) fn pages(&self) -> u32 {
        self.pages
    }

    /// So many have been looked at, of which so many were refused; so many are parked now.
    pub(crate) fn looked(&mut self, looked: u32, refused: u32, parked: u32) {
        self.refused += refused;
        self.left = self.left.saturating_sub(looked);
        if self.left == 0 {
            (self.pages, self.refused, self.left) = (self.refused, 0, parked);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_counted_a_turn_at_a_time() {
        let mut stuck = Stuck::default();
        stuck.looked(10, 0, 100);
        (0..5).for_each(|_| stuck.looked(20, 15, 100));
        assert_eq!(stuck.pages(), 75);
        (0..4).for_each(|_| stuck.looked(20, 0, 100));
        assert_eq!(stuck.pages(), 75);
        stuck.looked(20, 0, 100);
        assert_eq!(stuck.pages(), 0);
    }
}
