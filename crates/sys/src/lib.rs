//! The kernel's words for Outcore: userfaultfd, mappings, asynchronous I/O, processes
//! that share memory, descriptors handed over and kept, the shared status page and ledger, locks, and an allocator that is never paged.

pub mod aio;
pub mod anchor;
pub mod children;
pub mod companion;
pub mod drops;
mod errno;
pub mod handover;
pub mod histogram;
pub mod lease;
pub mod ledger;
pub mod lock;
pub mod maps;
pub mod meta;
pub mod relay;
pub mod ring;
pub mod room;
pub mod shared;
pub mod status;
pub mod uffd;
pub mod views;
