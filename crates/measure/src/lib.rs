//! What benches measure with, in whatever process is to be measured.

pub mod faults;
pub mod memory;
pub mod numbers;
