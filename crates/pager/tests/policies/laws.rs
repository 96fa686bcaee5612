//! What holds for every trace.

use crate::drive::{Outcome, ask, misses, misses_of, policy, replay};
use crate::naive;
use crate::traces::{Random, SHAPES, trace};
use pager::policy::{Arrival, Clock};
use pager::{FrameNo, Policy, PolicyKind};
use std::collections::{BTreeMap, BTreeSet};

/// Sizes of a policy's shares round differently in each of these.
const SIZES: [u32; 14] = [1, 2, 3, 4, 5, 7, 8, 10, 11, 19, 20, 40, 101, 230];

#[test]
fn fast_and_naive_versions_agree_page_by_page() {
    for seed in 1..=6 {
        for shape in SHAPES {
            for frames in SIZES {
                let pages = u64::from(frames) * (2 + seed % 3) / 2 + 1 + seed;
                let len = 300 + 6 * frames as usize;
                let trace = trace(shape, seed, len, pages);
                for kind in PolicyKind::ALL {
                    let fast = replay(policy(kind, &trace, frames).as_mut(), &trace, frames);
                    let slow = naive::replay(kind, &trace, frames as usize);
                    let differ = fast.iter().zip(&slow).position(|(fast, slow)| fast != slow);
                    let at = differ.map(|at| (at, fast[at], slow[at]));
                    assert_eq!(at, None, "{kind}, {shape:?}, seed {seed}, {frames} frames");
                }
                let mut clock = Clock::new(frames, Arrival::Referenced);
                let slow = naive::clock(&trace, frames as usize, true);
                assert_eq!(
                    replay(&mut clock, &trace, frames),
                    slow,
                    "{shape:?}, seed {seed}, {frames} frames"
                );
            }
        }
    }
}

/// Larger than what the shares round, so that ghosts fill up and are trimmed.
#[test]
fn they_agree_over_a_long_mixed_trace() {
    for (seed, frames) in [(11, 64), (12, 150)] {
        let trace = trace(crate::traces::Shape::Mixed, seed, 20_000, 220);
        for kind in PolicyKind::ALL {
            let fast = replay(policy(kind, &trace, frames).as_mut(), &trace, frames);
            // The naive versions of these two look through the whole trace at each miss.
            if matches!(kind, PolicyKind::Lru | PolicyKind::Opt) {
                continue;
            }
            assert_eq!(fast, naive::replay(kind, &trace, frames as usize), "{kind}, seed {seed}");
        }
    }
}

#[test]
fn more_frames_never_miss_more_under_lru_and_opt() {
    for seed in 1..=8 {
        for shape in SHAPES {
            let trace = trace(shape, seed, 500, 30);
            for kind in [PolicyKind::Lru, PolicyKind::Opt] {
                let misses: Vec<usize> = (1..=40).map(|frames| misses_of(kind, &trace, frames)).collect();
                assert!(misses.is_sorted_by(|a, b| a >= b), "{kind}, {shape:?}, seed {seed}: {misses:?}");
            }
        }
    }
}

#[test]
fn none_beats_opt() {
    for seed in 1..=8 {
        for shape in SHAPES {
            let trace = trace(shape, seed, 600, 50);
            for frames in SIZES {
                let least = misses_of(PolicyKind::Opt, &trace, frames);
                for kind in PolicyKind::ALL {
                    let misses = misses_of(kind, &trace, frames);
                    assert!(misses >= least, "{kind}, {shape:?}, seed {seed}, {frames}: {misses} < {least}");
                }
            }
        }
    }
}

/// The fewest misses that any choice of victims leads to, by trying them all.
fn fewest(trace: &[u64], frames: usize) -> usize {
    let mut reached: BTreeMap<BTreeSet<u64>, usize> = BTreeMap::from([(BTreeSet::new(), 0)]);
    for page in trace {
        let mut next: BTreeMap<BTreeSet<u64>, usize> = BTreeMap::new();
        let mut reach = |held: BTreeSet<u64>, misses: usize| {
            let known = next.entry(held).or_insert(misses);
            *known = misses.min(*known);
        };
        for (held, misses) in reached {
            if held.contains(page) {
                reach(held, misses);
            } else if held.len() < frames {
                reach(held.iter().chain([page]).copied().collect(), misses + 1);
            } else {
                for victim in &held {
                    let rest = held.iter().filter(|other| *other != victim);
                    reach(rest.chain([page]).copied().collect(), misses + 1);
                }
            }
        }
        reached = next;
    }
    reached.into_values().min().unwrap_or_default()
}

