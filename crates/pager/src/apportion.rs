//! One budget among the processes of a tree: who may have how much of it.
//!
//! While nobody is short everybody may take what is free. Once somebody is, what lies above
//! the floors is divided by need, which is how much of the time a process has lately waited
//! for pages that it had had before. A process that is not short gets no more than it uses,
//! so what it leaves goes to the others. That is proportional-share allocation (Waldspurger
//! and Weihl, "Lottery Scheduling", 1994) with a min-funding revocation of sorts: who needs
//! least gives first, down to its floor.
//!
//! Two things keep it calm. A process gives at most a quarter of what it uses at a time, so
//! that a moment's quiet does not cost it everything; and a difference of less than an
//! eighth is left as it is.

/// The most that a process can need: it waits all the time.
pub const MOST_NEED: u32 = 1000;

/// What a process is taken to need that has not been seen yet.
pub const FIRST_NEED: u32 = MOST_NEED / 2;

/// What a process needs at least that is short of memory for pages it has not had before.
const NEED_TO_GROW: u32 = MOST_NEED / 10;

/// A process gives one part in so many of what it uses at a time.
const STEP: u64 = 4;
/// A difference of one part in so many is left as it is.
const CALM: u64 = 8;

/// What a process that is not short is left above what it uses: one part in so many, and this.
const ROOM_SHARE: u64 = 16;
const ROOM_BYTES: u64 = 1 << 20;

/// One process of the tree. All sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claimant {
    /// What it may use now.
    pub granted: u64,
    /// What it uses, which may be more or less.
    pub used: u64,
    /// What it cannot do without: memory that is not paged, and the least to page with.
    pub floor: u64,
    /// From 0, an idle one, to [`MOST_NEED`].
    pub need: u32,
    /// Whether it could use more.
    pub is_short: bool,
}

impl Claimant {
    /// What it could put to use.
    fn most(&self) -> u64 {
        let room = (self.used / ROOM_SHARE).saturating_add(ROOM_BYTES);
        if self.is_short { u64::MAX } else { self.used.saturating_add(room).max(self.floor) }
    }

    fn weight(&self) -> u128 {
        u128::from(self.need.min(MOST_NEED)) + 1
    }
}

/// What has been seen of a process since its need was last reckoned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Nanoseconds that have passed.
    pub elapsed_ns: u64,
    /// For how many of them threads waited for pages, summed over threads.
    pub stalled_ns: u64,
    /// Pages that came back after they had been evicted.
    pub refaults: u64,
    /// Whether it could use more.
    pub is_short: bool,
}

/// How much a process needs that needed `before`: a moving average over four looks.
pub fn need(before: u32, seen: Seen) -> u32 {
    let share = u128::from(seen.stalled_ns) * u128::from(MOST_NEED) / u128::from(seen.elapsed_ns.max(1));
    let share = u32::try_from(share).unwrap_or(MOST_NEED).min(MOST_NEED);
    let now = match (seen.refaults, seen.is_short) {
        (1.., _) => share.max(NEED_TO_GROW),
        (0, true) => NEED_TO_GROW,
        (0, false) => 0,
    };
    (before.min(MOST_NEED) * 3 + now) / 4
}

/// Says in `targets`, in the order of `claimants`, how much each should have of `budget`;
/// `u64::MAX` is as much as it can get. Does not allocate. Whatever the numbers are, the
/// targets are within the budget, or without bound for all.
///
/// # Panics
/// If there are fewer targets than claimants.
pub fn apportion(budget: u64, claimants: &[Claimant], targets: &mut [u64]) {
    let targets = &mut targets[..claimants.len()];
    let sum = |number: fn(&Claimant) -> u64| claimants.iter().map(number).fold(0, u64::saturating_add);
    let overdrawn = sum(|claimant| claimant.granted) > budget;
    if !overdrawn && claimants.iter().all(|claimant| !claimant.is_short) {
        return targets.fill(u64::MAX);
    }
    let floors: u128 = claimants.iter().map(|claimant| u128::from(claimant.floor)).sum();
    let Some(rest) = u128::from(budget).checked_sub(floors) else {
        for (target, claimant) in targets.iter_mut().zip(claimants) {
            *target = (u128::from(budget) * u128::from(claimant.floor) / floors) as u64;
        }
        return;
    };
    divide(rest as u64, claimants, targets);
    if !overdrawn {
        targets.iter_mut().zip(claimants).for_each(|(target, claimant)| *target = calm(*target, claimant));
    }
}

