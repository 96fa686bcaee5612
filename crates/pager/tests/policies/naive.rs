//! Each policy once more, from its definition: vectors of pages that are searched from
//! one end to the other, and nothing else. The end of a vector is what came last.

use crate::drive::Outcome::{self, Hit, Miss};
use pager::PolicyKind;

/// Replays `trace` by the definition of `kind`.
pub(crate) fn replay(kind: PolicyKind, trace: &[u64], frames: usize) -> Vec<Outcome> {
    match kind {
        PolicyKind::Fifo => fifo(trace, frames),
        PolicyKind::Lru => lru(trace, frames),
        PolicyKind::Clock => clock(trace, frames, false),
        PolicyKind::Sieve => sieve(trace, frames),
        PolicyKind::S3Fifo => s3fifo(trace, frames),
        PolicyKind::TwoQueue => two_queue(trace, frames),
        PolicyKind::Arc => arc(trace, frames),
        PolicyKind::Lirs => lirs(trace, frames),
        PolicyKind::First => first(trace, frames),
        PolicyKind::Opt => opt(trace, frames),
    }
}

fn place(pages: &[u64], page: u64) -> Option<usize> {
    pages.iter().position(|other| *other == page)
}

/// Takes `page` out; whether it was in.
fn take(pages: &mut Vec<u64>, page: u64) -> bool {
    place(pages, page).map(|at| pages.remove(at)).is_some()
}

fn fifo(trace: &[u64], frames: usize) -> Vec<Outcome> {
    let mut held: Vec<u64> = Vec::new();
    let reference = |page: &u64| {
        if held.contains(page) {
            return Hit;
        }
        let victim = (held.len() == frames).then(|| held.remove(0));
        held.push(*page);
        Miss(victim)
    };
    trace.iter().map(reference).collect()
}

/// The page leaves whose number is the lowest.
fn first(trace: &[u64], frames: usize) -> Vec<Outcome> {
    let mut held: Vec<u64> = Vec::new();
    let reference = |page: &u64| {
        if held.contains(page) {
            return Hit;
        }
        let victim = (held.len() == frames).then(|| {
            let lowest = held.iter().copied().min().expect("frames");
            take(&mut held, lowest);
            lowest
        });
        held.push(*page);
        Miss(victim)
    };
    trace.iter().map(reference).collect()
}

/// The page leaves whose last reference lies furthest back in the trace.
fn lru(trace: &[u64], frames: usize) -> Vec<Outcome> {
    let mut held: Vec<u64> = Vec::new();
    let reference = |(now, page): (usize, &u64)| {
        if held.contains(page) {
            return Hit;
        }
        let last_use = |page: &u64| trace[..now].iter().rposition(|other| other == page);
        let victim = (held.len() == frames).then(|| {
            let oldest = held.iter().copied().min_by_key(last_use).expect("frames");
            take(&mut held, oldest);
            oldest
        });
        held.push(*page);
        Miss(victim)
    };
    trace.iter().enumerate().map(reference).collect()
}

/// The page leaves whose next reference lies furthest ahead. Of those that have none, the
/// one that was referenced first.
fn opt(trace: &[u64], frames: usize) -> Vec<Outcome> {
    let mut held: Vec<u64> = Vec::new();
    let reference = |(now, page): (usize, &u64)| {
        if held.contains(page) {
            return Hit;
        }
        let next_use = |page: &u64| place(&trace[now..], *page).unwrap_or(usize::MAX);
        let last_use = |page: &u64| trace[..now].iter().rposition(|other| other == page);
        let victim = (held.len() == frames).then(|| {
            let key = |page: &u64| (next_use(page), core::cmp::Reverse(last_use(page)));
            let last = held.iter().copied().max_by_key(key).expect("frames");
            take(&mut held, last);
            last
        });
        held.push(*page);
        Miss(victim)
    };
    trace.iter().enumerate().map(reference).collect()
}

