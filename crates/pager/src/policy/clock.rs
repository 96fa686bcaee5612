//! Second chance.

use super::{Policy, Step};
use crate::page::FrameNo;
use std::collections::VecDeque;

/// First in, first out, but a page that was referenced goes round once more.
#[derive(Debug)]
pub struct Clock {
    ring: VecDeque<(FrameNo, bool)>,
    referenced: bool,
}

impl Clock {
    /// `referenced`: whether what comes in counts as referenced.
    pub fn new(referenced: bool) -> Self {
        Self { ring: VecDeque::new(), referenced }
    }
}

impl Policy for Clock {
    fn inserted(&mut self, frame: FrameNo, _: u64) {
        self.ring.push_back((frame, self.referenced));
    }

    fn touched(&mut self, frame: FrameNo) {
        for (other, referenced) in &mut self.ring {
            *referenced |= *other == frame;
        }
    }

    fn next(&mut self, _: u64, may: &mut dyn FnMut(FrameNo) -> bool) -> Option<Step> {
        let at = self.ring.iter().position(|(frame, _)| may(*frame))?;
        let (frame, referenced) = self.ring[at];
        if !referenced {
            return Some(Step::Evict(frame));
        }
        self.ring.remove(at);
        self.ring.push_back((frame, false));
        Some(Step::Unreference(frame))
    }

    fn evicted(&mut self, frame: FrameNo) {
        self.removed(frame);
    }

    fn removed(&mut self, frame: FrameNo) {
        self.ring.retain(|(other, _)| *other != frame);
    }
}
