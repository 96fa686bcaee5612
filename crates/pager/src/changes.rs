//! Ranges whose mapping the program is changing at this moment.
//!
//! Between the start of an munmap, mremap or discard and its end nobody outside the
//! kernel can say what is mapped there, so nothing there is parked or mapped.

use crate::page::{PageNo, PageRange};

/// Changes at once that need no allocation: one a thread that is in the middle of one.
const ROOM: usize = 1024;

#[derive(Clone, Debug)]
pub(crate) struct Changes {
    ranges: Vec<PageRange>,
}

impl Changes {
    pub(crate) fn new() -> Self {
        Self { ranges: Vec::with_capacity(ROOM) }
    }

    pub(crate) fn begin(&mut self, range: PageRange) {
        self.ranges.push(range);
    }

    pub(crate) fn end(&mut self, range: PageRange) {
        if let Some(index) = self.ranges.iter().position(|other| *other == range) {
            self.ranges.swap_remove(index);
        }
    }

    /// Forgets all of them.
    pub(crate) fn take_all(&mut self) -> Vec<PageRange> {
        self.ranges.drain(..).collect()
    }

    pub(crate) fn any(&self) -> bool {
        !self.ranges.is_empty()
    }

    pub(crate) fn cover(&self, range: PageRange) -> bool {
        self.ranges.iter().any(|known| known.start <= range.start && range.end() <= known.end())
    }

    pub(crate) fn touch(&self, page: PageNo) -> bool {
        self.ranges.iter().any(|range| range.contains(page))
    }
}
