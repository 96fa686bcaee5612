//! What a thread keeps at hand.

use crate::class::CLASSES;

/// Objects in a bin at most.
pub(crate) const BIN: usize = 32;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bin {
    pub(crate) len: usize,
    pub(crate) objects: [usize; BIN],
}

/// Free objects of one thread, by class. Belongs to one heap; must be given back
/// with [`crate::Heap::flush`] before it is dropped, else what it holds is lost.
#[derive(Debug)]
pub struct ThreadCache {
    pub(crate) bins: [Bin; CLASSES],
}

impl ThreadCache {
    /// Empty.
    pub const fn new() -> Self {
        Self { bins: [Bin { len: 0, objects: [0; BIN] }; CLASSES] }
    }
}

impl Default for ThreadCache {
    fn default() -> Self {
        Self::new()
    }
}
