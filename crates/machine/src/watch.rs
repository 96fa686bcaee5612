//! The order in which pages are to leave, seen from outside of the policy.

use pager::policy::{Policy, Step};
use pager::{FrameNo, PolicyKind};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// The frames as a [`Watched`] policy was told of them. The head is where the clock's hand is;
/// of other policies than the clock and FIFO it is the order of arrival, and no more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order(Arc<Mutex<VecDeque<FrameNo>>>);

impl Order {
    /// The frames, from the hand on.
    pub(crate) fn frames(&self) -> Vec<FrameNo> {
        self.with(|order| order.iter().copied().collect())
    }

    fn with<T>(&self, act: impl FnOnce(&mut VecDeque<FrameNo>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn forget(&self, frame: FrameNo) {
        self.with(|order| order.retain(|other| *other != frame));
    }
}

/// A policy, and beside it what it was told. Each call costs as much as there are frames.
#[derive(Debug)]
pub(crate) struct Watched {
    policy: Box<dyn Policy>,
    order: Order,
    /// Whether a page that loses its reference bit goes to the tail.
    turns: bool,
}

impl Watched {
    pub(crate) fn new(policy: Box<dyn Policy>, kind: PolicyKind) -> (Self, Order) {
        let order = Order::default();
        (Self { policy, order: order.clone(), turns: kind == PolicyKind::Clock }, order)
    }
}

impl Policy for Watched {
    fn inserted(&mut self, frame: FrameNo, page: u64) {
        self.order.with(|order| order.push_back(frame));
        self.policy.inserted(frame, page);
    }

    fn touched(&mut self, frame: FrameNo) {
        self.policy.touched(frame);
    }

    fn next(&mut self, incoming: u64, may: &mut dyn FnMut(FrameNo) -> bool) -> Option<Step> {
        let step = self.policy.next(incoming, may);
        if let Some(Step::Unreference(frame)) = step
            && self.turns
        {
            self.order.forget(frame);
            self.order.with(|order| order.push_back(frame));
        }
        step
    }

    fn evicted(&mut self, frame: FrameNo) {
        self.order.forget(frame);
        self.policy.evicted(frame);
    }

    fn removed(&mut self, frame: FrameNo) {
        self.order.forget(frame);
        self.policy.removed(frame);
    }
}
