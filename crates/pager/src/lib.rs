//! The pager core: it decides, and never acts.
//!
//! [`Pager`] is a plain deterministic value. A driver tells it what happened (a
//! fault, a completed transfer, a discard) and carries out what it answers. The
//! core does no I/O and holds no thread, lock, clock, randomness or log, so the
//! decisions that are proved by the model tests are the ones that run.
//!
//! A page's life, in the notation that [`State`]'s `Debug` prints:
//!
//! ```text
//! untouched ──fault──▶ resident ──park──▶ parked ──write──▶ writing ──▶ swapped
//!     ▲                   ▲  ▲               │ touch           │ touch     │ fault
//!     │ discard           │  └───────────────┴─────────────────┘           ▼
//!   (any)                 └───────────────────────────────────────────  filling
//! ```
//!
//! * A frame is a permit to hold one page of bytes, not a place.
//! * `resident` pages are mapped where the program sees them. `parked` ones are
//!   unmapped but still hold their frame: a touch is a minor fault and proves the
//!   page hot, which is the clock's reference bit made real.
//! * `filling` and `writing` pages are owned by a transfer; a discard orphans the
//!   transfer's frame, which is freed when the transfer ends.
//! * An area's pages may have homes outside of the store, such as the blocks of a mapped
//!   file: untouched, they hold the bytes that are there. See `home`.
//! * A page keeps its slot while it is resident: if its bytes have not changed
//!   when it leaves again, nothing is written.
//!
//! [`apportion`] divides one budget among the processes of a tree. [`space`] adds many address spaces over one such `Pager`, and [`Policy`] replacement by
//! a policy of one's choice.

pub mod apportion;
mod area;
mod changes;
mod counters;
mod discard;
mod entry;
mod fault;
mod frames;
mod home;
mod invariants;
mod leaf;
mod lineage;
mod page;
mod pagemap;
mod pager;
pub mod policy;
mod reclaim;
mod runmap;
mod share;
mod slots;
pub mod space;
mod streams;
mod table;
mod transfer;

pub use area::{Area, Backing, Inherit, Pattern, Rights, Sharing};
pub use counters::Counters;
pub use entry::State;
pub use fault::{Fault, Read};
pub use home::Populated;
pub use lineage::{Lineage, MemberNo};
pub use page::{FrameNo, PageNo, PageRange, SlotNo};
pub use pagemap::PageMap;
pub use pager::{Commit, Config, MAX_NUMBERS, Pager};
pub use policy::{Policy, PolicyKind, Step};
pub use reclaim::{Content, Eviction, Parking};
pub use runmap::RunMap;
pub use transfer::{Fill, FillResult, WriteResult, Written};
