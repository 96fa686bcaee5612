//! What can go wrong with an image.

use core::fmt;
use std::error::Error;
use std::io;

/// Why an image, or a page of it, cannot be had.
#[derive(Debug)]
pub enum ImageError {
    /// The system could not open or read the file.
    Io(io::Error),
    /// It does not begin as an image does.
    NotAnImage,
    /// It is an image of a version that this one does not know.
    Version {
        /// The version that the file says.
        found: u32,
    },
    /// The file ends before the image does.
    Truncated {
        /// Bytes that the image has.
        expected: u64,
        /// Bytes that the file has.
        found: u64,
    },
    /// A block is not what was written.
    Corrupt {
        /// What the block should be.
        block: &'static str,
        /// Where it is, in bytes.
        offset: u64,
    },
    /// The image has no such page.
    OutOfRange {
        /// The page asked for.
        page: u64,
        /// How many the image has.
        pages: u64,
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the image cannot be read: {error}"),
            Self::NotAnImage => f.write_str("this is not an image of Outcore's: it does not begin as one"),
            Self::Version { found } => {
                write!(
                    f,
                    "the image has version {found}; this Outcore reads version {}",
                    crate::header::VERSION
                )
            }
            Self::Truncated { expected, found } => {
                write!(f, "the image is cut short: it has {expected} bytes, the file {found}")
            }
            Self::Corrupt { block, offset } => write!(
                f,
                "the image is damaged: {block} at byte {offset} is not what was written; \
                 take it from a backup, or save it again"
            ),
            Self::OutOfRange { page, pages } => {
                write!(f, "page {page} is not in the image, which has {pages}")
            }
        }
    }
}

impl Error for ImageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for ImageError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Why an image could not be saved. What had its name before is untouched.
#[derive(Debug)]
pub enum SaveError {
    /// The system could not write it.
    Io(io::Error),
    /// A page came after one with the same number or a larger one.
    Order {
        /// The page.
        page: u64,
        /// The one before it.
        before: u64,
    },
    /// The image would have more pages than one can have, or fewer than it was given.
    Pages {
        /// The number asked for.
        pages: u64,
    },
}

impl fmt::Display for SaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => {
                write!(f, "the image cannot be saved: {error}; what was there before is unchanged")
            }
            Self::Order { page, before } => {
                write!(
                    f,
                    "page {page} was given after page {before}: pages of an image come in ascending order"
                )
            }
            Self::Pages { pages } => {
                write!(
                    f,
                    "an image of {pages} pages cannot hold what it was given, or is larger than one can be"
                )
            }
        }
    }
}

impl Error for SaveError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for SaveError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
