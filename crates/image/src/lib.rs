//! Images: the pages of an arena in a file, from which they are fetched on demand.
//!
//! A [`Writer`] takes pages in ascending order and keeps each distinct one once; pages of
//! zeros, and pages that were never touched, take no room. What it writes is a tree:
//! every node holds the places of 128 pages, or nodes, with their digests, so that opening an
//! [`Image`] reads one block whatever its size, and whatever is read of it later is
//! checked, from the header down. The idea is that of R. Merkle, "A Digital Signature Based
//! on a Conventional Encryption Function" (1987).
//!
//! Saving replaces an image as a whole or not at all, wherever it is interrupted: the new
//! one is complete on the disk before it gets its name ([`Replacement`]).
//!
//! ```
//! use image::{Image, PAGE, Replacement, Writer};
//!
//! let directory = tempfile::tempdir()?;
//! let path = directory.path().join("notes.image");
//! let mut writer = Writer::new(Replacement::of(&path)?)?;
//! writer.page(7, &[42; PAGE])?;
//! writer.finish(1 << 20)?;
//!
//! let image = Image::open(&path)?;
//! let mut page = [0; PAGE];
//! image.read(7, &mut page)?;
//! assert_eq!((page, image.pages()), ([42; PAGE], 1 << 20));
//! image.read(8, &mut page)?;
//! assert_eq!(page, [0; PAGE]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod digest;
mod error;
mod header;
mod medium;
mod node;
mod nodes;
mod reader;
mod survey;
mod working_set;
mod writer;

pub use digest::{Digest, Key};
pub use error::{ImageError, SaveError};
pub use medium::{Medium, Replacement};
pub use reader::{Image, Place};
pub use survey::{Damage, Survey};
pub use working_set::WorkingSet;
pub use writer::{Saved, Writer};

/// Bytes of a page, and of every other block of an image.
pub const PAGE: usize = 4096;

/// The most pages that an image can have: 2⁴⁰ of 4 KiB are 4 PiB.
pub const MOST_PAGES: u64 = 1 << 40;
