//! The shared page in which the processes of a run keep their numbers.

use crate::kernel::shared_status_page;
use crate::trouble::Trouble;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use sys::status::{MAGIC, MAX_RECORDS, Phase, Record, StatusPage};

/// The supervisor's end of the status page.
pub(crate) struct Status {
    fd: OwnedFd,
    page: &'static StatusPage,
}

impl Status {
    /// Makes an empty page.
    ///
    /// # Errors
    /// The kernel has no memory or descriptor for it.
    pub(crate) fn create() -> Result<Self, Trouble> {
        let (fd, page) = shared_status_page()
            .map_err(|error| Trouble::own(format!("cannot make the shared status page: {error}")))?;
        page.magic.store(MAGIC, Relaxed);
        Ok(Self { fd, page })
    }

    /// Where other processes open it.
    pub(crate) fn path(&self) -> PathBuf {
        descriptor_path(self.fd.as_raw_fd())
    }

    /// The processes that loaded the library, in the order in which they started.
    pub(crate) fn records(&self) -> impl Iterator<Item = &'static Record> + use<> {
        self.watcher().records().filter(|record| record.heap.load(Relaxed) == 0)
    }

    /// The same for another thread.
    pub(crate) fn watcher(&self) -> Watcher {
        Watcher { page: self.page }
    }

    /// Processes that found no room on the page.
    pub(crate) fn unreported(&self) -> u64 {
        self.page.claimed.load(Relaxed).saturating_sub(MAX_RECORDS as u64)
    }
}

/// Looks at a status page.
#[derive(Clone, Copy)]
pub(crate) struct Watcher {
    page: &'static StatusPage,
}

impl Watcher {
    /// Whoever made the page, its processes are looked at.
    pub(crate) fn of(page: &'static StatusPage) -> Self {
        Self { page }
    }

    /// All records that were ever taken, in the order of the page: those of heaps that have ended, too.
    pub(crate) fn taken(self) -> &'static [Record] {
        let claimed = usize::try_from(self.page.claimed.load(Relaxed)).unwrap_or(MAX_RECORDS);
        &self.page.records[..claimed.min(MAX_RECORDS)]
    }

    /// The processes that loaded the library, and their heaps, in the order in which they started.
    pub(crate) fn records(self) -> impl Iterator<Item = &'static Record> + use<> {
        self.taken().iter().filter(|record| phase(record) != Phase::Free)
    }
}

/// How others reach one of our descriptors by name.
pub(crate) fn descriptor_path(fd: i32) -> PathBuf {
    format!("/proc/{}/fd/{fd}", std::process::id()).into()
}

/// What the process of `record` was doing when it last said so.
pub(crate) fn phase(record: &Record) -> Phase {
    Phase::from_raw(record.phase.load(Relaxed))
}