/// Evicts the oldest; a referenced candidate gets another round.
pub(crate) fn clock(trace: &[u64], frames: usize, arrive_referenced: bool) -> Vec<Outcome> {
    let mut ring: Vec<(u64, bool)> = Vec::new();
    let reference = |page: &u64| {
        if let Some(held) = ring.iter_mut().find(|held| held.0 == *page) {
            held.1 = true;
            return Hit;
        }
        let mut victim = None;
        while ring.len() == frames {
            let (page, referenced) = ring.remove(0);
            if referenced {
                ring.push((page, false));
            } else {
                victim = Some(page);
            }
        }
        ring.push((*page, arrive_referenced));
        Miss(victim)
    };
    trace.iter().map(reference).collect()
}

/// The hand goes from the tail, the oldest, to the head; survivors stay.
fn sieve(trace: &[u64], frames: usize) -> Vec<Outcome> {
    let mut held: Vec<(u64, bool)> = Vec::new();
    let mut hand = 0;
    let reference = |page: &u64| {
        if let Some(known) = held.iter_mut().find(|known| known.0 == *page) {
            known.1 = true;
            return Hit;
        }
        let mut victim = None;
        if held.len() == frames {
            while held[hand].1 {
                held[hand].1 = false;
                hand = (hand + 1) % frames;
            }
            victim = Some(held.remove(hand).0);
            // The hand is on the next newer page now, or, past the newest, at the tail.
            if hand == held.len() {
                hand = 0;
            }
        }
        held.push((*page, false));
        Miss(victim)
    };
    trace.iter().map(reference).collect()
}

/// Algorithm 1 of the paper, but for its double eviction.
fn s3fifo(trace: &[u64], frames: usize) -> Vec<Outcome> {
    let mut small: Vec<(u64, u8)> = Vec::new();
    let mut main: Vec<(u64, u8)> = Vec::new();
    let mut ghosts: Vec<u64> = Vec::new();
    let most_ghosts = frames - frames.div_ceil(10);
    let reference = |page: &u64| {
        if let Some(held) = small.iter_mut().chain(&mut main).find(|held| held.0 == *page) {
            held.1 = (held.1 + 1).min(3);
            return Hit;
        }
        let mut victim = None;
        while small.len() + main.len() == frames {
            if small.len() as f64 >= 0.1 * frames as f64 {
                let (page, freq) = small.remove(0);
                if freq > 1 {
                    main.push((page, 0));
                } else {
                    ghosts.push(page);
                    if ghosts.len() > most_ghosts {
                        ghosts.remove(0);
                    }
                    victim = Some(page);
                }
            } else {
                let (page, freq) = main.remove(0);
                if freq > 0 {
                    main.push((page, freq - 1));
                } else {
                    victim = Some(page);
                }
            }
        }
        if take(&mut ghosts, *page) {
            main.push((*page, 0));
        } else {
            small.push((*page, 0));
        }
        Miss(victim)
    };
    trace.iter().map(reference).collect()
}

/// The paper's procedure `reclaimfor` and what calls it.
fn two_queue(trace: &[u64], frames: usize) -> Vec<Outcome> {
    let (mut a1_in, mut a1_out, mut am): (Vec<u64>, Vec<u64>, Vec<u64>) =
        (Vec::new(), Vec::new(), Vec::new());
    let (k_in, k_out) = ((frames / 4).max(1), (frames / 2).max(1));
    let reference = |page: &u64| {
        if take(&mut am, *page) {
            am.push(*page);
            return Hit;
        }
        if a1_in.contains(page) {
            return Hit;
        }
        let in_a1_out = a1_out.contains(page);
        let mut victim = None;
        if a1_in.len() + am.len() == frames {
            if a1_in.len() > k_in || am.is_empty() {
                let y = a1_in.remove(0);
                a1_out.push(y);
                if a1_out.len() > k_out {
                    a1_out.remove(0);
                }
                victim = Some(y);
            } else {
                victim = Some(am.remove(0));
            }
        }
        if in_a1_out {
            take(&mut a1_out, *page);
            am.push(*page);
        } else {
            a1_in.push(*page);
        }
        Miss(victim)
    };
    trace.iter().map(reference).collect()
}

