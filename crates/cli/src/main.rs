//! The `outcore` command: runs a program in a fixed amount of RAM.
//!
//! `run` reads from top to bottom: the settings are worked out and checked
//! ([`budget`], [`place`], [`program`]), the preload library is put where the
//! loader finds it ([`library`]), the program is started and watched
//! ([`supervise`]), and what it did is told ([`report`]). Nothing here pages
//! memory: that happens inside the program, in the preload library.

#![deny(unsafe_code)]

mod args;
mod bench;
mod budget;
mod cgroup;
mod doctor;
mod draw;
mod elf;
mod follow;
#[cfg(test)]
mod golden;
mod image;
mod kernel;
mod ledger;
mod library;
mod machine;
mod memory;
mod metrics;
mod mrc;
mod offer;
mod place;
mod program;
mod progress;
mod recording;
mod report;
mod report_page;
mod room;
mod run;
mod runs;
mod set;
mod size;
mod stat;
mod status;
mod supervise;
mod symbols;
mod top;
mod touches;
mod trace_verbs;
mod traces;
mod trouble;

use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = match args::read() {
        Ok(args::Verb::Run(options)) => run::run(&options),
        Ok(args::Verb::Doctor(options)) => doctor::doctor(&options),
        Ok(args::Verb::Stat(options)) => stat::stat(&options),
        Ok(args::Verb::Set(options)) => set::set(&options),
        Ok(args::Verb::Top(options)) => top::top(&options),
        Ok(args::Verb::Metrics(options)) => metrics::metrics(&options),
        Ok(args::Verb::Report(options)) => report_page::report(&options),
        Ok(args::Verb::Mrc(options)) => mrc::mrc(&options),
        Ok(args::Verb::Trace(verb)) => trace_verbs::trace(&verb),
        Ok(args::Verb::Machine(verb)) => machine::machine(&verb),
        Ok(args::Verb::Bench(verb)) => bench::bench(&verb),
        Ok(args::Verb::Image(verb)) => image::image(&verb),
        Err(usage) => return args::answer(&usage),
    };
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(trouble) => {
            trouble::say(&trouble.text);
            ExitCode::from(trouble.status)
        }
    }
}
