//! Processes: how they begin, take turns and end.

use super::Machine;
use crate::disk::Direction;
use crate::mmu::PageTable;
use pager::WriteResult;
use pager::space::{CommitError, Dirty, MapError, SpaceNo};
use pager::{PageNo, PageRange};
use std::fmt;

/// No process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoProcess;

/// Why an operation was not done. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineError {
    /// No process runs.
    NoProcess,
    /// There is no process with this number.
    UnknownPid(u32),
    /// There is one already.
    UsedPid(u32),
    /// The store could not hold it.
    Commit(CommitError),
    /// The area cannot be had.
    Map(MapError),
    /// The address is not a page's first.
    Unaligned(u64),
    /// The offset in the file is not a block's first byte.
    Offset(u64),
    /// The range wraps around in the file, or goes past the largest offset that there is.
    PastFile {
        /// Where it begins in the file, in bytes.
        offset: u64,
        /// Bytes that were asked for.
        len: u64,
    },
    /// The file cannot be opened.
    BadFile,
    /// The name could not be read: it leaves the arena's valid pages, or a transfer failed.
    BadName,
    /// Not every dirty page could be written; those that were not are dirty.
    Unwritten,
}

impl From<NoProcess> for MachineError {
    fn from(_: NoProcess) -> Self {
        Self::NoProcess
    }
}

impl From<MapError> for MachineError {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

impl fmt::Display for MachineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProcess => f.write_str("no process runs"),
            Self::UnknownPid(pid) => write!(f, "there is no process {pid}"),
            Self::UsedPid(pid) => write!(f, "there is a process {pid} already"),
            Self::Commit(error) => error.fmt(f),
            Self::Map(error) => error.fmt(f),
            Self::Unaligned(addr) => write!(f, "{addr:#x} is not the first address of a page"),
            Self::Offset(offset) => write!(f, "offset {offset} is not a multiple of the page size"),
            Self::PastFile { offset, len } => {
                write!(f, "{len} bytes from offset {offset} go past the largest offset, {}", i64::MAX)
            }
            Self::BadFile => f.write_str("the file cannot be opened"),
            Self::BadName => f.write_str("the name cannot be read"),
            Self::Unwritten => f.write_str("dirty pages could not be written"),
        }
    }
}

/// All pages.
const EVERYTHING: PageRange = PageRange { start: PageNo(0), count: u64::MAX };

impl Machine {
    /// A process: a copy of `parent` if there is one, else with an empty arena. It does not run.
    ///
    /// # Errors
    /// [`MachineError::UsedPid`], and [`MachineError::Commit`] where the copy needs more slots
    /// than are free.
    pub fn create(&mut self, parent: u32, child: u32) -> Result<(), MachineError> {
        let (parent, child) = (SpaceNo(parent), SpaceNo(child));
        if self.spaces.has(child) {
            return Err(MachineError::UsedPid(child.0));
        }
        if self.spaces.has(parent) {
            self.spaces.fork(parent, child).map_err(MachineError::Commit)?;
        } else {
            self.spaces.create(child);
        }
        self.tables.insert(child, PageTable::default());
        self.install();
        Ok(())
    }

    /// The process that runs from now on.
    ///
    /// # Errors
    /// [`MachineError::UnknownPid`].
    pub fn switch(&mut self, pid: u32) -> Result<(), MachineError> {
        if !self.spaces.has(SpaceNo(pid)) {
            return Err(MachineError::UnknownPid(pid));
        }
        self.current = Some(SpaceNo(pid));
        Ok(())
    }

    /// The current process ends. Dirty pages of the files it mapped are written, if that is when
    /// they are; what could not be written stays in memory, dirty.
    ///
    /// # Errors
    /// [`NoProcess`].
    pub fn destroy(&mut self) -> Result<(), NoProcess> {
        self.current.ok_or(NoProcess)?;
        self.kill();
        Ok(())
    }

    /// [`Self::destroy`] of a process that runs.
    pub(super) fn kill(&mut self) {
        let Some(space) = self.current.take() else { return };
        self.write_back(space, EVERYTHING);
        self.spaces.destroy(space);
        self.tables.remove(&space);
        self.install();
        self.close_unused();
    }

    /// Writes what is to be written before a range goes.
    pub(super) fn write_back(&mut self, space: SpaceNo, range: PageRange) {
        if self.writes_at_exit() {
            // What fails stays dirty, and is tried again at eviction.
            let _ = self.sync(space, range, Dirty::Mappings);
        }
    }

    /// Writes dirty pages of shared files, which stay in memory. False: not all were written.
    pub(super) fn sync(&mut self, space: SpaceNo, range: PageRange, which: Dirty) -> bool {
        let mut all = true;
        for page in self.spaces.dirty_pages(space, range, which) {
            // Two pages of the range may be the same block.
            let Some(transfer) = self.spaces.begin_sync(space, page) else { continue };
            let result = self.transfer(Direction::Write, transfer);
            all &= result.is_ok();
            let done = if result.is_ok() { WriteResult::Done } else { WriteResult::Failed };
            self.spaces.sync_done(transfer.frame, done);
        }
        self.install();
        all
    }

    /// Closes files that nobody maps and of which nothing is in memory.
    pub(super) fn close_unused(&mut self) {
        for file in self.files.all() {
            if !self.spaces.uses_file(file) {
                self.files.close(file);
            }
        }
    }
}
