//! Bytes at rest: the swap file, the memory store, and their faulty twin.
//!
//! A store holds pages by slot number. Transfers of consecutive slots are queued with
//! a token and end in any order. The first write that fails latches the store: later
//! writes fail at once with the same error, reads go on.

mod digest;
mod faults;
mod file;
mod memory;
mod store;

pub use digest::{Digest, Digester, is_zero};
pub use faults::{BadPlan, FaultPlan};
pub use file::{OpenError, open_direct};
pub use store::{FileOptions, Store};
