//! `cargo xtask bench replay`: how long replays take, and what each policy misses on traces of several shapes.

use super::contender::Programs;
use super::output;
use clap::Args;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const POLICIES: [&str; 9] = ["fifo", "lru", "clock", "sieve", "s3fifo", "2q", "arc", "lirs", "opt"];

#[derive(Args)]
pub(crate) struct Options {
    /// References of the trace that is timed
    #[arg(long, default_value_t = 10_000_000)]
    references: u64,
    /// Runs of each policy, of which the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where the traces go
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

/// Pages of the traces that are compared, and the frames that they are replayed in.
const PAGES: u64 = 100_000;
const FRAMES: u64 = 10_000;
const COMPARED: u64 = 1_000_000;
/// References of one phase of a trace that has phases.
const PHASE: u64 = 50_000;

/// What a trace looks like.
#[derive(Clone, Copy)]
enum Shape {
    /// The page of rank r is referenced in proportion to 1/r.
    Skewed,
    /// The same, and in every fourth phase a scan over pages that are never used again.
    Scans,
    /// Round and round over a tenth more pages than there are frames.
    Loop,
    /// Half as many pages as there are frames, at random; others in the next phase; one reference in ten anywhere.
    Phases,
}

impl Shape {
    const ALL: [Self; 4] = [Self::Skewed, Self::Scans, Self::Loop, Self::Phases];

    fn name(self) -> &'static str {
        match self {
            Self::Skewed => "skewed",
            Self::Scans => "scans",
            Self::Loop => "loop",
            Self::Phases => "phases",
        }
    }

    /// Reference number `at`, to one of `pages` pages.
    fn page(self, at: u64, pages: u64, random: &mut Random) -> u64 {
        let phase = at / PHASE;
        match self {
            Self::Scans if phase % 4 == 3 => pages + at,
            Self::Skewed | Self::Scans => random.skewed(pages),
            Self::Loop => at % (FRAMES + FRAMES / 10),
            Self::Phases if random.below(10) == 0 => random.below(pages),
            Self::Phases => phase * FRAMES / 2 % pages + random.below(FRAMES / 2),
        }
    }
}

/// xorshift64*, S. Vigna 2016, so that every run sees the same traces.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Ranks whose logarithm is uniform: rank r in proportion to 1/r.
    fn skewed(&mut self, bound: u64) -> u64 {
        let uniform = self.next() as f64 / (1_u64 << 53) as f64;
        (bound as f64).powf(uniform) as u64 - 1
    }
}

/// Prints both tables.
pub(super) fn replay(options: &Options) -> Result<(), String> {
    let programs = Programs::build()?;
    fs::create_dir_all(&options.out).map_err(|error| error.to_string())?;
    time(&programs.outcore, options)?;
    compare(&programs.outcore, options)
}

/// Writes a trace as text.
fn generate(path: &Path, shape: Shape, references: u64, pages: u64) -> Result<(), String> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut text = String::new();
    for at in 0..references {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", shape.page(at, pages, &mut random));
    }
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn time(outcore: &Path, options: &Options) -> Result<(), String> {
    let (pages, frames) = (10 * PAGES, 10 * FRAMES);
    let path = options.out.join("replay-timed.txt");
    generate(&path, Shape::Skewed, options.references, pages)?;
    let bytes = fs::metadata(&path).map_err(|error| error.to_string())?.len();
    println!(
        "{} references, skewed over {pages} pages, {} MB of text; the whole command, median of {}:\n",
        options.references,
        bytes / 1_000_000,
        options.rounds
    );
    println!("| policy | 1 frame in 1000 pages | 1 frame in 10 |");
    println!("|--------|----------------------:|--------------:|");
    for policy in POLICIES {
        let median = |frames: u64| -> Result<f64, String> {
            let mut times = Vec::new();
            for _ in 0..options.rounds {
                times.push(run(outcore, &path, frames, policy)?.0);
            }
            times.sort_unstable();
            Ok(times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64))
        };
        println!("| {policy:6} | {:>19.2} s | {:>11.2} s |", median(frames / 100)?, median(frames)?);
    }
    println!();
    Ok(())
}

fn compare(outcore: &Path, options: &Options) -> Result<(), String> {
    println!("Misses of {COMPARED} references in {FRAMES} frames, in percent:\n");
    let mut columns = Vec::new();
    for shape in Shape::ALL {
        let path = options.out.join(format!("replay-{}.txt", shape.name()));
        generate(&path, shape, COMPARED, PAGES)?;
        let (_, text) = run(outcore, &path, FRAMES, &POLICIES.join(","))?;
        let rows: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| format!("{text}: {error}"))?;
        let misses = |index: usize| {
            rows[index]["misses"].as_f64().ok_or_else(|| format!("row {index} has no misses: {text}"))
        };
        columns.push((0..POLICIES.len()).map(misses).collect::<Result<Vec<f64>, String>>()?);
    }
    println!("| policy | {} |", Shape::ALL.map(|shape| format!("{:>6}", shape.name())).join(" | "));
    println!("|--------|{}", "-------:|".repeat(columns.len()));
    for (index, policy) in POLICIES.iter().enumerate() {
        let shown = columns.iter().map(|column| format!("{:>6.2}", column[index] * 100.0 / COMPARED as f64));
        println!("| {policy:6} | {} |", shown.collect::<Vec<_>>().join(" | "));
    }
    println!("\ntraces in {}", options.out.display());
    Ok(())
}

/// Runs one replay: how long the command took, and what it printed.
fn run(outcore: &Path, trace: &Path, frames: u64, policies: &str) -> Result<(Duration, String), String> {
    let mut command = Command::new(outcore);
    command.args(["machine", "replay", "--json", "--policy", policies, "--frames", &frames.to_string()]);
    command.arg("--pages").arg(trace);
    let start = Instant::now();
    let text = output(&mut command)?;
    Ok((start.elapsed(), text))
}
