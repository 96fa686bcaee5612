//! Outcore inside an unmodified program: the C names that it calls, and nothing else.
//!
//! Loaded by `LD_PRELOAD`. `malloc` gives out memory of a heap whose pages the
//! engine pages; `mmap` tells the engine of the program's own mappings; `fork`
//! keeps both whole in a child. Without `OUTCORE_RAM` the heap serves as a plain
//! malloc and nothing is ever paged.

mod errno;
mod file;
mod fork;
mod malloc;
mod mmap;
mod source;
mod start;
mod statics;
mod stdio;
mod tls;

/// Everything that this library allocates for itself is never paged.
#[global_allocator]
static META: sys::meta::MetaAlloc = sys::meta::MetaAlloc::new(malloc::is_the_pager_thread);
