//! Replacement: which page leaves.

mod clock;
mod fifo;

use crate::page::FrameNo;
use core::fmt;
use core::str::FromStr;

pub use clock::Clock;
pub use fifo::Fifo;

/// Decides which page leaves. Sees only what the driver can know; the core checks its answers.
pub trait Policy: core::fmt::Debug + Send {
    /// `page` (a stable number of what is held: page, backing or file block) was brought into `frame`.
    fn inserted(&mut self, frame: FrameNo, page: u64);
    /// The page in `frame` was referenced, as far as the driver sees it.
    fn touched(&mut self, frame: FrameNo);
    /// What to do next so that a frame becomes free for `incoming`. Frames for which `may` says
    /// false (pinned, in a transfer) are passed over. None: no frame may be taken. Asking changes
    /// no membership: an answer `Evict` stands until [`Self::evicted`] is called; a driver whose
    /// write failed simply does not call it and the page stays where it was.
    fn next(&mut self, incoming: u64, may: &mut dyn FnMut(FrameNo) -> bool) -> Option<Step>;
    /// The page in `frame` was evicted, as [`Self::next`] proposed.
    fn evicted(&mut self, frame: FrameNo);
    /// The page in `frame` is gone for another reason (discarded, its process ended): forget it.
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

/// The policies by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    /// The oldest leaves.
    Fifo,
    /// Second chance.
    Clock,
}

impl PolicyKind {
    const ALL: [Self; 2] = [Self::Fifo, Self::Clock];
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fifo => "fifo",
            Self::Clock => "clock",
        })
    }
}

impl FromStr for PolicyKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.to_string() == name);
        found.ok_or_else(|| format!("{name:?} is not a policy"))
    }
}
