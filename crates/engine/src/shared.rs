//! Arenas that several processes share.
//!
//! ```text
//! member A: view ── userfaultfd ─┐        ┌─ socket ── member A: keeper
//! member B: view ── userfaultfd ─┤        ├─ socket ── member B: keeper
//!              │                 ▼        ▼
//!              └── memfd ◀── server: core, pool, store
//! ```
//!
//! The pages that are in memory are in a memfd, each once for all members. One process of its
//! own, the *server*, has everything that is known about them: it is another driver of the same
//! core, with the same pool, store and transfers as an [`Instance`](crate::Instance). Each
//! member maps the memfd, registers this *view* with a userfaultfd of its own, and sends that
//! to the server, which answers the faults. So nothing about pages is in memory that members
//! can write to, no lock is held by anybody who may be killed, and the server trusts what
//! members have written as bytes, and as nothing else: it never maps the memfd.
//!
//! A page is *resident* when the memfd has it. It is *parked* by protecting it from writes
//! in all views, copying it to the pool, and punching it out of the memfd, which unmaps it
//! everywhere at once; so a touch on a parked page shows, as the core wants it to. It comes
//! back by being written to the memfd past all views, and mapped where it was waited for.
//! In other views it is mapped at their first touch.
//!
//! The server ends with its last member. If it is killed, no member reads zeros for what was
//! not in memory: each has kept a copy of its userfaultfd in a thread of its own, the
//! `keeper`, in whose descriptors the program cannot meddle. That thread then answers the
//! faults: what is in memory stays, touches of all else are bus errors.

mod charge;
mod control;
mod error;
mod faults;
mod keeper;
mod launch;
mod member;
mod members;
mod name;
mod packet;
mod server;
mod socket;

pub use error::SharedError;
pub use launch::create;
pub use member::{ArenaStats, Membership};
pub use server::{is_wanted, run};

pub(crate) use control::LOOK_AGAIN;
pub(crate) use members::Members;

/// What server and members say to each other changes with this number.
const VERSION: u64 = 1;
/// Longer names are refused: the kernel allows a socket's name 107 bytes.
pub const LONGEST_NAME: usize = 64;
/// The most bytes that one arena has.
pub const LARGEST_ARENA: u64 = 1 << 40;
/// The most members that one arena has at once.
pub const MOST_MEMBERS: usize = 128;
