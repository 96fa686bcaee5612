//! The ledger of a run: one budget for all its processes.

use crate::status::descriptor_path;
use crate::trouble::Trouble;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

/// The supervisor's end of the ledger.
pub(crate) struct Ledger {
    fd: OwnedFd,
    ledger: &'static sys::ledger::Ledger,
}

impl Ledger {
    /// Makes one for `budget` bytes.
    ///
    /// # Errors
    /// The kernel has no memory or descriptor for it.
    pub(crate) fn create(budget: u64) -> Result<Self, Trouble> {
        let (fd, ledger) = sys::ledger::Ledger::create(budget)
            .map_err(|error| Trouble::own(format!("cannot make the shared ledger: {error}")))?;
        Ok(Self { fd, ledger })
    }

    /// The ledger itself.
    pub(crate) fn ledger(&self) -> &'static sys::ledger::Ledger {
        self.ledger
    }

    /// Where other processes open it.
    pub(crate) fn path(&self) -> PathBuf {
        descriptor_path(self.fd.as_raw_fd())
    }

    /// The program has ended, and so will its supervisor: nothing to tell of to processes that go on.
    pub(crate) fn dismiss(&self) {
        self.ledger.dismiss_supervisor();
    }
}
