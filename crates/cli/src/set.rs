//! `outcore set`: another budget for a run, while it runs.

use crate::budget;
use crate::memory::Memory;
use crate::runs::{Life, Runs, ledger_of, one_or_all, why_not};
use crate::size::shown;
use crate::trouble::{Trouble, say};
use clap::Args;
use std::io::Write as _;
use std::sync::atomic::Ordering::Relaxed;
use sys::ledger::{FREE_BYTES, Ledger};

const SET_EXAMPLES: &str = "\
Examples:
  outcore set 4242 --ram 128M    the run that process 4242 belongs to has 128 MiB from now on
  outcore set all --ram 25%      so has every run, of the control group's limit or of RAM

The number is that of a process of the run or of the outcore that watches it. Down as well as up, the \
budget counts at once: what does not fit any more is evicted. A run with --ram auto does not follow its \
control group any more once it has been set.

Exit status: 0; 2 if there is no such run, it belongs to somebody else, or the budget is too small. With \
all, those that cannot be looked into are named and left out; of the others all that can be changed are, and 2 says that \
one could not.";

/// What `outcore set` was asked for.
#[derive(Args, Debug)]
#[command(after_help = SET_EXAMPLES)]
pub(crate) struct Options {
    /// A process of the run, or all
    #[arg(value_name = "PID|all")]
    which: String,

    /// RAM for all processes of the run: a size (256M), or a percentage (25%)
    #[arg(long, value_name = "SIZE|PERCENT", allow_hyphen_values = true)]
    ram: String,
}

/// `outcore set`.
///
/// # Errors
/// There is no such run, it cannot be changed, or not to that.
pub(crate) fn set(options: &Options) -> Result<u8, Trouble> {
    let pid = one_or_all(&options.which)?;
    if budget::is_automatic(&options.ram) {
        return Err(Trouble::bad_input(
            "--ram auto is for 'outcore run'; write a size such as 256M, or a percentage",
        ));
    }
    let mut runs = Runs::default();
    let samples = runs.look();
    let is_meant = |supervisor: u32, process: u32| pid.is_none_or(|pid| pid == supervisor || pid == process);
    let mut supervisors: Vec<u32> = samples
        .iter()
        .filter(|sample| sample.life == Life::Alive && is_meant(sample.supervisor, sample.pid))
        .map(|sample| sample.supervisor)
        .collect();
    supervisors.dedup();
    if pid.is_none() {
        runs.closed.iter().for_each(|closed| say(&closed.to_string()));
    }
    if supervisors.is_empty() {
        return Err(Trouble::bad_input(match pid {
            Some(pid) => why_not(pid, &runs.closed),
            None => "nothing runs under outcore".to_owned(),
        }));
    }
    let bytes = wanted(&options.ram)?;
    change_each(&supervisors, |supervisor| {
        let ledger = ledger_of(supervisor).ok_or_else(|| {
            Trouble::bad_input(format!(
                "the run of process {supervisor} has no ledger that this outcore understands; it was started by another \
                 version, or has just ended"
            ))
        })?;
        change(supervisor, ledger, &options.ram, bytes)
    })
}

/// The bytes that a budget is written for.
fn wanted(text: &str) -> Result<u64, Trouble> {
    budget::resolve(text, &Memory::look()).map_err(|trouble| Trouble::bad_input(trouble.text))
}

/// Changes all that can be. Why others cannot is said, but for the last of them, which is returned.
fn change_each(supervisors: &[u32], change: impl Fn(u32) -> Result<(), Trouble>) -> Result<u8, Trouble> {
    let mut refused: Vec<Trouble> =
        supervisors.iter().filter_map(|supervisor| change(*supervisor).err()).collect();
    let Some(last) = refused.pop() else { return Ok(0) };
    refused.iter().for_each(|trouble| say(&trouble.text));
    Err(last)
}

/// The run has so many `bytes` from now on, written as `text`.
fn change(supervisor: u32, ledger: &Ledger, text: &str, bytes: u64) -> Result<(), Trouble> {
    let needed = least(ledger);
    if bytes < needed {
        return Err(Trouble::bad_input(format!(
            "--ram {text} is too small for the run of process {supervisor}: what its processes have that cannot be paged, and \
             4 MiB of frames each, take {} now",
            shown(needed)
        )));
    }
    let before = ledger.budget();
    ledger.set_budget(bytes);
    let line = format!(
        "the run of process {supervisor} has {} of RAM now, and had {}\n",
        shown(bytes),
        shown(before)
    );
    let mut out = std::io::stdout().lock();
    crate::trace_verbs::written(out.write_all(line.as_bytes()).and_then(|()| out.flush()))
}

/// What all processes cannot do without.
fn least(ledger: &Ledger) -> u64 {
    let floors = ledger.taken().map(|seat| seat.floor.load(Relaxed));
    floors.fold(FREE_BYTES, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_cannot_leave_memory_bounds_the_budget() {
        let (_file, ledger) = Ledger::create(256 * MIB).unwrap();
        let seat = ledger.sit(std::process::id()).unwrap();
        seat.seat().floor.store(100 * MIB, Relaxed);
        let change = |text| wanted(text).and_then(|bytes| change(7, ledger, text, bytes));
        let refused = change("64M").unwrap_err();
        assert_eq!(refused.status, 2);
        assert!(
            refused.text.contains("--ram 64M is too small") && refused.text.contains("take 108 MiB"),
            "{}",
            refused.text
        );
        assert_eq!((change("1T").unwrap_err().status, ledger.budget()), (2, 256 * MIB));
        change("128M").unwrap();
        assert_eq!(ledger.budget(), 128 * MIB);
    }

    #[test]
    fn who_is_refused_does_not_keep_others_from_it() {
        let asked = std::cell::RefCell::new(Vec::new());
        let change = |supervisor: u32| {
            asked.borrow_mut().push(supervisor);
            if supervisor.is_multiple_of(2) {
                Err(Trouble::bad_input(format!("not {supervisor}")))
            } else {
                Ok(())
            }
        };
        let refused = change_each(&[1, 2, 3, 4, 5], change).unwrap_err();
        assert_eq!((asked.take(), refused.status, refused.text.as_str()), (vec![1, 2, 3, 4, 5], 2, "not 4"));
        assert_eq!(change_each(&[7, 9], change).unwrap(), 0);
    }
}
