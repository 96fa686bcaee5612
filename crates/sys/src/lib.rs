//! The kernel's words for Outcore: userfaultfd, mappings, asynchronous I/O, the
//! shared status page, locks, and an allocator that is never paged.

pub mod aio;
pub mod lock;
pub mod maps;
pub mod meta;
pub mod status;
pub mod uffd;
