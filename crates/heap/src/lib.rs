//! A general malloc whose metadata lies outside the pages that it describes.
//!
//! **Invariant: freeing never touches the object.** What is allocated is known from
//! bitmaps in resident memory, so that freeing a page that was swapped out costs no
//! fault, and a span that empties is dropped without having been read.
//!
//! An allocation goes through these steps:
//!
//! 1. up to 32 KiB: its size class's bin in the thread's [`ThreadCache`];
//! 2. an empty bin is filled, under the class's lock, from a span that has room;
//! 3. without such a span one is taken from the extents, under their lock;
//! 4. larger: a run of 64 KiB units of its own, from the extents.

mod bitmap;
mod cache;
mod class;
mod extents;
mod heap;
mod source;
mod span;

pub use cache::ThreadCache;
pub use class::{CLASSES, LARGEST_SMALL, class_of, class_size};
pub use heap::{FreeError, Heap, HeapStats};
pub use source::PageSource;
