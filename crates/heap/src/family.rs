//! Page families: a heap in which every page holds objects of one kind.
//!
//! A program registers its kinds of objects, each with a name and a size. Blocks are
//! one or more objects long. An allocation goes through these steps:
//!
//! 1. of the family's free blocks, the one with the most room (or, as an option, the
//!    smallest that has room) is taken from an index ordered by size;
//! 2. without one that has room, the family gets a page, or as many in a row as the
//!    block needs, from the pages that other families have left, else from the source;
//! 3. the front of the free block is handed out, and the rest is free again. In the
//!    textbook layout a rest too short for a meta block and a byte stays with the used
//!    block (hard fragmentation). A rest that no object fits waits for its neighbours
//!    (soft fragmentation).
//!
//! Freeing joins a block with its free neighbours. A page that is one free block leaves
//! its family at once, for a cache of pages, so that one object at a boundary does not
//! cost two kernel calls each time.
//!
//! **Invariant: what is decided is decided by resident data.** Which blocks a page has is
//! known from two bits for each place where one can begin; the page itself is not read,
//! in the textbook layout neither. In the default layout nothing of it is written either,
//! so that freeing and walking fault nothing in.
//!
//! Lock order: the names, then one family, then the pages. [`Families::check`] takes all
//! families, in the order of registration.

mod bits;
mod blocks;
mod cache;
mod check;
mod directory;
mod error;
mod families;
mod index;
mod json;
mod layout;
mod ledger;
mod meta;
mod owned;
mod pool;
mod report;
mod run;
mod runs;
mod stats;
mod table;
mod typed;
mod unused;
mod visit;
mod walk;

pub use blocks::BlockState;
pub use cache::{Lent, ObjectCache};
pub use check::Violation;
pub use directory::FamilyId;
pub use error::{AllocError, BadFree, OptionsError, RegisterError};
pub use families::{Families, Location, Options};
pub use index::Choice;
pub use json::Json;
pub use layout::Layout;
pub use owned::Owned;
pub use report::{FamiliesReport, UsageReport};
pub use stats::{FamilyInfo, FamilyStats};
pub use typed::Family;
pub use visit::Visited;
pub use walk::{BlockInfo, PageInfo, Walk};
