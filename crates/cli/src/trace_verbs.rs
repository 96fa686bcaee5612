//! `outcore trace`: what is in a trace, and traces from and to other programs.

mod export;
mod import;
mod info;
mod print;
mod strip;

use crate::trouble::Trouble;
use clap::Subcommand;
use std::io::{self, ErrorKind};

/// What to do with a trace.
#[derive(Debug, Subcommand)]
pub(crate) enum TraceVerb {
    /// Say what a trace holds
    Info(info::Options),
    /// Print every event, one a line
    Print(print::Options),
    /// Write it as CSV, or as Chrome trace events for Perfetto
    Export(export::Options),
    /// Make a trace of valgrind's lackey, or of a list of pages
    Import(import::Options),
    /// Leave out what the pager did about touches, which replays decide again
    Strip(strip::Options),
}

/// `outcore trace`.
///
/// # Errors
/// What cannot be done, with the exit status that says so.
pub(crate) fn trace(verb: &TraceVerb) -> Result<u8, Trouble> {
    match verb {
        TraceVerb::Info(options) => info::info(options),
        TraceVerb::Print(options) => print::print(options),
        TraceVerb::Export(options) => export::export(options),
        TraceVerb::Import(options) => import::import(options),
        TraceVerb::Strip(options) => strip::strip(options),
    }
}

/// Exit status of a command that read what it could of a trace that has faults.
const PARTLY_READ: u8 = 1;

/// The exit status after a trace with so many problems.
pub(crate) fn status(problems: u64) -> u8 {
    if problems == 0 { 0 } else { PARTLY_READ }
}

/// Whether writing went well: where nobody reads on, it did.
///
/// # Errors
/// It did not.
pub(crate) fn written(result: io::Result<()>) -> Result<(), Trouble> {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Trouble::bad_input(format!("the answer cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}
