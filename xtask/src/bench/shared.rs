//! `cargo xtask bench shared`: an arena that two processes share against a heap of one, and against
//! shared memory of the kernel's with a swap file, all in a memory cgroup of one size.

use super::contender::Programs;
use super::host::{Cgroup, OWN, Swap};
use super::{beside_the_kernel, median, output};
use clap::Args;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

const PHASES: [&str; 3] = ["fill", "read", "random"];
const KINDS: [&str; 3] = ["arena", "heap", "kernel"];
/// Of the bytes of a page, in MB.
const PAGE_MB: f64 = 4096.0 / 1e6;

#[derive(Args)]
pub(crate) struct Options {
    /// MiB of data
    #[arg(long, default_value_t = 512)]
    mib: usize,
    /// MiB of RAM for it
    #[arg(long, default_value_t = 128)]
    ram: usize,
    /// Rounds, in each of which every kind runs once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Random touches
    #[arg(long, default_value_t = 20_000)]
    touches: usize,
    /// A directory on the disk to be measured
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
}

/// Pages a second of each round, by kind and phase.
type Rates = BTreeMap<(&'static str, &'static str), Vec<f64>>;

pub(crate) fn shared(options: &Options) -> Result<(), String> {
    let (programs, _disk) = beside_the_kernel(&options.dir)?;
    let mut rates = Rates::new();
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        for kind in KINDS {
            measure(options, &programs, kind, &mut rates)?;
        }
    }
    println!("{} MiB in {} MiB, medians of {} rounds", options.mib, options.ram, options.rounds);
    println!(
        "| phase  | arena, another process | heap, its own | kernel, another process | arena / heap | arena / kernel |"
    );
    println!(
        "|--------|-----------------------:|--------------:|------------------------:|-------------:|---------------:|"
    );
    for phase in PHASES {
        let [arena, heap, kernel] = KINDS.map(|kind| rates.get(&(kind, phase)).cloned().unwrap_or_default());
        let ratio = |other: &[f64]| {
            median(&mut arena.iter().zip(other).map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>())
        };
        println!(
            "| {phase:6} | {:>22} | {:>13} | {:>23} | {:>11.2}x | {:>13.2}x |",
            shown(phase, &arena),
            shown(phase, &heap),
            shown(phase, &kernel),
            ratio(&heap),
            ratio(&kernel),
        );
    }
    Ok(())
}

/// A rate in the unit that its phase is known by.
fn shown(phase: &str, rates: &[f64]) -> String {
    let rate = median(&mut rates.to_vec());
    if phase == "random" {
        format!("{:.1} µs a page", 1e6 / rate)
    } else {
        format!("{:.0} MB/s", rate * PAGE_MB)
    }
}

fn measure(
    options: &Options,
    programs: &Programs,
    kind: &'static str,
    rates: &mut Rates,
) -> Result<(), String> {
    let _swap = if kind == "kernel" { Some(Swap::file(&options.dir, 2 * options.mib)?) } else { None };
    let group = Cgroup::new(options.ram + OWN)?;
    let mut command = group.command(programs.workload());
    let text = output(command.args([
        "shared",
        "--memory",
        kind,
        "--mib",
        &options.mib.to_string(),
        "--ram",
        &options.ram.to_string(),
        "--touches",
        &options.touches.to_string(),
    ]))?;
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
        let phase = PHASES.into_iter().find(|phase| row["phase"] == *phase);
        let rate =
            row["touches"].as_f64().zip(row["seconds"].as_f64()).map(|(pages, seconds)| pages / seconds);
        let (Some(phase), Some(rate)) = (phase, rate) else { return Err(format!("no phase in {row}")) };
        rates.entry((kind, phase)).or_default().push(rate);
    }
    Ok(())
}
