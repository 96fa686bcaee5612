//! The `outcore` command: runs a program in a fixed amount of RAM.
//!
//! `run` reads from top to bottom: the settings are worked out and checked
//! ([`budget`], [`place`], [`program`]), the preload library is put where the
//! loader finds it ([`library`]), the program is started and watched
//! ([`supervise`]), and what it did is told ([`report`]). Nothing here pages
//! memory: that happens inside the program, in the preload library.

#![deny(unsafe_code)]

mod args;
mod budget;
mod cgroup;
mod doctor;
mod elf;
mod image;
mod kernel;
mod library;
mod machine;
mod memory;
mod offer;
mod place;
mod program;
mod report;
mod room;
mod run;
mod size;
mod status;
mod supervise;
mod trouble;

use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = match args::read() {
        Ok(args::Verb::Run(options)) => run::run(&options),
        Ok(args::Verb::Doctor(options)) => doctor::doctor(&options),
        Ok(args::Verb::Machine(verb)) => machine::machine(&verb),
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
