//! `outcore machine`: the pager on a simulated computer.

mod options;
mod recorded;
mod replay;
mod run;
mod step;

use crate::trouble::Trouble;
use clap::Subcommand;

/// What to do with the machine.
#[derive(Debug, Subcommand)]
pub(crate) enum MachineVerb {
    /// Carry out a script, and log what happens
    #[command(long_about = run::LONG_ABOUT)]
    Run(run::RunScript),
    /// Carry out a script in a terminal, one operation at a time, both ways
    #[command(long_about = step::LONG_ABOUT)]
    Step(step::StepScript),
    /// Count how often each replacement policy misses
    #[command(long_about = replay::LONG_ABOUT)]
    Replay(replay::ReplayOptions),
}

/// `outcore machine`.
///
/// # Errors
/// What cannot be done, with the exit status that says so.
pub(crate) fn machine(verb: &MachineVerb) -> Result<u8, Trouble> {
    match verb {
        MachineVerb::Run(options) => run::run(options),
        MachineVerb::Step(options) => step::step(options),
        MachineVerb::Replay(options) => replay::replay(options),
    }
}
