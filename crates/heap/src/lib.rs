//! Allocators whose metadata lies outside the pages that it describes: a general malloc,
//! [`Heap`], and page families, [`Families`], for programs that name their objects.
//!
//! **Invariant: freeing never touches the object**, but for the meta blocks of families that
//! are asked to have them in the page ([`Layout::InPage`]). What is allocated is known from
//! bitmaps in resident memory, so that freeing a page that was swapped out costs no
//! fault, and a span that empties is dropped without having been read. The metadata
//! comes from the global allocator, which must not be this heap.
//!
//! The general malloc cuts its region into units of 64 KiB. A run of units is a span: it
//! holds objects of one size class, or one large object. An allocation goes through these steps:
//!
//! 1. up to 32 KiB: the bin of its size class in the thread's [`ThreadCache`], no lock;
//! 2. an empty bin is filled, under the class's lock, from the fullest span with room,
//!    lowest address first, so that sparse spans get the chance to empty;
//! 3. without such a span one is taken from the extents, under their lock;
//! 4. up to 1 MiB: while large objects are freed and asked for in turn, one that was freed, from
//!    the quick list of its length in units, no lock;
//! 5. larger, or none there: a span of its own. Its units, and a small span's, are such as were
//!    freed a moment ago and still have their pages, or else come from the extents.
//!
//! **Invariant: what is in the extents reads as zeros.** Everything is discarded before
//! it returns there, so large zeroed allocations clear nothing.
//!
//! **Invariant: what is free and kept is bounded**: 5.5 MiB of units with their pages, besides
//! while memory is not scarce half as much as is in use, up to 12 MiB that were lately freed and
//! asked for again in turn, and 13 MiB in quick lists while there are such; 512 KiB of empty spans; 128 objects
//! of a class in a thread's cache, and of large ones at most 128 KiB or eight. Where most
//! of the memory held is free, caches are emptied, as they hold back whole spans.
//!
//! Lock order: the start lock, then one class, then the units that keep their pages, then
//! the extents.
//! Only [`Heap::lock_for_fork`] holds more than one class, or the last two together. Quick lists
//! are atomics: an object that another thread is just giving or taking is lost to a forked child,
//! as what other threads have in use is.

mod anonymous;
mod bitmap;
mod cache;
mod class;
mod dirty;
mod extents;
mod family;
mod free_runs;
mod heap;
mod large;
mod locked;
mod quick;
mod shelves;
mod small;
mod source;
mod span;
mod teardown;
mod turnover;
mod unused;

pub use anonymous::Anonymous;
pub use cache::ThreadCache;
pub use class::{CLASSES, LARGEST_SMALL, class_of, class_size, span_len};
pub use extents::Extents;
pub use family::{
    AllocError, BadFree, BlockInfo, BlockState, Choice, Families, FamiliesReport, Family, FamilyId,
    FamilyInfo, FamilyStats, Json, Layout, Lent, Location, ObjectCache, Options, OptionsError, Owned,
    PageInfo, RegisterError, UsageReport, Violation, Visited, Walk,
};
pub use heap::{ClassStats, FreeError, Heap, HeapStats};
pub use source::PageSource;
