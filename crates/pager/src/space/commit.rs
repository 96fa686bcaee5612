//! Commit accounting: a promise that cannot be kept is not made.

use super::Spaces;
use crate::pager::Commit;
use core::fmt;

/// Memory was asked for that the store could not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitError {
    /// Slots that were wanted.
    pub wanted: u64,
    /// Slots that are neither used nor promised.
    pub free: u64,
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "swap slots wanted: {}, free: {}", self.wanted, self.free)
    }
}

impl Spaces {
    /// Slots that are neither used nor promised; without strict commit, those that are not used.
    pub fn slots_free(&self) -> u64 {
        let slots = u64::from(self.config.slots);
        match self.config.commit {
            Commit::Strict => slots - self.reserved,
            Commit::Lazy => slots - u64::from(self.pager.slots_used()),
        }
    }

    /// Slots that are promised, under strict commit.
    pub fn slots_reserved(&self) -> u64 {
        self.reserved
    }

    /// Whether `pages` could be promised after `returned` were given back.
    pub(super) fn check_commit(&self, pages: u64, returned: u64) -> Result<(), CommitError> {
        let free = self.slots_free() + returned;
        if self.config.commit == Commit::Strict && pages > free {
            return Err(CommitError { wanted: pages, free });
        }
        Ok(())
    }

    /// Promises `pages`.
    pub(super) fn charge(&mut self, pages: u64) -> Result<(), CommitError> {
        self.check_commit(pages, 0)?;
        if self.config.commit == Commit::Strict {
            self.reserved += pages;
        }
        Ok(())
    }

    pub(super) fn uncharge(&mut self, pages: u64) {
        if self.config.commit == Commit::Strict {
            self.reserved -= pages;
        }
    }
}
