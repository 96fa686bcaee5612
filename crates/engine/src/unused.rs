//! Pages that the program has freed, as whoever manages them knows.

use std::sync::OnceLock;

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

/// Whether the page at `addr` is known to be unused.
pub(crate) fn is_unused(addr: usize) -> bool {
    ASK.get().is_some_and(|ask| ask(addr))
}