/// Figure 4 of the paper, case by case.
fn arc(trace: &[u64], c: usize) -> Vec<Outcome> {
    #[derive(Default)]
    struct Lists {
        t1: Vec<u64>,
        t2: Vec<u64>,
        b1: Vec<u64>,
        b2: Vec<u64>,
    }
    fn replace(lists: &mut Lists, in_b2: bool, p: f64) -> u64 {
        let t1 = lists.t1.len() as f64;
        if !lists.t1.is_empty() && (t1 > p || (in_b2 && t1 == p)) {
            let page = lists.t1.remove(0);
            lists.b1.push(page);
            page
        } else {
            let page = lists.t2.remove(0);
            lists.b2.push(page);
            page
        }
    }
    let (mut lists, mut p) = (Lists::default(), 0.0);
    let reference = |x: &u64| {
        // Case I.
        if take(&mut lists.t1, *x) || take(&mut lists.t2, *x) {
            lists.t2.push(*x);
            return Hit;
        }
        let (b1, b2) = (lists.b1.len() as f64, lists.b2.len() as f64);
        // Case II.
        if lists.b1.contains(x) {
            p = f64::min(p + if b1 >= b2 { 1.0 } else { b2 / b1 }, c as f64);
            let victim = replace(&mut lists, false, p);
            take(&mut lists.b1, *x);
            lists.t2.push(*x);
            return Miss(Some(victim));
        }
        // Case III.
        if lists.b2.contains(x) {
            p = f64::max(p - if b2 >= b1 { 1.0 } else { b1 / b2 }, 0.0);
            let victim = replace(&mut lists, true, p);
            take(&mut lists.b2, *x);
            lists.t2.push(*x);
            return Miss(Some(victim));
        }
        // Case IV.
        let l1 = lists.t1.len() + lists.b1.len();
        let all = l1 + lists.t2.len() + lists.b2.len();
        let mut victim = None;
        if l1 == c {
            if lists.t1.len() < c {
                lists.b1.remove(0);
                victim = Some(replace(&mut lists, false, p));
            } else {
                victim = Some(lists.t1.remove(0));
            }
        } else if all >= c {
            if all == 2 * c {
                lists.b2.remove(0);
            }
            victim = Some(replace(&mut lists, false, p));
        }
        lists.t1.push(*x);
        Miss(victim)
    };
    trace.iter().map(reference).collect()
}

/// The stack S as a vector whose end is the top; what is neither LIR nor in Q is not resident.
fn lirs(trace: &[u64], frames: usize) -> Vec<Outcome> {
    let (mut s, mut q, mut lir): (Vec<u64>, Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new(), Vec::new());
    let most_lir = frames - (frames / 100).max(1);
    let prune = |s: &mut Vec<u64>, lir: &[u64]| {
        while s.first().is_some_and(|bottom| !lir.contains(bottom)) {
            s.remove(0);
        }
    };
    let reference = |x: &u64| {
        if lir.contains(x) {
            take(&mut s, *x);
            s.push(*x);
            prune(&mut s, &lir);
            return Hit;
        }
        let hit = q.contains(x);
        let victim = (!hit && lir.len() + q.len() == frames).then(|| q.remove(0));
        let on_stack = take(&mut s, *x);
        s.push(*x);
        take(&mut q, *x);
        if on_stack || lir.len() < most_lir {
            lir.push(*x);
            if lir.len() > most_lir {
                let bottom = s.remove(0);
                assert!(take(&mut lir, bottom), "the bottom of the stack is LIR");
                q.push(bottom);
            }
        } else {
            q.push(*x);
        }
        prune(&mut s, &lir);
        if hit { Hit } else { Miss(victim) }
    };
    trace.iter().map(reference).collect()
}
