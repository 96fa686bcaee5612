//! Outcore for programs that are written for it.
//!
//! A [`Heap`] may be larger than the RAM that it takes: its pages go to a store of its own
//! and come back when they are touched. Collections live in it, it may be the program's
//! global allocator ([`GlobalHeap`]), it has typed page families ([`Heap::family`]) and
//! hands out pages by the range ([`Arena`]), maps files that are larger than RAM
//! ([`MappedFile`]), opens arenas that were saved ([`ArenaImage`]) and shows what a program's own
//! code supplies ([`Backing`]).
//!
//! Page families are heaps in which every page holds objects of one kind. They are there
//! for memory that is not paged as well:
//!
//! ```
//! use outcore::{Anonymous, Families};
//!
//! struct Employee {
//!     name: String,
//!     room: u32,
//! }
//!
//! let heap = Families::new(Anonymous::new());
//! let employees = heap.family::<Employee>("employee")?;
//! let ada = employees.alloc(Employee { name: "Ada".into(), room: 7 })?;
//! println!("{} sits in room {}", ada.name, ada.room);
//! print!("{}", heap.walk(employees.id()).expect("a family of this heap"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The modules below are the same for C, as declared in `include/outcore.h`.

pub use crate::heap::{Heap, Place};
pub use ::heap::{
    AllocError, Anonymous, BadFree, BlockInfo, BlockState, Choice, Families, FamiliesReport, Family,
    FamilyId, FamilyInfo, FamilyStats, Json, Layout, Lent, Location, ObjectCache, Options, OptionsError,
    Owned, PageInfo, PageSource, RegisterError, UsageReport, Violation, Walk,
};
pub use arena::{Arena, ArenaError};
pub use arena_image::{ArenaImage, ImageOptions, OpenImageError};
pub use backing::{Backing, BackingCall, BackingError, BackingOptions, MappedBacking};
pub use builder::{BuildError, HeapBuilder};
pub use engine::shared::{ArenaStats, SharedError};
pub use engine::{Budget, BudgetError, Commit, Fallbacks, MapError, OpenError, StorePlace, Usage};
pub use file::{FileAdvice, MapOptions, MappedFile};
pub use file_error::FileError;
pub use global::GlobalHeap;
pub use pages::{Advice, Pages};
pub use save::{SaveImageError, SavedImage};
pub use shared::{ShareError, SharedArena, SharedArenaBuilder};
pub use source::Paged;
pub use stack::{Stack, Stacks};
pub use stats::Stats;

mod allocator;
mod arena;
mod arena_image;
mod at_exit;
pub mod backed;
mod backing;
pub mod block;
mod bounds;
pub mod budget_c;
mod builder;
mod caches;
mod either;
pub mod error;
mod file;
mod file_error;
mod fork;
mod global;
mod heap;
pub mod instance;
pub mod map_file;
mod mapping;
mod pages;
mod paging;
pub mod print;
pub mod process;
mod racy;
pub mod register;
mod resident;
mod save;
mod shared;
pub mod shared_c;
mod source;
mod stack;
mod stats;

/// The guide, whose examples are run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/library.md")]
#[doc = include_str!("../../../docs/images.md")]
struct Guide;
