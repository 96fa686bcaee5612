//! `cargo xtask bench`: one workload under several kinds of memory, side by side.

mod contender;
mod host;
mod malloc;
mod mmap;
mod plot;
mod replay;
mod results;
mod shared;
mod tree;
mod watching;

use clap::{Args, Subcommand};
use contender::{Contender, Programs};
use host::{Cgroup, Disk};
use results::Results;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What is measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Outcore against the kernel's swap (file and zram) and a shared file mapping
    Swap(Options),
    /// Median and 99th percentile of each kind of fault, and of a fault's parts
    Faults {
        /// MiB of data
        #[arg(long, default_value_t = 512)]
        mib: usize,
        /// MiB of RAM for it
        #[arg(long, default_value_t = 128)]
        ram: usize,
    },
    /// The same pages spread over more and more address space: what a touch costs
    Sparse {
        /// MiB of RAM for 256 MiB of pages
        #[arg(long, default_value_t = 64)]
        ram: usize,
    },
    /// How long replays of a trace take, and what each replacement policy misses
    Replay(replay::Options),
    /// Outcore's malloc against glibc's, jemalloc and mimalloc
    Malloc(malloc::Options),
    /// A mapped file against the kernel's mmap of it, in the same memory
    Mmap(mmap::Options),
    /// A shared arena against a heap and shared memory of the kernel's, in the same memory
    Shared(shared::Options),
    /// What counters and traces cost the swap bench
    Watching(watching::Options),
    /// Processes that share one budget against the kernel's swap
    Tree(tree::Options),
    /// What a call of the handle heap costs for a block in memory
    Handles,
}

const SPREADS_GIB: [usize; 4] = [1, 4, 16, 64];

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
    let done = match bench {
        Bench::Swap(options) => swap(options),
        Bench::Faults { mib, ram } => faults(*mib, *ram),
        Bench::Sparse { ram } => sparse(*ram),
        Bench::Replay(options) => replay::replay(options),
        Bench::Malloc(options) => malloc::malloc(options),
        Bench::Mmap(options) => mmap::mmap(options),
        Bench::Shared(options) => shared::shared(options),
        Bench::Watching(options) => watching::watching(options),
        Bench::Tree(options) => tree::tree(options),
        Bench::Handles => handles(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn faults(mib: usize, ram: usize) -> Result<(), String> {
    let text = output(Programs::build()?.under_outcore(ram).args(["faults", "--mib", &mib.to_string()]))?;
    println!("| {:36} | {:>10} | {:>10} | {:>7} |", "kind", "median", "p99", "samples");
    println!("|{}|-----------:|-----------:|--------:|", "-".repeat(38));
    for line in text.lines() {
        let row: serde_json::Value =
            serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
        let shown = |name: &str| row[name].as_u64().map_or(String::new(), |ns| format!("{ns} ns"));
        let (kind, samples) = (row["kind"].as_str().unwrap_or_default(), &row["samples"]);
        println!("| {kind:36} | {:>10} | {:>10} | {samples:>7} |", shown("median_ns"), shown("p99_ns"));
    }
    Ok(())
}

fn handles() -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let example = ["run", "--quiet", "--locked", "--release", "--package", "handles", "--example", "check"];
    print!("{}", output(Command::new(cargo).args(example))?);
    Ok(())
}

fn sparse(ram: usize) -> Result<(), String> {
    let programs = Programs::build()?;
    println!("| spread over | first write | in RAM alone | read at random | tables of touched memory |");
    println!("|------------:|------------:|-------------:|---------------:|-------------------------:|");
    for gib in SPREADS_GIB {
        let gib = gib.to_string();
        let row = |mut command: Command| -> Result<serde_json::Value, String> {
            let text = output(command.args(["sparse", "--gib", &gib]))?;
            serde_json::from_str(&text).map_err(|error| format!("{text}: {error}"))
        };
        let (paged, native) = (row(programs.under_outcore(ram))?, row(programs.native())?);
        let number = |row: &serde_json::Value, name: &str| {
            row[name].as_f64().ok_or_else(|| format!("no {name} in {row}"))
        };
        println!(
            "| {gib:>7} GiB | {:>8.1} µs | {:>9.1} µs | {:>11.1} µs | {:>22.2} % |",
            number(&paged, "write_ns")? / 1e3,
            number(&native, "write_ns")? / 1e3,
            number(&paged, "read_ns")? / 1e3,
            100.0 * number(&paged, "metadata_bytes")? / number(&paged, "touched_bytes")?,
        );
    }
    Ok(())
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
        // A bench that is cut short leaves what it has.
        write(options, &disk, &results, &contenders)?;
    }
    print!("{}", results.table(&contenders));
    println!("numbers and picture in {}", options.out.display());
    Ok(())
}

fn write(options: &Options, disk: &Disk, results: &Results, contenders: &[Contender]) -> Result<(), String> {
    fs::create_dir_all(&options.out).map_err(|error| error.to_string())?;
    let json = results.json(options, disk);
    let text = serde_json::to_string_pretty(&json).map_err(|error| error.to_string())?;
    fs::write(options.out.join("swap.json"), text).map_err(|error| error.to_string())?;
    fs::write(options.out.join("swap.md"), results.table(contenders)).map_err(|error| error.to_string())?;
    plot::draw(&options.out.join("swap.svg"), results, contenders)
}

/// What a comparison with the kernel in memory cgroups begins with. While the disk's value is kept,
/// every contender finds the same settings of it.
fn beside_the_kernel(dir: &Path) -> Result<(Programs, Disk), String> {
    if let Some(why) = Cgroup::refusal() {
        return Err(format!("nothing to compare with: {why}"));
    }
    let programs = Programs::build()?;
    let disk = Disk::under(dir)?;
    println!("{}", disk.settle());
    Ok((programs, disk))
}

/// The middle one, of an even number the upper of two; not a number if there is none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
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
