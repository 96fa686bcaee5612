//! The heap: its parts, and how they are wired.
//!
//! Everything but the store is behind one lock, which is not held while bytes are read or
//! written: the core below takes many faults at once, step by step, and a page that is on its
//! way is a state that the others wait for. Two conditions wake threads that wait:
//!
//! | condition | is signalled when |
//! |---|---|
//! | `arrived` | a transfer has ended, or the pages of a block that is to be pinned are all in |
//! | `released` | a pin was released |

mod access;
mod alloc;
mod fault;
mod laws;
mod pin;
mod state;

pub use pin::Pinned;

use crate::builder::{BuildError, Builder, Sizes};
use crate::digest::Digester;
use crate::store::Store;
use pager::PolicyKind;
use state::State;
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard};

/// A heap of blocks that need not all be in memory, reached by handles.
///
/// Any thread may use it at any time. It is given back, with its swap file, when it is dropped.
///
/// ```
/// use handles::{MemoryStore, VirtualHeap};
///
/// // Four pages of memory for sixteen of blocks.
/// let heap = VirtualHeap::new(4 * 4096, 16 * 4096, MemoryStore::new())?;
/// let blocks: Vec<_> = (0..16).map(|_| heap.alloc(4096)).collect::<Result<_, _>>()?;
/// assert!(heap.alloc(1).is_err(), "the virtual space is used up");
/// for (number, block) in blocks.iter().enumerate() {
///     heap.write(*block, 100, &[number as u8])?;
/// }
/// for (number, block) in blocks.iter().enumerate() {
///     let mut bytes = [0xff; 3];
///     heap.read(*block, 99, &mut bytes)?;
///     assert_eq!(bytes, [0, number as u8, 0]);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct VirtualHeap {
    state: Mutex<State>,
    arrived: Condvar,
    released: Condvar,
    store: Box<dyn Store>,
    digester: Digester,
    sizes: Sizes,
}

/// Which of a heap's two spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Frames of memory. A page that was never written needs none.
    Physical,
    /// Pages of blocks.
    Virtual,
}

/// What happened in a heap so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Accesses to pages that were not at hand and needed no transfer.
    pub minor_faults: u64,
    /// Accesses that waited for a page to be read.
    pub major_faults: u64,
    /// Pages read from the store.
    pub swap_ins: u64,
    /// Pages written to the store.
    pub swap_outs: u64,
    /// Pages that left memory without being written, because the store held the same bytes.
    pub clean_evictions: u64,
}

impl VirtualHeap {
    /// A heap with `physical` bytes of memory for `virtual_size` bytes of blocks, in pages of
    /// 4 KiB. For other pages, policies and swap files there is [`Self::builder`].
    ///
    /// # Errors
    /// What is impossible about the sizes.
    pub fn new(
        physical: usize,
        virtual_size: usize,
        store: impl Store + 'static,
    ) -> Result<Self, BuildError> {
        Self::builder().physical(physical).virtual_size(virtual_size).store(store).build()
    }

    /// Builds a heap from parts, each of which has a default.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn with(sizes: Sizes, policy: PolicyKind, store: Box<dyn Store>) -> Self {
        Self {
            state: Mutex::new(State::new(sizes, policy)),
            arrived: Condvar::new(),
            released: Condvar::new(),
            store,
            digester: Digester::random(),
            sizes,
        }
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> usize {
        self.sizes.page_size
    }

    /// Frames of memory. While every one of them is pinned there is one more, so that reads and
    /// writes go on.
    pub fn frames(&self) -> usize {
        self.sizes.frames as usize
    }

    /// Pages of the virtual space.
    pub fn pages(&self) -> usize {
        self.sizes.pages as usize
    }

    /// Bytes that are not in use.
    pub fn available(&self, space: Space) -> usize {
        let state = self.lock();
        let pages = match space {
            Space::Physical => self.frames().saturating_sub(state.frames_used()),
            Space::Virtual => state.blocks.free(),
        };
        pages * self.sizes.page_size
    }

    /// Whether nothing is available: every frame holds a page, so that the next one makes another
    /// leave; or every page is a block's, so that the next block is refused.
    pub fn is_full(&self, space: Space) -> bool {
        self.available(space) == 0
    }

    /// Blocks that there are.
    pub fn blocks(&self) -> usize {
        self.lock().blocks.count()
    }

    /// Frames that are pinned, or set aside for pins.
    pub fn pinned(&self) -> usize {
        self.lock().pinned
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        self.lock().stats()
    }

    /// A panic under the lock would leave the tables half changed; then nothing is right any more.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread has panicked inside the heap")
    }
}

impl fmt::Debug for VirtualHeap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sizes { frames, pages, page_size } = self.sizes;
        write!(f, "virtual heap of {pages} pages in {frames} frames of {page_size} bytes")
    }
}
