//! Miss-ratio curves: how often a program misses, for every number of frames at once.
//!
//! [`Lru`] gives those of LRU in one pass: a reference hits in every memory of at least its stack distance
//! (Mattson, Gecsei, Slutz and Traiger, "Evaluation techniques for storage hierarchies", 1970). [`Shards`] does so
//! for a sample of the pages. Other policies have no such property, and are simulated size by size
//! ([`simulated()`]).

mod curve;
mod lru;
mod recency;
mod shards;
mod simulated;

pub use curve::{Curve, Point};
pub use lru::Lru;
pub use shards::Shards;
pub use simulated::{Subject, simulated, sizes};
