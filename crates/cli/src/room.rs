//! Whether the limits on address space leave Outcore what it maps.

use crate::size::shown;
use crate::trouble::Trouble;

/// Tables for one slot of the store.
const SLOT_BYTES: u64 = 31;
/// Libraries, stacks and small mappings of an ordinary program.
const ORDINARY: u64 = 256 << 20;
/// Half of the room goes to the program's heap, which is reserved in one piece.
const LEAST: u64 = 2112 << 20;

/// # Errors
/// The room does not suffice.
pub(crate) fn check(ram_bytes: u64, store_bytes: u64) -> Result<(), Trouble> {
    sys::room::room().map_or(Ok(()), |room| suffices(room, ram_bytes, store_bytes))
}

fn suffices(room: u64, ram_bytes: u64, store_bytes: u64) -> Result<(), Trouble> {
    // Places in the pool for four times the frames.
    let own = 4 * ram_bytes + store_bytes / 4096 * SLOT_BYTES + ORDINARY;
    let needed = LEAST.max(3 * own);
    if room >= needed {
        return Ok(());
    }
    Err(Trouble::own(format!(
        "only {} more may be mapped here (ulimit -v, or vm.overcommit_memory=2), and Outcore maps {} for the heap, its \
         pool and its tables, most of which is never touched. Raise the limit (ulimit -v unlimited): --ram bounds \
         what is used; or give a smaller --ram or --store-size.",
        shown(room),
        shown(needed)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_grows_with_budget_and_store() {
        let gib = |count: u64| count << 30;
        assert!(suffices(gib(3), 64 << 20, gib(64)).is_ok());
        assert!(suffices(gib(2), 64 << 20, gib(1)).is_err());
        assert!(suffices(gib(3), gib(1), gib(1)).is_err());
        assert!(suffices(gib(3), 64 << 20, gib(1024)).is_err());
    }
}
