//! `--ram auto` while the program runs: the budget follows what the control group and the machine
//! leave, and what the kernel says of memory pressure.

use crate::budget;
use crate::cgroup;
use crate::kernel::{Waited, spawn_without_signals, wait_for_pressure};
use crate::memory::Memory;
use crate::size::shown;
use crate::trouble::say;
use std::fs::File;
use std::sync::Weak;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use sys::ledger::Ledger;

/// How often it is looked what there is, when nothing presses.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The budget is left alone while it differs by less than one part in so many.
const CALM: u64 = 32;
/// By one part in so many it is lowered when memory is short.
const LOWERED: u64 = 16;
/// By one part in so many it may grow again with each look.
const RAISED: u64 = 64;

/// What the budget should be.
#[derive(Debug)]
struct Aim {
    /// Not more than this: memory was short not long ago.
    most: u64,
}

impl Aim {
    /// The budget to set in place of `now`, where `memory` is left beside the `held` bytes of the
    /// program's processes; none if it can stay.
    fn next(&mut self, now: u64, held: u64, memory: &Memory, is_short: bool) -> Option<u64> {
        self.most = if is_short { now - now / LOWERED } else { self.most.saturating_add(self.most / RAISED) };
        let wanted = budget::automatic(memory, held).min(self.most).max(budget::MIN_RAM_BYTES);
        (wanted.abs_diff(now) > now / CALM).then_some(wanted)
    }
}

/// Keeps the budget of `ledger` up to date for as long as `run` is there, or until somebody else
/// sets it.
pub(crate) fn follow(ledger: &'static Ledger, run: Weak<()>) {
    let begun = spawn_without_signals(move || {
        let pressure = cgroup::pressure();
        let mut aim = Aim { most: u64::MAX };
        let mut ours = ledger.budget();
        while run.strong_count() > 0 {
            let is_short = wait(pressure.as_ref());
            if ledger.budget() != ours {
                break;
            }
            let held = ledger.taken().map(|seat| seat.used.load(Relaxed)).fold(0, u64::saturating_add);
            if let Some(budget) = aim.next(ours, held, &Memory::look(), is_short) {
                ledger.set_budget(budget);
                ours = budget;
            }
        }
    });
    if let Err(error) = begun {
        say(&format!(
            "--ram auto: no thread can be started that would follow what memory is left ({error}); the budget stays at {}",
            shown(ledger.budget())
        ));
    }
}

/// Waits until it is time to look again; whether because memory is short.
fn wait(pressure: Option<&File>) -> bool {
    match pressure.map(|file| wait_for_pressure(file, LOOK_EVERY)) {
        Some(Waited::Pressure) => true,
        Some(Waited::Nothing) => false,
        None | Some(Waited::Failed) => {
            std::thread::sleep(LOOK_EVERY);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn left(bytes: u64) -> Memory {
        Memory { total: 1 << 40, available: bytes, limit: None, limit_leaves: None }
    }

    #[test]
    fn it_follows_what_is_left_beside_what_is_held() {
        let mut aim = Aim { most: u64::MAX };
        // 1100 MiB in all, less a tenth.
        assert_eq!(aim.next(990 * MIB, 600 * MIB, &left(500 * MIB), false), None);
        assert_eq!(aim.next(990 * MIB, 600 * MIB, &left(200 * MIB), false), Some(720 * MIB));
        assert_eq!(aim.next(720 * MIB, 600 * MIB, &left(500 * MIB), false), Some(990 * MIB));
        assert_eq!(aim.next(990 * MIB, 0, &left(0), false), Some(budget::MIN_RAM_BYTES));
    }

    #[test]
    fn pressure_lowers_it_and_it_grows_again_slowly() {
        let mut aim = Aim { most: u64::MAX };
        let memory = left(10_000 * MIB);
        let mut budget = 1600 * MIB;
        for expected in [1500 * MIB, 1500 * MIB - 1500 * MIB / 16] {
            budget = aim.next(budget, 0, &memory, true).unwrap();
            assert_eq!(budget, expected);
        }
        let grown: Vec<u64> = (0..8)
            .filter_map(|_| {
                let next = aim.next(budget, 0, &memory, false);
                budget = next.unwrap_or(budget);
                next
            })
            .collect();
        assert!(grown.len() >= 2 && grown.iter().all(|bytes| *bytes < 1700 * MIB), "{grown:?}");
    }
}
