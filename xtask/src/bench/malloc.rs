//! `cargo xtask bench malloc`: what malloc and free cost, and which pages they bring in.

mod overcommit;

use super::contender::Programs;
use super::host::{Cgroup, Swap};
use super::output;
use super::results::middle;
use clap::Args;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Args)]
pub(crate) struct Options {
    /// Rounds, in each of which every allocator runs once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// In place of speed in RAM: what freeing and churning cost with four times as many
    /// objects as memory holds
    #[arg(long)]
    cold: bool,
    /// In place of speed in RAM: the same with four times as many bytes of blocks as memory holds
    #[arg(long, conflicts_with = "cold")]
    overcommit: bool,
    /// MiB of RAM for the objects, with --cold or --overcommit
    #[arg(long, default_value_t = 64)]
    ram: usize,
    /// Only allocators with these names, separated by commas; Outcore is always measured
    #[arg(long)]
    only: Option<String>,
    /// A directory on the disk that swap is on, with --cold or --overcommit
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
}

/// Whose malloc.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allocator {
    Outcore,
    Glibc,
    Jemalloc,
    Mimalloc,
}

impl Allocator {
    const ALL: [Self; 4] = [Self::Outcore, Self::Glibc, Self::Jemalloc, Self::Mimalloc];

    fn name(self) -> &'static str {
        match self {
            Self::Outcore => "Outcore",
            Self::Glibc => "glibc",
            Self::Jemalloc => "jemalloc",
            Self::Mimalloc => "mimalloc",
        }
    }

    /// The file that is preloaded, and Debian's package of it.
    fn library(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Outcore | Self::Glibc => None,
            Self::Jemalloc => Some(("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2", "libjemalloc2")),
            Self::Mimalloc => Some(("/usr/lib/x86_64-linux-gnu/libmimalloc.so.2", "libmimalloc2.0")),
        }
    }

    fn refusal(self) -> Option<String> {
        let (file, package) = self.library()?;
        (!Path::new(file).exists()).then(|| format!("there is no {file}: apt-get install {package}"))
    }

    /// The workload with this malloc in memory that suffices.
    fn in_ram(self, programs: &Programs) -> Command {
        // A budget that is never reached, as programs that fit are run.
        if self == Self::Outcore {
            programs.under_outcore(8 << 10)
        } else {
            self.preloaded(programs.native())
        }
    }

    /// The workload with this malloc, which Outcore pages in so many MiB of RAM.
    fn paged(self, programs: &Programs, ram: usize) -> Command {
        match self.library() {
            // Before Outcore's library, so that its malloc is the one in use.
            Some((file, _)) => programs.under_outcore_after(ram, file),
            None => programs.under_outcore(ram),
        }
    }

    fn preloaded(self, mut command: Command) -> Command {
        match self.library() {
            Some((file, _)) => command.env("LD_PRELOAD", file),
            None => command.env_remove("LD_PRELOAD"),
        };
        command
    }
}

const SIZES: [&str; 3] = ["small", "mixed", "large"];
const PATTERNS: [&str; 3] = ["one", "four", "remote"];
/// A line is as asked when Outcore takes at most so many times what the fastest takes.
const ASKED: f64 = 1.25;

pub(super) fn malloc(options: &Options) -> Result<(), String> {
    let programs = Programs::build()?;
    let mut allocators = Vec::new();
    for allocator in Allocator::ALL {
        let wanted =
            options.only.as_ref().is_none_or(|only| only.split(',').any(|name| name == allocator.name()));
        match allocator.refusal() {
            _ if !wanted && allocator != Allocator::Outcore => {}
            Some(why) => println!("skipped: {}: {why}", allocator.name()),
            None => allocators.push(allocator),
        }
    }
    if options.overcommit {
        overcommit::measure(&programs, options, &allocators)
    } else if options.cold {
        cold(&programs, options, &allocators)
    } else {
        hot(&programs, options, &allocators)
    }
}

/// Which sizes, and who frees: the rows of the tables.
fn lines() -> impl Iterator<Item = (&'static str, &'static str)> {
    SIZES.iter().flat_map(|sizes| PATTERNS.map(|pattern| (*sizes, pattern)))
}

