//! `outcore machine`: the pager on a simulated computer.

mod options;
mod replay;
mod run;

use crate::trouble::Trouble;
use clap::Subcommand;

/// What to do with the machine.
#[derive(Debug, Subcommand)]
pub(crate) enum MachineVerb {
    /// Carry out a script, and log what happens
    Run(run::RunScript),
    /// Count how often each replacement policy misses
    Replay(replay::ReplayOptions),
}

/// `outcore machine`.
///
/// # Errors
/// What cannot be done, with the exit status that says so.
pub(crate) fn machine(verb: &MachineVerb) -> Result<u8, Trouble> {
    match verb {
        MachineVerb::Run(options) => run::run(options),
        MachineVerb::Replay(options) => replay::replay(options),
    }
}
