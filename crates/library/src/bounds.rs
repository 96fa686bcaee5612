//! Parts that are given as ranges.

use core::ops::{Bound, RangeBounds};

/// Where a part begins and ends. Nothing says that it lies within anything.
pub(crate) struct Bounds {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The bounds of `range` in something of `len`.
pub(crate) fn bounds(range: impl RangeBounds<usize>, len: usize) -> Bounds {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => len,
    };
    Bounds { start, end }
}
