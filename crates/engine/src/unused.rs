//! Pages that the program has freed, as whoever manages them knows.

use crate::core::Live;
use core::fmt::{self, Debug, Formatter};
use std::sync::{Arc, OnceLock};

/// Whether nothing in use lies in the page at this address.
type IsUnused = fn(usize) -> bool;

static ASK: OnceLock<IsUnused> = OnceLock::new();

/// Names who knows of unused pages: they are dropped in place of being written. It is
/// asked by the pager, while a page can be touched by nobody without a fault, and must
/// answer without waiting, allocating or touching pages; false where it is not certain.
/// What it says is unused may read as zeros from then on. Only the first call counts.
pub fn know_unused(ask: IsUnused) {
    let _ = ASK.set(ask);
}

/// Who knows of the unused pages that an [`Instance`](crate::Instance) pages.
pub trait KnowsUnused: Send + Sync {
    /// Whether nothing in use lies in the page at this address; on the terms of
    /// [`know_unused`].
    fn is_unused(&self, addr: usize) -> bool;

    /// Tells of the page family of this number, from 1 on, on the same terms: its name, and
    /// then its pages, or nothing if it is just being changed. Whether there is one.
    fn family(&self, _number: u32, _tell: &mut dyn FnMut(FamilyPart<'_>)) -> bool {
        false
    }
}

/// Something about a page family.
#[derive(Clone, Copy, Debug)]
pub enum FamilyPart<'a> {
    /// Comes first.
    Named {
        /// Its name.
        name: &'a str,
        /// Bytes that its objects take.
        used_bytes: usize,
    },
    /// Pages that it holds.
    Pages {
        /// Where they begin.
        addr: usize,
        /// Their bytes.
        len: usize,
    },
}

/// Whom an engine asks: one of its own, or who was named for the process.
#[derive(Clone, Default)]
pub(crate) struct Knows(pub(crate) Option<Arc<dyn KnowsUnused>>);

impl Debug for Knows {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Knows").field(&self.0.is_some()).finish()
    }
}

impl Live {
    /// Whether the page at `addr` is known to be unused.
    pub(crate) fn is_unused(&self, addr: usize) -> bool {
        match &self.knows.0 {
            Some(knows) => knows.is_unused(addr),
            None => ASK.get().is_some_and(|ask| ask(addr)),
        }
    }
}
