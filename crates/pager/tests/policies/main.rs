//! The replacement policies: against naive versions that are written from the
//! definitions alone, against each other, and against drivers that refuse, fail and
//! take pages away; and what the pager itself makes of them.

mod drive;
mod examples;
mod laws;
mod naive;
mod traces;
mod working_set;
