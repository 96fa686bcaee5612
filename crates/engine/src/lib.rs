//! The pager on this computer.
//!
//! One [`Engine`] a process, or any number of [`Instance`]s in a program that was written
//! for them, which page what they are given from the start. In a process of the first kind,
//! nothing is paged for long. Until what the program was promised could exceed its
//! budget nothing happens at all; then resident bytes are sampled; when they reach
//! the budget, memory is taken over as it is and paged from then on by one thread,
//! the pager thread, which carries out what the [`pager`] core decides. It lives in a
//! process of its own that shares the program's memory.
//!
//! Lock order: the address-space lock ([`Engine::address_space`], program threads
//! only), then the core's lock. A program thread that holds either has its signals
//! blocked, because a handler might touch paged memory and wait for a lock that the
//! interrupted code holds. Nobody holds the core's lock while waiting for I/O, nor
//! in a system call that makes the kernel announce something on the userfaultfd:
//! only the pager thread reads announcements, and it needs the lock to do so.

mod advise;
mod assistant;
mod budget;
mod buffers;
mod callers;
mod core;
mod engine;
mod error;
mod evict;
mod families;
mod features;
mod files;
mod fill;
mod fork;
mod gate;
mod home;
mod instance;
mod listener;
mod map;
mod ops;
mod pool;
mod processors;
mod recorder;
mod rest;
mod serve;
mod settings;
pub mod shared;
mod signals;
mod slice;
mod stacks;
mod steer;
mod takeover;
mod tree;
mod unused;
mod voice;
mod wait;
mod watch;

pub use advise::Usage;
pub use budget::{Budget, BudgetError};
pub use engine::{AddressSpace, Engine};
pub use error::OpenError;
pub use files::{Access, Call, FileMap, FileSpec, MapError, ProgramMap, ProgramSpec, Supply};
pub use fork::{ForkGuard, HEIRS, Preparation};
pub use instance::{Instance, Snapshot};
pub use pager::{Commit, Counters, Inherit, Pattern, Rights};
pub use settings::{Fallbacks, Scope, Settings, StorePlace};
pub use unused::{FamilyPart, KnowsUnused, know_unused};

/// Bytes in a page.
pub const PAGE: usize = 4096;
