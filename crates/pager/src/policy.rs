//! Replacement: which page leaves when a frame is needed.
//!
//! A [`Policy`] keeps an order of the frames and, some of them, a memory of pages that
//! have left (ghosts). It sees only what the driver tells it: what came in, what was
//! referenced, what left. It can be wrong without breaking anything: the core checks
//! its answers.
//!
//! The table of names, sources and costs; each file says when not to use its policy.
//! *n* is the number of frames.
//!
//! | name | source | a hit | a miss | kept of pages that left |
//! |---|---|---|---|---|
//! | `fifo` | folklore | O(1), nothing | O(1) | – |
//! | `lru` | Mattson et al. 1970 | O(1), a move | O(1) | – |
//! | `clock` | Corbató 1968 | O(1), a bit | O(1) on average, O(n) at worst | – |
//! | `sieve` | Zhang et al. 2024 | O(1), a bit | O(1) on average, O(n) at worst | – |
//! | `s3fifo` | Yang et al. 2023 | O(1), a counter | O(1) on average, O(n) at worst | 0.9 n |
//! | `2q` | Johnson and Shasha 1994 | O(1), a move | O(1) | n / 2 |
//! | `arc` | Megiddo and Modha 2003 | O(1), a move | O(1) | n |
//! | `lirs` | Jiang and Zhang 2002 | O(1) on average | O(1) on average | without bound |
//! | `first` | folklore | nothing | O(log n) | – |
//! | `opt` | Belady 1966 | O(log of the trace's length) | the same | the future |
//!
//! Frames that the driver forbids are passed over one by one, which costs as much as
//! there are of them.

mod arc;
mod clock;
mod fifo;
mod first;
mod ghosts;
mod kind;
mod lirs;
mod list;
mod lru;
mod opt;
mod positions;
mod s3fifo;
mod sieve;
mod two_queue;

use crate::page::FrameNo;
use core::fmt;

pub use arc::Arc;
pub use clock::{Arrival, Clock};
pub use fifo::Fifo;
pub use first::First;
pub use kind::{PolicyKind, UnknownPolicy};
pub use lirs::Lirs;
pub use lru::Lru;
pub use opt::{Future, Opt, TooLong};
pub use s3fifo::S3Fifo;
pub use sieve::Sieve;
pub use two_queue::TwoQueue;

/// Decides which page leaves. Sees only what the driver can know; the core checks its answers.
///
/// Frames should be numbered from 0 on: tables are indexed by them. A frame holds one
/// page between [`Self::inserted`] and [`Self::evicted`] or [`Self::removed`].
pub trait Policy: fmt::Debug + Send {
    /// `page` (a stable number of what is held: page, backing or file block) was brought into `frame`.
    fn inserted(&mut self, frame: FrameNo, page: u64);

    /// The page in `frame` was referenced, as far as the driver sees it.
    fn touched(&mut self, frame: FrameNo);

    /// What to do next so that a frame becomes free for `incoming`. Frames for which `may` says false (pinned, in
    /// a transfer) are passed over. None: no frame may be taken. Asking changes no membership: an answer
    /// [`Step::Evict`] stands until [`Self::evicted`] is called; a driver whose write failed simply does not call
    /// it and the page stays where it was.
    ///
    /// Asked again and again, with nothing else between, it answers `Evict` or none after at most four times as
    /// many steps as there are frames.
    fn next(&mut self, incoming: u64, may: &mut dyn FnMut(FrameNo) -> bool) -> Option<Step>;

    /// The page in `frame` was evicted, as [`Self::next`] proposed.
    fn evicted(&mut self, frame: FrameNo);

    /// The page in `frame` is gone for another reason (discarded, its process ended): forget it, no ghost.
    fn removed(&mut self, frame: FrameNo);
}

/// What a policy wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Clear the frame's reference bit (unmap its page) and ask again.
    Unreference(FrameNo),
    /// Take this frame.
    Evict(FrameNo),
}
