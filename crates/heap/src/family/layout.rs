//! Where meta blocks are, and what that makes of a family's blocks.

use crate::family::error::{OptionsError, RegisterError};

/// Bytes in a page of the default layout.
pub(super) const PAGE: usize = 4096;
/// Bytes of the longest run of pages whose meta blocks are outside.
const LARGEST_OUTSIDE: usize = 1 << 36;
/// The same in the textbook layout, whose meta blocks hold offsets in 32 bits.
const LARGEST_IN_PAGE: usize = 1 << 30;
/// Of a run that is made for single objects, at most one part in this many is too short
/// for another.
const TAIL: usize = 8;
/// Alignment is not promised beyond this unless it is asked for.
const MOST_NATURAL_ALIGN: usize = 16;

/// Where a heap of families keeps what it knows about blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Outside the pages, all of whose bytes are blocks. Freeing and walking fault
    /// nothing in.
    #[default]
    Outside,
    /// As textbooks draw it: a meta block in the page before each data block, the page's
    /// header outside. The meta blocks are written for whoever looks at the page; what
    /// the heap decides by is resident, so that a program that overwrites them does not
    /// corrupt the heap ([`crate::Families::check`] finds it out).
    InPage {
        /// Bytes in a page: 4096 or 8192.
        page_size: usize,
        /// Bytes in a meta block: 28 or 48.
        meta_size: usize,
    },
}

impl Layout {
    pub(super) fn validate(self) -> Result<Self, OptionsError> {
        match self {
            Self::InPage { page_size, .. } if !matches!(page_size, 4096 | 8192) => {
                Err(OptionsError::PageSize { page_size })
            }
            Self::InPage { meta_size, .. } if !matches!(meta_size, 28 | 48) => {
                Err(OptionsError::MetaSize { meta_size })
            }
            _ => Ok(self),
        }
    }

    /// Bytes in a page.
    pub fn page_size(self) -> usize {
        match self {
            Self::Outside => PAGE,
            Self::InPage { page_size, .. } => page_size,
        }
    }

    /// Bytes that a meta block takes of the page.
    pub fn meta_size(self) -> usize {
        match self {
            Self::Outside => 0,
            Self::InPage { meta_size, .. } => meta_size,
        }
    }

    /// Bytes of the longest run of pages: what one request can get at most, its meta
    /// block included.
    pub fn largest_span(self) -> usize {
        match self {
            Self::Outside => LARGEST_OUTSIDE,
            Self::InPage { .. } => LARGEST_IN_PAGE,
        }
    }
}

/// The measures of one family's blocks, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// One object.
    pub(super) size: usize,
    pub(super) align: usize,
    /// The meta block in front of each data block; 0 where they are outside.
    pub(super) meta: usize,
    /// Data blocks are multiples of it: the object's size, but for raw bytes.
    pub(super) quantum: usize,
    /// Blocks begin at multiples of it.
    pub(super) grid: usize,
    /// A run for single objects.
    pub(super) run: usize,
    pub(super) page: usize,
    pub(super) largest: usize,
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn power_of_two_in(value: usize) -> usize {
    1 << value.trailing_zeros()
}

/// What any type of this size is aligned to at most, as far as types are without being
/// told to.
fn natural_align(size: usize) -> usize {
    power_of_two_in(size).min(MOST_NATURAL_ALIGN)
}

impl Shape {
    /// The shape of a family of objects of `size` bytes, whose alignment is what their
    /// size allows if none is stated.
    pub(super) fn of(layout: Layout, size: usize, align: Option<usize>) -> Result<Self, RegisterError> {
        if size == 0 {
            return Err(RegisterError::ZeroSize);
        }
        let (meta, largest) = (layout.meta_size(), layout.largest_span());
        if size > largest - meta {
            return Err(RegisterError::TooLarge { size, largest: largest - meta });
        }
        let align = align.unwrap_or_else(|| natural_align(size));
        if !align.is_power_of_two() || !size.is_multiple_of(align) {
            return Err(RegisterError::NotAnAlignment { align, size });
        }
        // Behind meta blocks, objects lie at multiples of what divides both.
        let given = power_of_two_in(gcd(meta, size));
        if meta > 0 && align > given {
            return Err(RegisterError::Alignment { align, given, meta_size: meta, size });
        }
        Ok(Self::new(layout, size, size, align))
    }

    /// The shape of raw bytes, in pieces of `quantum`.
    pub(super) fn bytes(layout: Layout, quantum: usize) -> Self {
        Self::new(layout, 1, quantum, power_of_two_in(gcd(layout.meta_size(), quantum)))
    }

    fn new(layout: Layout, size: usize, quantum: usize, align: usize) -> Self {
        let (page, meta) = (layout.page_size(), layout.meta_size());
        let mut run = (meta + quantum).next_multiple_of(page);
        // In the textbook a page is a page; else runs are long enough to waste little.
        // Ends when the run is as long as TAIL objects, at the latest.
        while layout == Layout::Outside && run % quantum * TAIL > run {
            run += page;
        }
        Self {
            size,
            align,
            meta,
            quantum,
            grid: gcd(meta, quantum),
            run,
            page,
            largest: layout.largest_span(),
        }
    }

    /// Bytes of a run that has room for a block of `total` bytes.
    pub(super) fn run_for(&self, total: usize) -> usize {
        self.run.max(total.next_multiple_of(self.page))
    }

    /// Whether an object fits a free block of `len` bytes, meta block included.
    pub(super) fn fits_object(&self, len: usize) -> bool {
        len >= self.meta + self.quantum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_waste_at_most_an_eighth() {
        for size in 1..20_000 {
            let shape = Shape::of(Layout::Outside, size, None).expect("a shape");
            assert!(shape.run >= size && shape.run % size * TAIL <= shape.run, "{size}: {shape:?}");
            assert!(shape.run <= TAIL * size + PAGE, "{size}: {shape:?}");
        }
    }

    #[test]
    fn a_textbook_page_is_a_page() {
        for (page_size, meta_size) in [(4096, 28), (4096, 48), (8192, 28), (8192, 48)] {
            let layout = Layout::InPage { page_size, meta_size };
            let fits = page_size - meta_size;
            for (size, run) in [(36, page_size), (fits, page_size), (fits + 4, 2 * page_size)] {
                assert_eq!(Shape::of(layout, size, Some(1)).map(|shape| shape.run), Ok(run), "{layout:?}");
            }
        }
    }
}
