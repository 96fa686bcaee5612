//! `cargo xtask bench mmap`: a file mapped by Outcore against the same file mapped by the
//! kernel, both in a memory cgroup of one size, with the same hints.

use super::contender::Programs;
use super::host::{Cgroup, OWN};
use super::{beside_the_kernel, median, output};
use clap::Args;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

const USES: [&str; 6] = ["read", "write", "random", "lookup", "sort", "bfs"];

#[derive(Args)]
pub(crate) struct Options {
    /// MiB of the file
    #[arg(long, default_value_t = 512)]
    mib: usize,
    /// MiB of RAM for it
    #[arg(long, default_value_t = 128)]
    ram: usize,
    /// Rounds, in each of which both map it for every use
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only these uses, separated by commas
    #[arg(long)]
    only: Option<String>,
    /// A directory on the disk to be measured
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
}

pub(crate) fn mmap(options: &Options) -> Result<(), String> {
    let (programs, _disk) = beside_the_kernel(&options.dir)?;
    let file = options.dir.join(format!("outcore-bench-mmap-{}", std::process::id()));
    let wanted =
        |name: &str| options.only.as_ref().is_none_or(|only| only.split(',').any(|part| part == name));
    println!("| use    | Outcore   | kernel    | ratio | of each round |");
    println!("|--------|----------:|----------:|------:|---------------|");
    let mut done = Ok(());
    for name in USES.into_iter().filter(|name| wanted(name)) {
        done = measure(options, &programs, &file, name);
        if done.is_err() {
            break;
        }
    }
    let _ = fs::remove_file(&file);
    done
}

fn measure(options: &Options, programs: &Programs, file: &PathBuf, name: &str) -> Result<(), String> {
    let (mut ours, mut kernel, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let run = |budget: Option<usize>| -> Result<f64, String> {
            // Making the file must not leave its pages with the group that uses it.
            let group = Cgroup::new(options.ram + OWN)?;
            let mut command = group.command(programs.workload());
            command.args(["mmap", "--mib", &options.mib.to_string(), "--only", name]).arg("--file").arg(file);
            if let Some(ram) = budget {
                command.args(["--budget", &ram.to_string()]);
            }
            let text = output(&mut command)?;
            let row: Value = serde_json::from_str(&text).map_err(|error| format!("{text}: {error}"))?;
            row["seconds"].as_f64().ok_or_else(|| format!("no seconds in {row}"))
        };
        let (own, theirs) = (run(Some(options.ram))?, run(None)?);
        ours.push(own);
        kernel.push(theirs);
        ratios.push(theirs / own);
    }
    let shown: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    println!(
        "| {name:6} | {:>7.2} s | {:>7.2} s | {:>4.2}x | {} |",
        median(&mut ours),
        median(&mut kernel),
        median(&mut ratios),
        shown.join(" ")
    );
    Ok(())
}
