//! Page tables, in the layout that the infrastructure's hardware reads.
//!
//! ```text
//!  31      22  21  20  19           0
//! ┌──────────┬───┬───┬───────────────┐
//! │ 0        │ w │ r │ frame         │   one 32-bit word a page of the arena
//! └──────────┴───┴───┴───────────────┘
//! ```
//!
//! That is what C compilers for little-endian machines make of
//! `struct { unsigned ppage : 20, read_enable : 1, write_enable : 1; }`.

use pager::space::{Access, Prot, Pte};
use std::sync::atomic::{AtomicU32, Ordering};

/// Pages of an arena.
pub(crate) const PAGES: usize = 256;
/// Frames that an entry can name.
pub(crate) const MOST_FRAMES: u32 = 1 << 20;

const READ: u32 = 1 << 20;
const WRITE: u32 = 1 << 21;

const _: () = assert!(cfg!(target_endian = "little"), "C would lay the bits out otherwise");
const _: () = assert!(size_of::<Table>() == 4 * PAGES && align_of::<Table>() == 4);

/// The table itself, at a place that stays. Its words are atomic because the infrastructure reads them, and
/// might do so on a thread of its own.
#[repr(transparent)]
struct Table([AtomicU32; PAGES]);

/// One process's page table.
pub(crate) struct PageTable(Box<Table>);

impl PageTable {
    /// No page has any rights.
    pub(crate) fn new() -> Self {
        Self(Box::new(Table([const { AtomicU32::new(0) }; PAGES])))
    }

    /// What the register is set to.
    pub(crate) fn address(&self) -> *mut u32 {
        self.0.0[0].as_ptr()
    }

    /// Installs the entry of page `index` of the arena. An entry without rights is 0, whatever its frame.
    pub(crate) fn set(&self, index: usize, pte: Option<Pte>) {
        let word = pte.map_or(0, |pte| match pte.prot.and(Prot::READ_WRITE) {
            Prot::NONE => 0,
            prot => {
                let read = if prot.contains(Prot::READ) { READ } else { 0 };
                let write = if prot.contains(Prot::WRITE) { WRITE } else { 0 };
                assert!(pte.frame.0 < MOST_FRAMES, "{:?} does not fit in an entry", pte.frame);
                pte.frame.0 | read | write
            }
        });
        self.0.0[index].store(word, Ordering::Relaxed);
    }

    /// The frame that `access` to page `index` goes to. None: a fault.
    pub(crate) fn translate(&self, index: usize, access: Access) -> Option<u32> {
        let word = self.0.0[index].load(Ordering::Relaxed);
        let needed = if access == Access::Write { WRITE } else { READ };
        (word & needed != 0).then_some(word & (MOST_FRAMES - 1))
    }
}
