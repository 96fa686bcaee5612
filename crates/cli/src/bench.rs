//! `outcore bench`: what things cost on this machine.

mod answer;
mod costs;
mod faults;
mod fit;
mod model;
mod part;

use crate::trouble::Trouble;
use clap::Subcommand;
pub(crate) use costs::read as read_costs;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchVerb {
    /// Measure every kind of fault: Outcore's, the kernel's, and the simulated machine's
    #[command(long_about = faults::LONG_ABOUT)]
    Faults(faults::Options),
    /// One part of a bench, in a process of its own
    #[command(hide = true)]
    Part(part::Options),
}

/// `outcore bench`.
///
/// # Errors
/// What cannot be done, with the exit status that says so.
pub(crate) fn bench(verb: &BenchVerb) -> Result<u8, Trouble> {
    match verb {
        BenchVerb::Faults(options) => faults::faults(options),
        BenchVerb::Part(options) => part::part(options),
    }
}
