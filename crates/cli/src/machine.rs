//! `outcore machine`: the pager on a simulated computer.

mod options;
mod run;

use crate::trouble::Trouble;
use clap::Subcommand;

/// What to do with the machine.
#[derive(Debug, Subcommand)]
pub(crate) enum MachineVerb {
    /// Carry out a script, and log what happens
    Run(run::RunScript),
}

/// `outcore machine`.
///
/// # Errors
/// What cannot be done, with the exit status that says so.
pub(crate) fn machine(verb: &MachineVerb) -> Result<u8, Trouble> {
    match verb {
        MachineVerb::Run(options) => run::run(options),
    }
}
