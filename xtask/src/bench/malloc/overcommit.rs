//! The lines of the bench with four times as many bytes of blocks as memory holds.

use super::{Allocator, Options, lines, median, number, row};
use crate::bench::contender::Programs;
use crate::bench::host::{Cgroup, Swap};
use crate::bench::output;
use std::process::Command;

/// The kernel's out-of-memory killer ends some runs in a cgroup although there is swap.
const TRIES: usize = 3;

/// One allocator's runs of one line.
#[derive(Default)]
struct Samples {
    micros: Vec<f64>,
    /// Pages brought in, for each call.
    ins: Vec<f64>,
}

/// Calls of malloc, in thousands: enough for a few seconds.
fn thousands(sizes: &str) -> &'static str {
    if sizes == "large" { "4" } else { "40" }
}

/// Outcore pages what its own malloc maps, and what the others map by mmap(2) by name; glibc's
/// malloc maps by itself, and is measured in a memory cgroup with the kernel's swap.
pub(super) fn measure(
    programs: &Programs,
    options: &Options,
    allocators: &[Allocator],
) -> Result<(), String> {
    let mib = (4 * options.ram).to_string();
    let mut table: Vec<Vec<Samples>> =
        lines().map(|_| allocators.iter().map(|_| Samples::default()).collect()).collect();
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        for ((sizes, pattern), samples) in lines().zip(&mut table) {
            let arguments = ["malloc", "--sizes", sizes, "--pattern", pattern, "--mib", &mib];
            for (allocator, samples) in allocators.iter().zip(samples) {
                match run(*allocator, programs, options, |command| {
                    _ = command.args(arguments).args(["--thousands", thousands(sizes)]);
                }) {
                    Ok(text) => {
                        let row = row(&text)?;
                        let calls = number(&row, "touches")?;
                        samples.micros.push(number(&row, "seconds")? * 1e6 / calls);
                        samples.ins.push(number(&row, "swap_ins")? / calls);
                    }
                    Err(why) => eprintln!("{}: {sizes}, {pattern}: {why}", allocator.name()),
                }
            }
        }
    }
    println!(
        "\n{mib} MiB of blocks in {} MiB of RAM: microseconds of one malloc, a touch and one free, and pages \
         brought in; medians of {} rounds\n",
        options.ram, options.rounds
    );
    let heads: Vec<String> = allocators.iter().map(|allocator| format!("{:>18}", head(*allocator))).collect();
    println!("| sizes, and who frees | {} | Outcore, of the fastest |", heads.join(" | "));
    println!(
        "|----------------------|{}------------------------:|",
        "-------------------:|".repeat(heads.len())
    );
    for ((sizes, pattern), samples) in lines().zip(&mut table) {
        let medians: Vec<f64> = samples.iter_mut().map(|samples| median(&mut samples.micros)).collect();
        let fastest = medians.iter().copied().fold(f64::INFINITY, f64::min);
        let cells: Vec<String> =
            medians.iter().zip(samples).map(|(micros, samples)| cell(*micros, &mut samples.ins)).collect();
        println!(
            "| {:20} | {} | {:>22.2}× |",
            format!("{sizes}, {pattern}"),
            cells.join(" | "),
            medians[0] / fastest
        );
    }
    Ok(())
}

fn head(allocator: Allocator) -> String {
    let pager = if allocator == Allocator::Glibc { "kernel swap" } else { "Outcore" };
    if allocator == Allocator::Outcore { "Outcore".into() } else { format!("{}, {pager}", allocator.name()) }
}

fn cell(micros: f64, ins: &mut [f64]) -> String {
    if micros.is_finite() {
        format!("{:>18}", format!("{micros:.1}; {:.2}", median(ins)))
    } else {
        format!("{:>18}", "did not finish")
    }
}

fn run(
    allocator: Allocator,
    programs: &Programs,
    options: &Options,
    arguments: impl Fn(&mut Command),
) -> Result<String, String> {
    let under_outcore = allocator != Allocator::Glibc;
    if !under_outcore && let Some(why) = Cgroup::refusal() {
        return Err(why);
    }
    let _swap = (!under_outcore).then(|| Swap::file(&options.dir, 8 * options.ram)).transpose()?;
    let group = (!under_outcore).then(|| Cgroup::new(options.ram)).transpose()?;
    let mut result = Err("never tried".into());
    for _ in 0..TRIES {
        let mut command = match &group {
            Some(group) => allocator.preloaded(group.command(programs.workload())),
            None => allocator.paged(programs, options.ram),
        };
        arguments(&mut command);
        result = output(&mut command);
        if result.is_ok() {
            break;
        }
    }
    result
}
