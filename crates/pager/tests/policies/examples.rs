//! Small traces that were followed by hand; the policies' files tell some of them.

use crate::drive::{misses, misses_of, policy, replay};
use pager::PolicyKind;
use pager::policy::{Arrival, Clock};

/// The reference string of Belady, Nelson and Shedler 1969.
const BELADY: [u64; 12] = [1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5];
/// The one that textbooks use (Silberschatz, Galvin and Gagne, "Operating System Concepts").
const TEXTBOOK: [u64; 20] = [7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, 1];

#[track_caller]
fn check(kind: PolicyKind, trace: &[u64], frames: u32, expected: usize) {
    assert_eq!(misses_of(kind, trace, frames), expected, "{kind} over {trace:?} in {frames} frames");
}

/// The pages that leave, in order.
fn victims(kind: PolicyKind, trace: &[u64], frames: u32) -> Vec<u64> {
    use crate::drive::Outcome;
    let outcomes = replay(policy(kind, trace, frames).as_mut(), trace, frames);
    let victim = |outcome: &Outcome| match outcome {
        Outcome::Miss(victim) => *victim,
        Outcome::Hit => None,
    };
    outcomes.iter().filter_map(victim).collect()
}

#[test]
fn published_counts() {
    check(PolicyKind::Fifo, &BELADY, 3, 9);
    check(PolicyKind::Fifo, &BELADY, 4, 10);
    check(PolicyKind::Lru, &BELADY, 3, 10);
    check(PolicyKind::Lru, &BELADY, 4, 8);
    check(PolicyKind::Opt, &BELADY, 3, 7);
    check(PolicyKind::Opt, &BELADY, 4, 6);
    check(PolicyKind::Fifo, &TEXTBOOK, 3, 15);
    check(PolicyKind::Lru, &TEXTBOOK, 3, 12);
    check(PolicyKind::Opt, &TEXTBOOK, 3, 9);
}

#[test]
fn lru_by_hand() {
    assert_eq!(victims(PolicyKind::Lru, &[1, 2, 3, 1, 4, 2], 3), [2, 3]);
}

#[test]
fn the_clock_gives_a_second_chance() {
    let trace = [1, 2, 3, 1, 4, 1, 2];
    assert_eq!(victims(PolicyKind::Clock, &trace, 3), [2, 3]);
    check(PolicyKind::Clock, &trace, 3, 5);
    check(PolicyKind::Fifo, &trace, 3, 6);
    check(PolicyKind::First, &trace, 3, 6);
    assert_eq!(victims(PolicyKind::First, &trace, 3), [1, 2, 1]);
}

/// What comes in referenced goes round once before anything leaves: 4 clears all three bits and takes the frame of
/// 1; 5 finds 2 referenced again, and takes the frame of 3.
#[test]
fn the_pagers_clock_inserts_referenced() {
    let trace = [1, 2, 3, 4, 2, 5];
    let mut clock = Clock::new(3, Arrival::Referenced);
    let outcomes = replay(&mut clock, &trace, 3);
    assert_eq!(misses(&outcomes), 5);
    assert_eq!(format!("{clock:?}"), "clock [f0* f1 f2*]");
}

#[test]
fn the_sieves_survivors_stay_and_its_hand_goes_on() {
    assert_eq!(victims(PolicyKind::Sieve, &[1, 2, 3, 1, 4, 5, 1], 3), [2, 3]);
    // Had 1 gone to the head, 6 would take 4; it is at the tail, and the hand beyond it.
    assert_eq!(victims(PolicyKind::Sieve, &[1, 2, 3, 1, 4, 5, 6, 7], 3), [2, 3, 4, 5]);
}

#[test]
fn s3fifo_promotes_at_more_than_one_access() {
    assert_eq!(victims(PolicyKind::S3Fifo, &[1, 1, 1, 2, 3, 4, 5, 1], 3), [2, 3]);
    // One access is not enough: 1 leaves, comes back from the ghosts, and then is in main.
    assert_eq!(victims(PolicyKind::S3Fifo, &[1, 1, 2, 3, 4, 1, 5, 6, 1], 3), [1, 2, 3, 4]);
}

#[test]
fn two_queue_keeps_what_comes_back() {
    let trace = [1, 2, 3, 4, 5, 1, 6, 7, 1];
    assert_eq!(victims(PolicyKind::TwoQueue, &trace, 4), [1, 2, 3, 4]);
    check(PolicyKind::TwoQueue, &trace, 4, 8);
    // A hit in A1in does not keep a page.
    assert_eq!(victims(PolicyKind::TwoQueue, &[1, 2, 3, 4, 1, 1, 1, 5], 4), [1]);
}

#[test]
fn arc_learns_from_ghosts() {
    assert_eq!(victims(PolicyKind::Arc, &[1, 1, 2, 3, 1], 2), [2]);
    assert_eq!(victims(PolicyKind::Arc, &[1, 1, 2, 3, 1, 2, 3], 2), [2, 1]);
}

#[test]
fn lirs_ranks_by_the_pages_between_two_references() {
    assert_eq!(victims(PolicyKind::Lirs, &[1, 2, 3, 1, 4, 1, 3, 2], 3), [3, 4]);
    // A loop over one page more than there are frames: LRU misses always, LIRS keeps its LIR pages.
    let trace: Vec<u64> = (0..100).map(|n| n % 5).collect();
    check(PolicyKind::Lru, &trace, 4, 100);
    assert!(misses_of(PolicyKind::Lirs, &trace, 4) < 50);
}

#[test]
fn one_frame_misses_whenever_the_page_changes() {
    for kind in PolicyKind::ALL {
        check(kind, &[5, 5, 6, 6, 6, 5, u64::MAX, u64::MAX], 1, 4);
        check(kind, &[], 1, 0);
    }
}

#[test]
fn what_fits_is_missed_once() {
    let trace: Vec<u64> = (0..400).map(|n| n * n % 37 * 1000).collect();
    let mut distinct = trace.clone();
    distinct.sort_unstable();
    distinct.dedup();
    for kind in PolicyKind::ALL {
        check(kind, &trace, distinct.len() as u32, distinct.len());
        check(kind, &trace, u32::MAX - 2, distinct.len());
    }
}