#[test]
fn opt_misses_as_little_as_is_possible() {
    for seed in 1..=25 {
        for shape in SHAPES {
            let trace = trace(shape, seed, 24, 7);
            for frames in 1..=4 {
                let opt = misses(&replay(policy(PolicyKind::Opt, &trace, frames).as_mut(), &trace, frames));
                assert_eq!(opt, fewest(&trace, frames as usize), "{trace:?} in {frames} frames");
            }
        }
    }
}

/// Frames that may not be taken, writes that fail, pages that go for other reasons: every
/// answer still names a frame that is held and allowed, and there is one as long as there
/// is such a frame.
#[test]
fn answers_hold_up_against_a_difficult_driver() {
    for seed in 1..=20 {
        for kind in PolicyKind::ALL.into_iter().filter(|kind| *kind != PolicyKind::Opt) {
            for frames in [1, 2, 3, 10, 50] {
                difficult(kind, seed, frames);
            }
        }
    }
}

fn difficult(kind: PolicyKind, seed: u64, frames: u32) {
    let mut random = Random::new(seed);
    let mut policy: Box<dyn Policy> = policy(kind, &[], frames);
    let mut held: Vec<Option<u64>> = vec![None; frames as usize];
    let pages = u64::from(frames) * 2 + 3;
    let what = |step: u32| format!("{kind}, seed {seed}, {frames} frames, step {step}");
    for step in 0..800 {
        let page = random.below(pages);
        let frame = held.iter().position(|held| *held == Some(page));
        match (frame, random.below(10)) {
            (Some(frame), 0) => {
                held[frame] = None;
                policy.removed(FrameNo(frame as u32));
            }
            (Some(frame), _) => policy.touched(FrameNo(frame as u32)),
            (None, what_then) => {
                let free = held.iter().position(Option::is_none);
                let frame = free.or_else(|| {
                    let pinned: Vec<bool> = (0..frames).map(|_| random.below(3) == 0).collect();
                    let mut may = |frame: FrameNo| {
                        assert!(held[frame.0 as usize].is_some(), "{}", what(step));
                        !pinned[frame.0 as usize]
                    };
                    let found = ask(policy.as_mut(), page, frames, &mut may);
                    assert_eq!(found.is_none(), pinned.iter().all(|pinned| *pinned), "{}", what(step));
                    let found = found?;
                    if what_then == 0 {
                        // The write failed: asked again, it is the same frame.
                        assert_eq!(
                            ask(policy.as_mut(), page, frames, &mut may),
                            Some(found),
                            "{}",
                            what(step)
                        );
                        return None;
                    }
                    policy.evicted(found);
                    Some(found.0 as usize)
                });
                if let Some(frame) = frame {
                    held[frame] = Some(page);
                    policy.inserted(FrameNo(frame as u32), page);
                }
            }
        }
    }
    // Everything can be taken, one after the other, and then nothing.
    for left in (0..held.iter().flatten().count()).rev() {
        let frame = ask(policy.as_mut(), u64::MAX, frames, &mut |_| true).expect("a frame is held");
        assert!(held[frame.0 as usize].take().is_some(), "{kind}");
        policy.evicted(frame);
        assert_eq!(held.iter().flatten().count(), left);
    }
    assert_eq!(ask(policy.as_mut(), u64::MAX, frames, &mut |_| true), None);
}

/// OPT too passes over what may not be taken, and takes the next best.
#[test]
fn opt_passes_over_pinned_frames() {
    let trace = [1, 2, 3, 1, 2, 4, 3, 1, 2];
    let mut opt = policy(PolicyKind::Opt, &trace, 3);
    for (frame, page) in [(0, 1), (1, 2), (2, 3)] {
        opt.inserted(FrameNo(frame), page);
    }
    opt.touched(FrameNo(0));
    opt.touched(FrameNo(1));
    let mut choice = |pinned: &[u32]| ask(opt.as_mut(), 4, 3, &mut |frame| !pinned.contains(&frame.0));
    assert_eq!(choice(&[]), Some(FrameNo(1)));
    assert_eq!(choice(&[1]), Some(FrameNo(0)));
    assert_eq!(choice(&[0, 1]), Some(FrameNo(2)));
    assert_eq!(choice(&[0, 1, 2]), None);
}

/// A trace of hits says nothing about victims: the outcomes really differ between policies.
#[test]
fn the_policies_are_not_the_same() {
    let trace = trace(crate::traces::Shape::Mixed, 4, 3000, 60);
    let all: Vec<Vec<Outcome>> = PolicyKind::ALL
        .into_iter()
        .map(|kind| replay(policy(kind, &trace, 20).as_mut(), &trace, 20))
        .collect();
    for (index, one) in all.iter().enumerate() {
        assert!(all[..index].iter().all(|other| other != one), "{}", PolicyKind::ALL[index]);
    }
}
