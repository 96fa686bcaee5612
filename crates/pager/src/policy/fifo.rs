//! First in, first out.

use super::{Policy, Step};
use crate::page::FrameNo;
use std::collections::VecDeque;

/// The page that came first leaves first.
#[derive(Debug, Default)]
pub struct Fifo {
    queue: VecDeque<FrameNo>,
}

impl Policy for Fifo {
    fn inserted(&mut self, frame: FrameNo, _: u64) {
        self.queue.push_back(frame);
    }

    fn touched(&mut self, _: FrameNo) {}

    fn next(&mut self, _: u64, may: &mut dyn FnMut(FrameNo) -> bool) -> Option<Step> {
        self.queue.iter().copied().find(|frame| may(*frame)).map(Step::Evict)
    }

    fn evicted(&mut self, frame: FrameNo) {
        self.removed(frame);
    }

    fn removed(&mut self, frame: FrameNo) {
        self.queue.retain(|other| *other != frame);
    }
}
