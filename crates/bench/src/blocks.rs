#![expect(unsafe_code, reason = "calls malloc and free by their C names, and uses what they give")]
//! Blocks of malloc(3), whichever library has that name.

use std::ptr::NonNull;

const PAGE: usize = 4096;

/// A block that is checked when it is freed.
pub(crate) struct Block {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a block has one owner, and any thread may free it.
unsafe impl Send for Block {}

/// What a block's first bytes say.
fn mark(len: usize) -> u64 {
    (len as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Block {
    /// `len` bytes, 8 at least, of which the first 8 and one of each further page are
    /// written.
    ///
    /// # Panics
    /// If there is no memory.
    pub(crate) fn new(len: usize) -> Self {
        assert!(len >= size_of::<u64>(), "a block of {len} bytes has no room for its mark");
        // SAFETY: any size may be asked for.
        let start = NonNull::new(unsafe { libc::malloc(len) }.cast::<u8>());
        let block = Self { start: start.expect("malloc gives memory"), len };
        block.write();
        for page in (PAGE..len).step_by(PAGE) {
            // SAFETY: within the block.
            unsafe { block.start.as_ptr().add(page).write_volatile(page as u8) };
        }
        block
    }

    fn write(&self) {
        // SAFETY: at least 8 bytes, which malloc aligns for any type; volatile, so that
        // the compiler keeps the call.
        unsafe { self.start.as_ptr().cast::<u64>().write_volatile(mark(self.len)) };
    }

    /// Touches the block: reads what it says and writes it again.
    ///
    /// # Panics
    /// If it says something else: then nothing that was measured counts.
    pub(crate) fn touch(&self) {
        // SAFETY: as in `write`.
        let found = unsafe { self.start.as_ptr().cast::<u64>().read_volatile() };
        assert_eq!(found, mark(self.len), "a block of {} bytes says something else", self.len);
        self.write();
    }

    /// For a word that is passed to another thread.
    pub(crate) fn into_word(self) -> usize {
        let word = self.start.as_ptr().expose_provenance();
        std::mem::forget(self);
        word
    }

    /// The block of length `len` that another thread has made a word of.
    pub(crate) fn received(word: usize, len: usize) -> Self {
        let start = NonNull::new(std::ptr::with_exposed_provenance_mut(word));
        Self { start: start.expect("no block begins at 0"), len }
    }
}

/// Frees without looking: a block that is not in memory stays where it is, as far as
/// the allocator lets it.
impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: of malloc, and freed once.
        unsafe { libc::free(self.start.as_ptr().cast()) };
    }
}

/// Locks the memory that a list uses; whether that was allowed.
pub(crate) fn keep_in_memory(blocks: &[Block]) -> bool {
    // SAFETY: the list's own memory; by the C name, which a preloaded library may define.
    unsafe { libc::mlock(blocks.as_ptr().cast(), size_of_val(blocks)) == 0 }
}
