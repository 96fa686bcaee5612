//! A driver of policies that checks every answer.

use pager::policy::{Arrival, Future, Opt};
use pager::{FrameNo, Policy, PolicyKind, Step};
use std::collections::HashMap;
use std::sync::Arc;

/// What a reference led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Hit,
    /// A miss, for which this page left.
    Miss(Option<u64>),
}

/// `kind` for a replay of `trace` in `frames` frames.
pub(crate) fn policy(kind: PolicyKind, trace: &[u64], frames: u32) -> Box<dyn Policy> {
    kind.build(frames, Arrival::Unreferenced).unwrap_or_else(|| {
        let future = Future::new(trace.iter().copied()).expect("a short trace");
        Box::new(Opt::new(Arc::new(future)))
    })
}

/// Replays `trace`.
pub(crate) fn replay(policy: &mut dyn Policy, trace: &[u64], frames: u32) -> Vec<Outcome> {
    let mut held: Vec<Option<u64>> = Vec::new();
    let mut frame_of = HashMap::new();
    let mut reference = |page: u64| {
        if let Some(frame) = frame_of.get(&page) {
            policy.touched(*frame);
            return Outcome::Hit;
        }
        if held.len() < frames as usize {
            let frame = FrameNo(held.len() as u32);
            held.push(Some(page));
            frame_of.insert(page, frame);
            policy.inserted(frame, page);
            return Outcome::Miss(None);
        }
        let frame = ask(policy, page, frames, &mut |_| true).expect("every frame may be taken");
        let victim = held[frame.0 as usize].replace(page).expect("a frame that is held");
        assert_eq!(frame_of.remove(&victim), Some(frame));
        frame_of.insert(page, frame);
        policy.evicted(frame);
        policy.inserted(frame, page);
        Outcome::Miss(Some(victim))
    };
    trace.iter().map(|page| reference(*page)).collect()
}

/// Asks until a frame is named, no more often than is promised.
pub(crate) fn ask(
    policy: &mut dyn Policy,
    incoming: u64,
    frames: u32,
    may: &mut dyn FnMut(FrameNo) -> bool,
) -> Option<FrameNo> {
    for _ in 0..=4 * frames {
        match policy.next(incoming, may) {
            Some(Step::Evict(frame)) => {
                assert!(may(frame), "{frame:?} may not be taken: {policy:?}");
                return Some(frame);
            }
            Some(Step::Unreference(frame)) => assert!(may(frame), "{frame:?} may not be touched: {policy:?}"),
            None => return None,
        }
    }
    panic!("no answer after four rounds: {policy:?}");
}

/// How many of `outcomes` are misses.
pub(crate) fn misses(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| **outcome != Outcome::Hit).count()
}

/// Misses of `kind` over `trace`.
pub(crate) fn misses_of(kind: PolicyKind, trace: &[u64], frames: u32) -> usize {
    misses(&replay(policy(kind, trace, frames).as_mut(), trace, frames))
}
