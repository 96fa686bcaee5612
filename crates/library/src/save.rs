#![expect(unsafe_code, reason = "reads pages that others may be writing to")]
//! Writing paged memory to an image.

use crate::racy;
use ::image::{Replacement, SaveError, Writer};
use core::error::Error;
use core::fmt::{self, Display, Formatter};
use engine::PAGE;
use std::path::Path;

/// Pages that are looked for at once: a GiB of them.
pub(crate) const CHUNK: u64 = 1 << 18;

/// What an image has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedImage {
    /// Bytes of the arena.
    pub len: u64,
    /// Pages that are not zero.
    pub touched: u64,
    /// Pages that take room: the distinct ones among them, as far as they were found.
    pub stored: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Why there is no new image. What had its name before is untouched.
#[derive(Debug)]
#[non_exhaustive]
pub enum SaveImageError {
    /// It cannot be written.
    Save(SaveError),
    /// A page to be saved is lost.
    Lost {
        /// Its number.
        page: u64,
    },
    /// A page of the image that this one is made from cannot be found.
    Source(::image::ImageError),
    /// This is a forked child, which has not the memory of its parent's heaps.
    Forked,
}

impl Display for SaveImageError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Save(error) => Display::fmt(error, f),
            Self::Lost { page } => {
                write!(f, "the image cannot be saved: page {page} is lost, its bytes could not be read back")
            }
            Self::Source(error) => {
                write!(
                    f,
                    "the image cannot be saved, because the one it is made from cannot be read: {error}"
                )
            }
            Self::Forked => write!(f, "a forked child has not its parent's arenas, and cannot save them"),
        }
    }
}

impl Error for SaveImageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Save(error) => Some(error),
            Self::Source(error) => Some(error),
            Self::Lost { .. } | Self::Forked => None,
        }
    }
}

/// Writes the pages from `addr` on to an image at `path`. `pages_of` gives the numbers, in order,
/// of those from the first number on, up to so many, that may not be zero.
pub(crate) fn save(
    path: &Path,
    addr: usize,
    pages: u64,
    mut pages_of: impl FnMut(u64, u64) -> Result<Vec<u64>, SaveImageError>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<SavedImage, SaveImageError> {
    let target = Replacement::of(path).map_err(|error| SaveImageError::Save(error.into()))?;
    let mut writer = Writer::new(target).map_err(SaveImageError::Save)?;
    let mut bytes = [0; PAGE];
    let mut first = 0;
    while first < pages {
        let count = CHUNK.min(pages - first);
        for (done, page) in pages_of(first, count)?.into_iter().enumerate() {
            // SAFETY: the arena's own pages.
            unsafe { racy::copy_out(addr + page as usize * PAGE, &mut bytes) };
            writer.page(page, &bytes).map_err(SaveImageError::Save)?;
            if done % 4096 == 0 {
                progress(page * PAGE as u64, pages * PAGE as u64);
            }
        }
        first += count;
        progress(first * PAGE as u64, pages * PAGE as u64);
    }
    let saved = writer.finish(pages).map_err(SaveImageError::Save)?;
    let len = pages * PAGE as u64;
    Ok(SavedImage { len, touched: saved.touched, stored: saved.stored, bytes: saved.bytes })
}
