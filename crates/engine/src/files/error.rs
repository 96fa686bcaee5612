//! Why a file cannot be mapped, or what is dirty not be written.

use core::error::Error;
use core::fmt::{self, Display, Formatter};
use rustix::io::Errno;

/// Why a file cannot be mapped. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// No bytes were asked for.
    Empty,
    /// The offset is no multiple of the page size.
    Offset {
        /// What it is.
        offset: u64,
    },
    /// The pages are not all the file's, whose last one may be a part of a page.
    PastEnd {
        /// Where the map would end.
        end: u64,
        /// Where the file ends.
        len: u64,
    },
    /// It is neither a file nor a block device.
    NotAFile,
    /// It was not opened for reading.
    NotReadable,
    /// It was not opened for reading and writing, and is to be changed.
    NotWritable,
    /// It was opened to be appended to, and cannot be opened otherwise.
    Append,
    /// So much more cannot be mapped at once in this heap.
    TooMuch {
        /// What was asked for, in bytes.
        bytes: u64,
    },
    /// The store has no room to promise that all of it may be changed.
    NoRoom {
        /// What was asked for, in bytes.
        bytes: u64,
    },
    /// The kernel refuses.
    Kernel(&'static str, Errno),
}

impl Display for MapError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a map of no bytes was asked for"),
            Self::Offset { offset } => {
                write!(f, "the offset {offset} is no multiple of the page size, {} bytes", crate::PAGE)
            }
            Self::PastEnd { end, len } => {
                write!(f, "the map would end at byte {end}, and the file has {len}: make it longer first")
            }
            Self::NotAFile => write!(f, "only files and block devices can be mapped"),
            Self::NotReadable => write!(f, "the file was not opened for reading, which a map needs"),
            Self::NotWritable => {
                write!(
                    f,
                    "the file was not opened for reading and writing, which a shared writable map needs"
                )
            }
            Self::Append => write!(f, "the file was opened to be appended to: open it without that"),
            Self::TooMuch { bytes } => {
                write!(
                    f,
                    "{bytes} bytes more cannot be mapped at once in one heap: map less, or use another heap"
                )
            }
            Self::NoRoom { bytes } => write!(
                f,
                "the store has no room to promise {bytes} bytes that may be changed: make it larger, or commit lazily"
            ),
            Self::Kernel(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl Error for MapError {}
