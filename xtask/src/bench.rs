//! `cargo xtask bench`: one workload under several kinds of memory, side by side.

mod contender;
mod host;
mod plot;
mod results;

use clap::{Args, Subcommand};
use contender::{Contender, Programs};
use host::Disk;
use results::Results;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// What is measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Outcore against the kernel's swap (file and zram) and a shared file mapping
    Swap(Options),
}

#[derive(Args)]
pub(crate) struct Options {
    /// MiB of data
    #[arg(long, default_value_t = 1024)]
    pub(crate) mib: usize,
    /// MiB of RAM for it
    #[arg(long, default_value_t = 256)]
    pub(crate) ram: usize,
    /// Rounds, in each of which every contender runs once
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Random touches of one thread
    #[arg(long, default_value_t = 20_000)]
    pub(crate) touches: usize,
    /// Only contenders whose names contain one of these, separated by commas
    #[arg(long)]
    only: Option<String>,
    /// A directory on the disk to be measured
    #[arg(long, default_value = "/var/tmp")]
    pub(crate) dir: PathBuf,
    /// Where the numbers and the picture go
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

/// Measures, prints a table and writes `swap.json` and `swap.svg`.
pub(crate) fn run(bench: &Bench) -> ExitCode {
    let Bench::Swap(options) = bench;
    match swap(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn swap(options: &Options) -> Result<(), String> {
    let programs = Programs::build()?;
    let disk = Disk::under(&options.dir)?;
    println!("{}", disk.settle());
    let mut results = Results::default();
    let mut contenders = Vec::new();
    for contender in Contender::ALL {
        let wanted = options
            .only
            .as_ref()
            .is_none_or(|only| only.split(',').any(|part| contender.name().contains(part)));
        match contender.refusal() {
            _ if !wanted => {}
            Some(why) => println!("skipped: {}: {why}", contender.name()),
            None => contenders.push(contender),
        }
    }
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        programs.device(options, &mut results)?;
        for contender in &contenders {
            contender.run(&programs, options, &mut results)?;
        }
        programs.in_ram(options, &mut results)?;
    }
    print!("{}", results.table(&contenders));
    fs::create_dir_all(&options.out).map_err(|error| error.to_string())?;
    let json = options.out.join("swap.json");
    let text =
        serde_json::to_string_pretty(&results.json(options, &disk)).map_err(|error| error.to_string())?;
    fs::write(&json, text).map_err(|error| error.to_string())?;
    let picture = options.out.join("swap.svg");
    plot::draw(&picture, &results, &contenders)?;
    println!("numbers in {}, picture in {}", json.display(), picture.display());
    Ok(())
}

/// A command's output, or why there is none.
fn output(command: &mut Command) -> Result<String, String> {
    let shown = format!("{command:?}");
    let output = command.output().map_err(|error| format!("{shown}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{shown}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}
