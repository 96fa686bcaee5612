//! Outcore for programs that are written for it: page families, a heap in which every
//! page holds objects of one kind. In Rust they are [`Families`] and [`Family`]; the
//! modules below are the same for C, as declared in `include/outcore.h`.
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
//! The pages are anonymous memory of the process.

pub use heap::{
    AllocError, Anonymous, BadFree, BlockInfo, BlockState, Choice, Families, FamiliesReport, Family,
    FamilyId, FamilyInfo, FamilyStats, Json, Layout, Lent, Location, ObjectCache, Options, OptionsError,
    Owned, PageInfo, PageSource, RegisterError, UsageReport, Violation, Walk,
};

pub mod block;
pub mod error;
pub mod instance;
pub mod print;
pub mod register;
