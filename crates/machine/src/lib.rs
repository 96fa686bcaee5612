//! A computer in a program: the pager's core with a processor's page tables, physical memory, a
//! disk, files and processes around it, so that every decision can be watched and checked.
//!
//! [`Machine`] drives the core as an operating system's kernel would: an access goes through the
//! page table; where that does not allow it there is a fault, the core decides step by step what
//! to do ([`pager::space::Spaces::advance`]), and the machine moves the bytes. Time is virtual,
//! the disk's failures are ordered, and everything is deterministic: the same script gives the
//! same log.
//!
//! * [`Settings`]: what the machine is built from.
//! * [`script`]: operations as text, with lines and columns in what is said of mistakes.
//! * [`Runner`]: carries a script out, one [`Outcome`] an operation.
//! * [`log`]: an outcome as a line of JSON or of text.
//! * [`replay`]: what each replacement policy misses, given a list of page numbers.

pub mod curves;
pub mod log;
pub mod replay;
pub mod script;

mod costs;
mod disk;
mod dump;
mod elf;
mod files;
mod machine;
mod memory;
mod mmu;
mod outcome;
mod run;
mod settings;
mod stats;
mod view;
mod watch;

pub use costs::Costs;
pub use disk::{Device, Direction, Request, TransferError};
pub use elf::{Image, ImageError, Segment};
pub use machine::{AccessError, ExecError, FaultFailure, Machine, MachineError, Mmap, MmapSource, NoProcess};
pub use outcome::{Outcome, PageName, PteLine, Ret};
pub use run::{Ran, Runner};
pub use settings::{Settings, Writeback};
pub use stats::{KindCounts, Stats};
pub use view::{FrameUse, FrameView, SlotView, TransferView, View};