fn hot(programs: &Programs, options: &Options, allocators: &[Allocator]) -> Result<(), String> {
    let lines: Vec<(&str, &str)> = lines().collect();
    let mut samples = vec![vec![Vec::new(); allocators.len()]; lines.len()];
    let mut names = vec![String::new(); lines.len()];
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        for (line, (sizes, pattern)) in lines.iter().enumerate() {
            // Nobody is first each time.
            for column in (0..allocators.len()).map(|turn| (turn + round) % allocators.len()) {
                let mut command = allocators[column].in_ram(programs);
                let row = row(&output(command.args(["malloc", "--sizes", sizes, "--pattern", pattern]))?)?;
                names[line] = row["phase"].as_str().unwrap_or_default().to_owned();
                samples[line][column].push(number(&row, "seconds")? * 1e9 / number(&row, "touches")?);
            }
        }
    }
    println!(
        "\nnanoseconds of one malloc, a touch and one free, and of the rounds' ratios to the fastest; medians of \
         {} rounds\n",
        options.rounds
    );
    header("sizes, and who frees", allocators, "of the fastest");
    for (name, samples) in names.iter().zip(&mut samples) {
        let ratio = of_the_fastest(samples);
        let medians = samples.iter_mut().map(|values| median(values));
        let shown: Vec<String> = medians.map(|value| format!("{value:>8.1}")).collect();
        let verdict = if ratio <= ASKED { "" } else { " (slow)" };
        println!("| {name:24} | {} | {ratio:>6.2}×{verdict} |", shown.join(" | "));
    }
    Ok(())
}

/// The first's time, of that of the fastest of all. What ran in the same round is compared: the
/// machine is faster in one minute than in another.
fn of_the_fastest(samples: &[Vec<f64>]) -> f64 {
    let (own, others) = samples.split_first().expect("Outcore is always measured");
    let ratios = others
        .iter()
        .map(|other| median(&mut own.iter().zip(other).map(|(own, other)| own / other).collect::<Vec<_>>()));
    ratios.fold(1.0, f64::max)
}

/// Outcore pages its own malloc's memory, and what the others map by mmap(2) by name.
/// glibc's malloc maps by itself: it is measured in a memory cgroup with the kernel's swap, and so
/// are the others.
fn cold(programs: &Programs, options: &Options, allocators: &[Allocator]) -> Result<(), String> {
    let mib = (4 * options.ram).to_string();
    println!("\n{mib} MiB of objects in {} MiB of RAM: pages brought in, and seconds\n", options.ram);
    println!("| malloc   | paged by     | free all, at random | churn           | the same touches | more |");
    println!("|----------|--------------|--------------------:|----------------:|-----------------:|-----:|");
    for allocator in allocators {
        if *allocator != Allocator::Glibc {
            let mut command = allocator.paged(programs, options.ram);
            cold_row(*allocator, "Outcore", command.args(["cold", "--mib", &mib]))?;
        }
        if *allocator == Allocator::Outcore {
            continue;
        }
        if let Some(why) = Cgroup::refusal() {
            println!("skipped: {} with the kernel's swap: {why}", allocator.name());
            continue;
        }
        let _swap = Swap::file(&options.dir, 8 * options.ram)?;
        let group = Cgroup::new(options.ram)?;
        let command = group.command(programs.workload());
        cold_row(*allocator, "kernel swap", allocator.preloaded(command).args(["cold", "--mib", &mib]))?;
    }
    Ok(())
}

fn cold_row(allocator: Allocator, pager: &str, command: &mut Command) -> Result<(), String> {
    // The kernel's out-of-memory killer ends some runs in a cgroup although there is swap.
    let text = match output(command).or_else(|_| output(command)) {
        Ok(text) => text,
        Err(why) => {
            let why = why.rsplit(": ").nth(1).unwrap_or_default();
            println!("| {:8} | {pager:12} | did not finish: {why} |", allocator.name());
            return Ok(());
        }
    };
    let rows = text.lines().map(row).collect::<Result<Vec<Value>, String>>()?;
    let find = |phase: &str| {
        rows.iter().find(|row| row["phase"] == phase).ok_or_else(|| format!("no phase {phase} in {text}"))
    };
    let cell = |phase: &str| -> Result<(f64, String), String> {
        let row = find(phase)?;
        let ins = number(row, "swap_ins")?;
        Ok((ins, format!("{ins:.0}, {:.1} s", number(row, "seconds")?)))
    };
    let (free, churn, touch) = (cell("free")?, cell("churn")?, cell("touch")?);
    let more = 100.0 * (churn.0 / touch.0 - 1.0);
    println!(
        "| {:8} | {pager:12} | {:>19} | {:>15} | {:>16} | {more:>+3.0}% |",
        allocator.name(),
        free.1,
        churn.1,
        touch.1
    );
    Ok(())
}

fn header(first: &str, allocators: &[Allocator], last: &str) {
    let names: Vec<String> = allocators.iter().map(|allocator| format!("{:>8}", allocator.name())).collect();
    println!("| {first:24} | {} | Outcore, {last} |", names.join(" | "));
    println!("|{}|{}----------------:|", "-".repeat(26), "---------:|".repeat(names.len()));
}

fn row(text: &str) -> Result<Value, String> {
    serde_json::from_str(text.trim()).map_err(|error| format!("{text}: {error}"))
}

fn number(row: &Value, name: &str) -> Result<f64, String> {
    row[name].as_f64().ok_or_else(|| format!("no {name} in {row}"))
}

/// Nothing is known of what never finished.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    middle(values).unwrap_or(f64::INFINITY)
}