/// Divides `rest`, what lies above all floors, by weight. Who would get more than it can use
/// leaves the difference to the others: each round satisfies somebody, or is the last.
fn divide(rest: u64, claimants: &[Claimant], targets: &mut [u64]) {
    // Who has got all that it can use; others are marked.
    const OPEN: u64 = u64::MAX;
    targets.fill(OPEN);
    let mut rest = rest;
    loop {
        let open = || claimants.iter().zip(targets.iter()).filter(|(_, target)| **target == OPEN);
        let weights: u128 = open().map(|(claimant, _)| claimant.weight()).sum();
        if weights == 0 {
            return;
        }
        let part = |claimant: &Claimant| (u128::from(rest) * claimant.weight() / weights) as u64;
        let satisfied = |claimant: &Claimant| claimant.most() - claimant.floor <= part(claimant);
        let taken: u64 = open()
            .filter(|(claimant, _)| satisfied(claimant))
            .map(|(claimant, _)| claimant.most() - claimant.floor)
            .fold(0, u64::saturating_add);
        let any = open().any(|(claimant, _)| satisfied(claimant));
        for (target, claimant) in targets.iter_mut().zip(claimants).filter(|(target, _)| **target == OPEN) {
            if satisfied(claimant) {
                *target = claimant.most().min(OPEN - 1);
            } else if !any {
                *target = claimant.floor + part(claimant);
            }
        }
        if !any {
            return;
        }
        rest = rest.saturating_sub(taken);
    }
}

