//! What cannot be done with mapped files.

use core::error::Error;
use core::fmt::{self, Display, Formatter};
use engine::MapError;
use std::io;

/// What cannot be done with a mapped file.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be mapped.
    Map(MapError),
    /// How long it is is not known.
    Length(io::Error),
    /// There are as many maps, heaps and arenas as there may be.
    TooMany(String),
    /// A range past the end of the map.
    OutOfRange {
        /// Where it begins, in bytes.
        start: usize,
        /// Where it ends.
        end: usize,
        /// How long the map is.
        len: usize,
    },
    /// The map is only read.
    ReadOnly,
    /// What is dirty could not all be written.
    WriteBack(io::Error),
    /// More than half of the budget would be pinned.
    TooMuchPinned {
        /// What was to be pinned, in bytes.
        bytes: usize,
    },
    /// This is a forked child, which has not the maps of its parent.
    Forked,
}

impl Display for FileError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(error) => write!(f, "{error}"),
            Self::Length(error) => write!(f, "the file's length cannot be had: {error}"),
            Self::TooMany(text) => f.write_str(text),
            Self::OutOfRange { start, end, len } => {
                write!(f, "bytes {start}..{end} are not all of the map, which has {len}")
            }
            Self::ReadOnly => {
                write!(f, "the map is only read: map the file shared or private to write to it")
            }
            Self::WriteBack(error) => {
                write!(f, "what was changed could not all be written back: {error}")
            }
            Self::TooMuchPinned { bytes } => {
                write!(f, "{bytes} bytes more would pin more than half of the heap's budget")
            }
            Self::Forked => write!(f, "a forked child has not its parent's maps: map the file in the child"),
        }
    }
}

impl Error for FileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Map(error) => Some(error),
            Self::Length(error) | Self::WriteBack(error) => Some(error),
            _ => None,
        }
    }
}
