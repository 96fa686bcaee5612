//! What can go wrong, with the numbers that a person needs.

use core::error::Error;
use core::fmt::{self, Display, Formatter};

/// The longest name of a family, in bytes.
pub(super) const LONGEST_NAME: usize = 255;

/// Why a heap cannot be made with such options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionsError {
    /// The textbook layout has pages of 4096 or 8192 bytes.
    PageSize {
        /// What was asked for.
        page_size: usize,
    },
    /// The textbook layout has meta blocks of 28 or 48 bytes.
    MetaSize {
        /// What was asked for.
        meta_size: usize,
    },
}

/// Why a family was not registered. Nothing has been changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterError {
    /// The name has no byte.
    EmptyName,
    /// The name has more than 255 bytes.
    LongName {
        /// Its length.
        bytes: usize,
    },
    /// There is a family of this name.
    Duplicate {
        /// The name.
        name: Box<str>,
    },
    /// Objects without a byte cannot be told apart.
    ZeroSize,
    /// An object would not fit the longest run of pages.
    TooLarge {
        /// Bytes of the object.
        size: usize,
        /// What an object may have.
        largest: usize,
    },
    /// The alignment is not a power of two that divides the size.
    NotAnAlignment {
        /// What was asked for.
        align: usize,
        /// Bytes of the object.
        size: usize,
    },
    /// Behind meta blocks in the page, objects cannot be aligned so.
    Alignment {
        /// What the type needs.
        align: usize,
        /// What the layout gives.
        given: usize,
        /// Bytes of a meta block.
        meta_size: usize,
        /// Bytes of the object.
        size: usize,
    },
}

/// Why nothing was allocated. Nothing has been changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocError {
    /// The family is another heap's.
    UnknownFamily,
    /// No units were asked for.
    ZeroUnits,
    /// The bytes cannot be counted.
    Overflow {
        /// How many objects.
        units: usize,
        /// Bytes of each.
        size: usize,
    },
    /// More bytes than the longest run of pages has.
    TooLarge {
        /// What was asked for.
        bytes: usize,
        /// What one request may ask for.
        largest: usize,
    },
    /// The page source gives no more.
    NoMemory {
        /// What was asked for.
        bytes: usize,
    },
}

/// Why a pointer was not freed. Nothing has been changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFree {
    /// It points outside the heap.
    Foreign {
        /// The pointer.
        address: usize,
    },
    /// It points into the heap, but no family holds that page: it was freed, and its
    /// page has left the family, or it never was allocated.
    Unheld {
        /// The pointer.
        address: usize,
    },
    /// It points into a used block, not to its start.
    Interior {
        /// The pointer.
        address: usize,
        /// Where the block's data begin.
        start: usize,
    },
    /// It points to a block that is free.
    AlreadyFree {
        /// The pointer.
        address: usize,
    },
}

impl Display for OptionsError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::PageSize { page_size } => write!(f, "a page of {page_size} bytes: give 4096 or 8192"),
            Self::MetaSize { meta_size } => write!(f, "a meta block of {meta_size} bytes: give 28 or 48"),
        }
    }
}

impl Display for RegisterError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyName => write!(f, "the family's name is empty: give it 1 to {LONGEST_NAME} bytes"),
            Self::LongName { bytes } => {
                write!(f, "the family's name has {bytes} bytes: give it at most {LONGEST_NAME}")
            }
            Self::Duplicate { name } => write!(f, "a family named {name:?} is registered already"),
            Self::ZeroSize => write!(f, "objects of 0 bytes cannot be told apart: give a size of at least 1"),
            Self::TooLarge { size, largest } => {
                write!(f, "objects of {size} bytes are too large: at most {largest} bytes fit a run of pages")
            }
            Self::NotAnAlignment { align, size } => {
                write!(f, "an alignment of {align} for objects of {size} bytes: give a power of two that ")?;
                write!(f, "divides their size")
            }
            Self::Alignment { align, given, meta_size, size } => {
                write!(
                    f,
                    "objects of {size} bytes need an alignment of {align}, and behind meta blocks of "
                )?;
                write!(f, "{meta_size} bytes get {given}: use the default layout, or another meta size")
            }
        }
    }
}

impl Display for AllocError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFamily => write!(f, "no such family in this heap: register it here"),
            Self::ZeroUnits => write!(f, "0 units were asked for: ask for at least 1"),
            Self::Overflow { units, size } => {
                write!(f, "{units} units of {size} bytes are more bytes than can be counted")
            }
            Self::TooLarge { bytes, largest } => {
                write!(f, "{bytes} bytes were asked for, and one request gets at most {largest}")
            }
            Self::NoMemory { bytes } => write!(f, "there are no pages for {bytes} bytes"),
        }
    }
}

impl Display for BadFree {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign { address } => write!(f, "{address:#x} is not from this heap"),
            Self::Unheld { address } => {
                write!(f, "{address:#x} lies in a page that no family holds: it was freed before, or was ")?;
                write!(f, "never allocated")
            }
            Self::Interior { address, start } if address < start => {
                write!(f, "{address:#x} lies in the meta block of the block at {start:#x}: free that address")
            }
            Self::Interior { address, start } => {
                let into = address - start;
                write!(f, "{address:#x} lies {into} bytes into the block at {start:#x}: free that address")
            }
            Self::AlreadyFree { address } => write!(f, "{address:#x} is free already"),
        }
    }
}

impl Error for OptionsError {}
impl Error for RegisterError {}
impl Error for AllocError {}
impl Error for BadFree {}
