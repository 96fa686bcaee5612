//! The pager behind the C interface `vm_pager.h`, as a static and a shared library.
//!
//! An infrastructure of the kind that operating-systems courses use plays the hardware, the disk
//! and the processes. It defines `vm_physmem`, `page_table_base_register`, `file_read` and
//! `file_write`, and calls `vm_init`, `vm_create`, `vm_switch`, `vm_map`, `vm_fault` and
//! `vm_destroy`, which this library defines. Decisions are those of [`pager::space::Spaces`], the core
//! that the simulated machine drives as well; here is only what carries them out.
//!
//! * `calls`: the exported functions.
//! * `driver`: serves faults, step by step, as the core decides.
//! * `infrastructure`: memory, register and files of whoever linked this library.
//! * `table`: page tables in the layout that the infrastructure's hardware reads.
//! * `names`: the files' names.
//!
//! One thread at a time may be in a call, and `file_read` and `file_write` may not call back.

mod calls;
mod driver;
mod infrastructure;
mod names;
mod table;
