//! What it costs to be watched: the swap bench with its counters, with a trace besides, and without either.

use super::contender::Programs;
use super::output;
use super::results::Results;
use clap::Args;
use std::path::PathBuf;
use std::process::Command;

#[derive(Args)]
pub(crate) struct Options {
    /// MiB of data
    #[arg(long, default_value_t = 512)]
    mib: usize,
    /// MiB of RAM for it
    #[arg(long, default_value_t = 128)]
    ram: usize,
    /// Rounds, in each of which every one runs once, in another order
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Random touches of one thread
    #[arg(long, default_value_t = 20_000)]
    touches: usize,
    /// Where traces go
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
}

/// How a run is watched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watched {
    Not,
    Counted,
    Traced,
}

impl Watched {
    const ALL: [Self; 3] = [Self::Not, Self::Counted, Self::Traced];

    fn name(self) -> &'static str {
        match self {
            Self::Not => "neither",
            Self::Counted => "counters",
            Self::Traced => "counters and trace",
        }
    }

    fn command(self, programs: &Programs, options: &Options) -> Command {
        let trace = options.dir.join(format!("outcore-watching-{}.trace", std::process::id()));
        let ram = format!("{}M", options.ram);
        let mut command = Command::new(&programs.outcore);
        command.args(["run", "--report", "none", "--ram", &ram]);
        match self {
            Self::Not => drop(command.env("OUTCORE_COUNTERS", "off")),
            Self::Counted => {}
            Self::Traced => drop(command.arg("--trace").arg(trace)),
        }
        command.arg("--").arg(programs.workload());
        command.args(["swap", "--mib", &options.mib.to_string(), "--touches", &options.touches.to_string()]);
        command
    }
}

/// Measures, and prints a table: medians of all rounds, and what they cost more than without.
///
/// # Errors
/// A program does not run.
pub(crate) fn watching(options: &Options) -> Result<(), String> {
    let programs = Programs::build()?;
    let mut results = Results::default();
    for round in 0..options.rounds {
        for turn in 0..Watched::ALL.len() {
            let watched = Watched::ALL[(turn + round) % Watched::ALL.len()];
            results.add(watched.name(), &output(&mut watched.command(&programs, options))?)?;
        }
    }
    let trace = options.dir.join(format!("outcore-watching-{}.trace", std::process::id()));
    std::fs::remove_file(&trace).map_err(|error| format!("{}: {error}", trace.display()))?;
    println!("| phase | neither | counters | | counters and trace | |");
    println!("|-------|--------:|---------:|--:|-------------------:|--:|");
    let mut sums = [0.0; 3];
    let row = |name: &str, seconds: [f64; 3]| {
        let more = |index: usize| 100.0 * (seconds[index] / seconds[0] - 1.0);
        println!(
            "| {name} | {:.3} s | {:.3} s | {:+.1} % | {:.3} s | {:+.1} % |",
            seconds[0],
            seconds[1],
            more(1),
            seconds[2],
            more(2)
        );
    };
    for phase in results.phases() {
        let mut seconds = [0.0; 3];
        for (index, watched) in Watched::ALL.into_iter().enumerate() {
            seconds[index] = results.median(watched.name(), phase).ok_or("a phase is missing")?;
            sums[index] += seconds[index];
        }
        row(phase, seconds);
    }
    row("all", sums);
    Ok(())
}