/// What is asked of a claimant now that should have `ideal` in the end.
fn calm(ideal: u64, claimant: &Claimant) -> u64 {
    if ideal >= claimant.granted {
        return ideal;
    }
    // What is not used costs nothing to give.
    let in_use = claimant.granted.min(claimant.most()).max(claimant.floor.min(claimant.granted));
    if ideal >= in_use - in_use / CALM { in_use.max(ideal) } else { ideal.max(in_use - in_use / STEP) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn claimant(granted: u64, need: u32, is_short: bool) -> Claimant {
        Claimant { granted: granted * MIB, used: granted * MIB, floor: 4 * MIB, need, is_short }
    }

    /// Everybody gives and takes as told, and is told again; what each has in the end.
    fn settle(budget: u64, claimants: &mut [Claimant], times: u32) -> Vec<u64> {
        let mut targets = vec![0; claimants.len()];
        for _ in 0..times {
            apportion(budget * MIB, claimants, &mut targets);
            for (claimant, target) in claimants.iter_mut().zip(&targets) {
                claimant.granted = claimant.granted.min(*target);
            }
            for (index, target) in targets.iter().enumerate() {
                let granted: u64 = claimants.iter().map(|claimant| claimant.granted).sum();
                let free = (budget * MIB).saturating_sub(granted);
                let claimant = &mut claimants[index];
                if claimant.is_short {
                    claimant.granted += free.min(target.saturating_sub(claimant.granted));
                }
                claimant.used =
                    if claimant.is_short { claimant.granted } else { claimant.used.min(claimant.granted) };
            }
        }
        claimants.iter().map(|claimant| claimant.granted / MIB).collect()
    }

    #[test]
    fn while_nobody_is_short_everybody_may_take_what_is_free() {
        let mut targets = [0; 2];
        apportion(100 * MIB, &[claimant(40, 900, false), claimant(50, 0, false)], &mut targets);
        assert_eq!(targets, [u64::MAX; 2]);
    }

    #[test]
    fn equals_get_the_same_and_are_left_alone_then() {
        let mut four = [
            claimant(188, 800, true),
            claimant(4, 800, true),
            claimant(4, 800, true),
            claimant(4, 800, true),
        ];
        let got = settle(200, &mut four, 40);
        assert!(got.iter().all(|mib| (42..=57).contains(mib)), "{got:?}");
        let mut targets = [0; 4];
        apportion(200 * MIB, &four, &mut targets);
        assert!(four.iter().zip(targets).all(|(claimant, target)| target >= claimant.granted), "{targets:?}");
    }

    #[test]
    fn the_hot_one_gets_nearly_everything_from_idle_ones_within_ten_looks() {
        let mut four =
            [claimant(64, 0, false), claimant(64, 0, false), claimant(64, 0, false), claimant(64, 900, true)];
        let got = settle(256, &mut four, 10);
        assert!(got[3] * 100 >= 256 * 85, "{got:?}");
        assert!(got[..3].iter().all(|mib| *mib >= 4), "a floor was passed: {got:?}");
    }

    #[test]
    fn nobody_gives_more_than_a_quarter_of_what_it_uses_at_once() {
        let mut targets = [0; 2];
        let mut two = [claimant(160, 0, false), claimant(40, 900, true)];
        apportion(200 * MIB, &two, &mut targets);
        assert_eq!(targets[0], 120 * MIB);
        // What lies idle goes at once.
        two[0].used = 10 * MIB;
        apportion(200 * MIB, &two, &mut targets);
        assert!(targets[0] <= 12 * MIB, "{targets:?}");
    }

    #[test]
    fn a_smaller_budget_holds_at_once() {
        let mut targets = [0; 3];
        let three = [claimant(100, 900, true), claimant(100, 0, false), claimant(50, 300, true)];
        apportion(60 * MIB, &three, &mut targets);
        assert!(targets.iter().sum::<u64>() <= 60 * MIB, "{targets:?}");
        assert!(targets.iter().all(|target| *target >= 4 * MIB), "{targets:?}");
        apportion(6 * MIB, &three, &mut targets);
        assert_eq!(targets, [2 * MIB; 3]);
    }

    #[test]
    fn need_follows_what_is_seen_and_forgets() {
        let seen = |stalled_ns, refaults, is_short| Seen { elapsed_ns: 100, stalled_ns, refaults, is_short };
        let busy = (0..20).fold(0, |before, _| need(before, seen(90, 5, true)));
        assert!((880..=900).contains(&busy), "{busy}");
        let idle = (0..20).fold(busy, |before, _| need(before, seen(0, 0, false)));
        assert!(idle <= 3, "{idle}");
        let filling = (0..20).fold(0, |before, _| need(before, seen(90, 0, true)));
        assert!((90..=100).contains(&filling), "{filling}");
        assert!(need(u32::MAX, seen(u64::MAX, u64::MAX, true)) <= MOST_NEED);
    }

    /// Others may write anything into the ledger.
    #[test]
    fn any_numbers_give_targets_within_the_budget() {
        let mut state = 9_u64;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let bits = state >> 58;
            (state ^ state >> 29).wrapping_mul(0x9e3779b97f4a7c15) >> bits
        };
        for _ in 0..20_000 {
            let claimants: Vec<Claimant> = (0..random() % 7)
                .map(|_| Claimant {
                    granted: random(),
                    used: random(),
                    floor: random(),
                    need: random() as u32,
                    is_short: random() % 2 == 0,
                })
                .collect();
            let budget = random();
            let mut targets = vec![0; claimants.len()];
            apportion(budget, &claimants, &mut targets);
            let granted = claimants.iter().fold(0_u64, |sum, claimant| sum.saturating_add(claimant.granted));
            if targets.iter().any(|target| *target != u64::MAX) && granted > budget {
                let sum: u128 = targets.iter().map(|target| u128::from(*target)).sum();
                assert!(sum <= u128::from(budget), "{claimants:?} {budget} {targets:?}");
            }
        }
    }
}
