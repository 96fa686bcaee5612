//! A heap larger than its memory, for any operating system with files.
//!
//! [`VirtualHeap`] keeps blocks in a fixed amount of memory and a swap file. It asks nothing of
//! the hardware: blocks are named by handles, and are read and written by calls, or looked at
//! while they are pinned. The pages that leave memory, and where they go, are decided by the
//! same core, [`pager`], that decides for unmodified programs.
//!
//! ```
//! use handles::{AllocError, Space, VirtualHeap};
//!
//! let heap = VirtualHeap::builder().physical(5 * 4096).virtual_size(10 * 4096).build()?;
//! let block = heap.alloc(4096)?;
//! heap.write(block, 0, b"any bytes\0\xff")?;
//!
//! // The rest of the virtual space, in memory or not.
//! let others: Vec<_> = (0..9).map(|_| heap.alloc(4096)).collect::<Result<_, _>>()?;
//! for other in &others {
//!     heap.write(*other, 4095, &[1])?;
//! }
//! assert!(heap.is_full(Space::Virtual));
//! assert_eq!(heap.alloc(1), Err(AllocError::Full { wanted: 1, free: 0 }));
//!
//! let mut bytes = [0; 11];
//! heap.read(block, 0, &mut bytes)?;
//! assert_eq!(&bytes, b"any bytes\0\xff");
//! heap.free(block)?;
//! assert!(heap.free(block).is_err(), "it is gone");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The path of an access, from cheap to dear; `⇒` is what the heap does:
//!
//! ```text
//! handle ─▶ block ─▶ page table: at hand                       ⇒ copy, or tell the address
//!                                never written, read           ⇒ zeros, no frame
//!                                never written, written        ⇒ a frame, zeroed
//!                                in memory, to be noticed      ⇒ its entry is restored
//!                                in the store                  ⇒ a frame; read, digest compared
//! no frame is free: the policy's choice leaves, written first if its digest is not its slot's
//! every frame is pinned: reads and writes are lent one more; pins wait, or fail
//! ```
//!
//! Nothing here is unsafe: pinned bytes are atomic ones, and addresses are only told.

#![forbid(unsafe_code)]

mod blocks;
mod builder;
mod bytes;
mod digest;
mod error;
mod handle;
mod heap;
mod holders;
mod store;
mod swap_file;

pub use builder::{BuildError, Builder, PAGE_SIZE, PHYSICAL, VIRTUAL_TIMES};
pub use error::{AccessError, AllocError, HandleError, PinError, ReleaseError, StoreError};
pub use handle::Handle;
pub use heap::{Pinned, Space, Stats, VirtualHeap};
pub use pager::PolicyKind;
pub use store::{MemoryStore, Store};
pub use swap_file::{SwapFile, SwapFileError};
