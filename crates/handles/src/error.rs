//! What can go wrong, one type for each kind of call.

use crate::handle::Handle;
use core::fmt;
use std::error::Error;
use std::io;

/// A handle that names no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandleError {
    /// Its block was freed.
    Stale(Handle),
    /// It was not given out by this heap.
    Foreign(Handle),
}

impl fmt::Display for HandleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale(handle) => write!(f, "the block of {handle:?} was freed already"),
            Self::Foreign(handle) => write!(f, "{handle:?} was not given out by this heap"),
        }
    }
}

impl Error for HandleError {}

/// The store failed. The page concerned is as it was, and the call may be tried again.
#[derive(Debug)]
pub enum StoreError {
    /// A page had to leave memory and could not be written; it is still in memory.
    Write {
        /// Where it was to go, in bytes.
        offset: u64,
        /// What the store said.
        error: io::Error,
    },
    /// A page could not be read.
    Read {
        /// Where it is, in bytes.
        offset: u64,
        /// What the store said.
        error: io::Error,
    },
    /// The store gave other bytes than it was given.
    Wrong {
        /// Where they are, in bytes.
        offset: u64,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { offset, error } => write!(
                f,
                "the page for offset {offset} of the store cannot be written: {error}; it stays in memory"
            ),
            Self::Read { offset, error } => {
                write!(f, "the page at offset {offset} of the store cannot be read: {error}")
            }
            Self::Wrong { offset } => {
                write!(f, "the page at offset {offset} of the store is not what was written there")
            }
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Write { error, .. } | Self::Read { error, .. } => Some(error),
            Self::Wrong { .. } => None,
        }
    }
}

/// Why there is no new block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocError {
    /// No bytes were asked for.
    Empty,
    /// The whole virtual space is smaller.
    TooLarge {
        /// Bytes that were asked for.
        size: usize,
        /// Bytes of the virtual space.
        most: usize,
    },
    /// The virtual space is used up. No fault: freeing makes room.
    Full {
        /// Pages that were asked for.
        wanted: usize,
        /// Pages that are free.
        free: usize,
    },
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a block has at least one byte"),
            Self::TooLarge { size, most } => {
                write!(f, "a block of {size} bytes is larger than the virtual space of {most}")
            }
            Self::Full { wanted, free } => {
                write!(f, "{wanted} pages are wanted and {free} of the virtual space are free")
            }
        }
    }
}

impl Error for AllocError {}

/// Why bytes were not read or written.
#[derive(Debug)]
pub enum AccessError {
    /// There is no such block.
    Handle(HandleError),
    /// The bytes are not all in the block. None were read or written.
    OutOfBounds {
        /// The first byte.
        offset: usize,
        /// How many bytes.
        len: usize,
        /// Bytes of the block.
        size: usize,
    },
    /// The store failed. Bytes are read and written page by page: those of the pages before
    /// the one that failed have been, those from there on have not.
    Store(StoreError),
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handle(error) => error.fmt(f),
            Self::OutOfBounds { offset, len, size } => {
                write!(f, "{len} bytes at offset {offset} are not all in a block of {size}")
            }
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl Error for AccessError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Handle(error) => Some(error),
            Self::OutOfBounds { .. } => None,
            Self::Store(error) => Some(error),
        }
    }
}

impl From<HandleError> for AccessError {
    fn from(error: HandleError) -> Self {
        Self::Handle(error)
    }
}

impl From<StoreError> for AccessError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Why a block has no address now. Nothing is pinned that was not before.
#[derive(Debug)]
pub enum PinError {
    /// There is no such block.
    Handle(HandleError),
    /// The block has more pages than there are frames: use reads and writes.
    TooLarge {
        /// Pages of the block.
        pages: usize,
        /// Frames there are.
        frames: usize,
    },
    /// Too many frames are pinned, and waiting would be for ever: whoever holds a pin is this
    /// thread, or waits for pins itself.
    Deadlock {
        /// Pages of the block.
        pages: usize,
        /// Frames that are not pinned.
        free: usize,
    },
    /// The store failed.
    Store(StoreError),
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handle(error) => error.fmt(f),
            Self::TooLarge { pages, frames } => {
                write!(
                    f,
                    "a block of {pages} pages cannot be pinned in {frames} frames; read and write it instead"
                )
            }
            Self::Deadlock { pages, free } => write!(
                f,
                "a pin of {pages} pages finds {free} frames that are not pinned, and no thread is left that could \
                 release others; release some"
            ),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl Error for PinError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Handle(error) => Some(error),
            Self::TooLarge { .. } | Self::Deadlock { .. } => None,
            Self::Store(error) => Some(error),
        }
    }
}

impl From<HandleError> for PinError {
    fn from(error: HandleError) -> Self {
        Self::Handle(error)
    }
}

impl From<StoreError> for PinError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Why a block was not freed, or not released. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseError {
    /// There is no such block.
    Handle(HandleError),
    /// It is pinned, and cannot be freed before it is released.
    Pinned(Handle),
    /// It is not pinned, and cannot be released.
    NotPinned(Handle),
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handle(error) => error.fmt(f),
            Self::Pinned(handle) => {
                write!(f, "the block of {handle:?} is pinned; release it before it is freed")
            }
            Self::NotPinned(handle) => write!(f, "the block of {handle:?} is not pinned"),
        }
    }
}

impl Error for ReleaseError {}

impl From<HandleError> for ReleaseError {
    fn from(error: HandleError) -> Self {
        Self::Handle(error)
    }
}
