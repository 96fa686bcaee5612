//! What a heap is made from.

use crate::heap::VirtualHeap;
use crate::store::Store;
use crate::swap_file::{SwapFile, SwapFileError};
use pager::PolicyKind;
use pager::space::MAX_SPACE_PAGES;
use std::fmt;
use std::path::PathBuf;

/// Bytes of a page, if nothing else is said.
pub const PAGE_SIZE: usize = 4096;
/// Bytes of physical memory, if nothing else is said.
pub const PHYSICAL: usize = 10 << 20;
/// The virtual space is so many times the physical memory, if nothing else is said.
pub const VIRTUAL_TIMES: usize = 2;

/// The smallest page, and the largest.
const PAGE_SIZES: [usize; 2] = [512, 1 << 30];
/// The most frames.
const MAX_FRAMES: usize = 1 << 20;

/// What a [`VirtualHeap`] is made from: 10 MiB of memory, twice that of virtual space, pages of
/// 4 KiB, the clock and a swap file without a name, unless something else is said.
///
/// ```
/// use handles::{PolicyKind, VirtualHeap};
///
/// let heap = VirtualHeap::builder()
///     .physical(1 << 20)
///     .virtual_size(16 << 20)
///     .policy(PolicyKind::S3Fifo)
///     .build()?;
/// assert_eq!(heap.frames(), 256);
/// # Ok::<(), handles::BuildError>(())
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    physical: usize,
    virtual_size: Option<usize>,
    page_size: usize,
    policy: PolicyKind,
    place: Place,
}

/// Where pages go that are not in memory.
enum Place {
    Unnamed,
    UnnamedIn(PathBuf),
    Named(PathBuf),
    Store(Box<dyn Store>),
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            physical: PHYSICAL,
            virtual_size: None,
            page_size: PAGE_SIZE,
            policy: PolicyKind::Clock,
            place: Place::Unnamed,
        }
    }
}

impl Builder {
    /// Bytes of memory: a multiple of the page size.
    pub fn physical(mut self, bytes: usize) -> Self {
        self.physical = bytes;
        self
    }

    /// Bytes that all blocks together may have: a multiple of the page size.
    pub fn virtual_size(mut self, bytes: usize) -> Self {
        self.virtual_size = Some(bytes);
        self
    }

    /// Bytes of a page: a power of two from 512 to 1 GiB.
    pub fn page_size(mut self, bytes: usize) -> Self {
        self.page_size = bytes;
        self
    }

    /// Who chooses the page that leaves. All but OPT, which has to know the future.
    pub fn policy(mut self, policy: PolicyKind) -> Self {
        self.policy = policy;
        self
    }

    /// A swap file with this name, which nothing may have yet. It is removed with the heap.
    pub fn swap_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.place = Place::Named(path.into());
        self
    }

    /// A swap file without a name in this directory.
    pub fn swap_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.place = Place::UnnamedIn(dir.into());
        self
    }

    /// A store of one's own in place of a swap file.
    pub fn store(mut self, store: impl Store + 'static) -> Self {
        self.place = Place::Store(Box::new(store));
        self
    }

    /// The heap.
    ///
    /// # Errors
    /// What is impossible about the numbers, or why there is no swap file.
    pub fn build(self) -> Result<VirtualHeap, BuildError> {
        let sizes = Sizes::check(self.physical, self.virtual_size, self.page_size)?;
        if self.policy == PolicyKind::Opt {
            return Err(BuildError::Policy(self.policy));
        }
        let store: Box<dyn Store> = match self.place {
            Place::Unnamed => Box::new(SwapFile::unnamed()?),
            Place::UnnamedIn(dir) => Box::new(SwapFile::unnamed_in(&dir)?),
            Place::Named(path) => Box::new(SwapFile::named(&path)?),
            Place::Store(store) => store,
        };
        Ok(VirtualHeap::with(sizes, self.policy, store))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { physical, virtual_size, page_size, policy, .. } = self;
        write!(f, "builder of {physical} bytes, {virtual_size:?} virtual, pages of {page_size}, {policy}")
    }
}

/// Sizes that fit one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) frames: u32,
    pub(crate) pages: u32,
    pub(crate) page_size: usize,
}

impl Sizes {
    fn check(physical: usize, virtual_size: Option<usize>, page_size: usize) -> Result<Self, BuildError> {
        let [smallest, largest] = PAGE_SIZES;
        if !page_size.is_power_of_two() || !(smallest..=largest).contains(&page_size) {
            return Err(BuildError::PageSize(page_size));
        }
        let virtual_size = virtual_size.unwrap_or(physical.saturating_mul(VIRTUAL_TIMES));
        let pages_of = |what, bytes: usize, most: usize| {
            let pages = bytes / page_size;
            if bytes == 0 || !bytes.is_multiple_of(page_size) || pages > most {
                return Err(BuildError::Size { what, bytes, page_size, most });
            }
            Ok(pages as u32)
        };
        let frames = pages_of("physical memory", physical, MAX_FRAMES)?;
        let pages = pages_of("the virtual space", virtual_size, MAX_SPACE_PAGES as usize)?;
        Ok(Self { frames, pages, page_size })
    }
}

/// Why there is no heap.
#[derive(Debug)]
pub enum BuildError {
    /// No size of a page.
    PageSize(usize),
    /// A size that is not possible.
    Size {
        /// Of what.
        what: &'static str,
        /// The size, in bytes.
        bytes: usize,
        /// Bytes of a page.
        page_size: usize,
        /// The most pages it may have.
        most: usize,
    },
    /// The policy cannot be used here.
    Policy(PolicyKind),
    /// There is no swap file.
    SwapFile(SwapFileError),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PageSize(bytes) => {
                let [smallest, largest] = PAGE_SIZES;
                write!(f, "a page of {bytes} bytes: choose a power of two from {smallest} to {largest}")
            }
            Self::Size { what, bytes, page_size, most } => write!(
                f,
                "{bytes} bytes of {what}: choose a multiple of the page size, {page_size}, from 1 to {most} pages"
            ),
            Self::Policy(policy) => {
                write!(f, "{policy} has to know the future, and works in `outcore machine replay` only")
            }
            Self::SwapFile(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::SwapFile(error) => Some(error),
            _ => None,
        }
    }
}

impl From<SwapFileError> for BuildError {
    fn from(error: SwapFileError) -> Self {
        Self::SwapFile(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_sizes_are_refused_with_the_number() {
        let refused = |builder: Builder, number: &str| {
            let message = builder.build().expect_err(number).to_string();
            assert!(message.contains(number), "{message} does not name {number}");
        };
        let builder = Builder::default;
        refused(builder().page_size(256), "256");
        refused(builder().page_size(0), "0 bytes");
        refused(builder().page_size(3000), "3000");
        refused(builder().physical(0), "0 bytes of physical");
        refused(builder().physical(4097), "4097");
        refused(builder().physical(4096 << 21), "8589934592");
        refused(builder().virtual_size(0), "0 bytes of the virtual");
        refused(builder().virtual_size(5000), "5000");
        refused(builder().virtual_size(4096 << 23), "34359738368");
        refused(builder().physical(usize::MAX), &usize::MAX.to_string());
        refused(builder().policy(PolicyKind::Opt), "opt");
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let sizes = Sizes::check(PHYSICAL, None, PAGE_SIZE).expect("the defaults are possible");
        assert_eq!(sizes, Sizes { frames: 2560, pages: 5120, page_size: 4096 });
    }
}
