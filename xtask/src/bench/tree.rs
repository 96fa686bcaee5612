//! `cargo xtask bench tree`: processes that share one budget, against the kernel's swap in a
//! memory cgroup of that size.

use super::contender::Programs;
use super::host::{Cgroup, Swap};
use super::{beside_the_kernel, median, output};
use clap::Args;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

#[derive(Args)]
pub(crate) struct Options {
    /// MiB of data, of all readers together
    #[arg(long, default_value_t = 1024)]
    mib: usize,
    /// MiB of RAM for all
    #[arg(long, default_value_t = 256)]
    ram: usize,
    /// Rounds, in each of which both run everything
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only these rows, separated by commas: readers (and what a tree costs them), make, sort, redis
    #[arg(long)]
    only: Option<String>,
    /// A directory on the disk to be measured
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
}

impl Options {
    fn wants(&self, row: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.split(',').any(|part| part == row))
    }
}

/// Files of the generated C project, and functions of each.
const FILES: usize = 8;
const FUNCTIONS: usize = 600;

/// What runs, and in how many MiB: more than what is not paged of its processes, which counts in each that has
/// it mapped.
struct Job {
    name: &'static str,
    ram: usize,
    words: Vec<String>,
    before: Option<Vec<String>>,
}

pub(crate) fn tree(options: &Options) -> Result<(), String> {
    let (programs, _disk) = beside_the_kernel(&options.dir)?;
    let dir = options.dir.join(format!("outcore-bench-tree-{}", std::process::id()));
    fs::create_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let done = jobs(options, &programs, &dir).and_then(|jobs| measure(options, &programs, &jobs));
    let _ = fs::remove_dir_all(&dir);
    done?;
    if options.wants("readers") {
        for _ in 0..options.rounds {
            one(options, &programs)?;
        }
    }
    Ok(())
}

fn text(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn jobs(options: &Options, programs: &Programs, dir: &Path) -> Result<Vec<Job>, String> {
    let at = dir.to_string_lossy().into_owned();
    let workload = programs.workload().to_string_lossy().into_owned();
    let each = (options.mib / 4).to_string();
    project(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let scripts = "crates/cli/tests/programs";
    let all = vec![
        Job {
            name: "readers",
            ram: options.ram,
            words: text(&[&workload, "tree", "--readers", "4", "--mib", &each]),
            before: None,
        },
        Job {
            name: "make",
            ram: 192,
            words: text(&["make", "-s", "-j4", "-C", &at]),
            before: Some(text(&["make", "-s", "-C", &at, "clean"])),
        },
        Job {
            name: "sort",
            ram: 160,
            words: text(&["python3", &format!("{scripts}/multiprocessing_sort.py"), "800000"]),
            before: None,
        },
        Job {
            name: "redis",
            ram: 80,
            words: text(&["python3", &format!("{scripts}/redis_bgsave.py"), &at, "1"]),
            before: None,
        },
    ];
    Ok(all.into_iter().filter(|job| options.wants(job.name)).collect())
}

/// A C project that a compiler needs some memory for.
fn project(dir: &Path) -> std::io::Result<()> {
    let (mut calls, mut declarations) = (String::new(), String::new());
    for file in 0..FILES {
        let mut source = String::new();
        for n in 0..FUNCTIONS {
            let _ = writeln!(
                source,
                "static long f{n}(long a, long b) {{ long s = {n}; for (long i = a; i < b; i++) {{ s += i * {file} ^ s << 3; \
                 if (s % 7 == {}) s -= b / (i + 1); }} return s; }}",
                n % 7
            );
        }
        let sum: String = (0..FUNCTIONS).map(|n| format!(" + f{n}({n}, {})", n + 9)).collect();
        let _ = writeln!(source, "long part{file}(void) {{ return 0{sum}; }}");
        fs::write(dir.join(format!("part{file}.c")), source)?;
        let _ = write!(calls, " ^ part{file}()");
        let _ = writeln!(declarations, "long part{file}(void);");
    }
    fs::write(dir.join("main.c"), format!("{declarations}int main() {{ return (int)(0{calls}); }}\n"))?;
    fs::write(
        dir.join("Makefile"),
        "objects = $(patsubst %.c,%.o,$(wildcard *.c))\nprogram: $(objects)\n\tgcc -o program $(objects)\n%.o: %.c\n\tgcc -O1 \
         -c -o $@ $<\nclean:\n\trm -f program $(objects)\n",
    )
}

/// Runs both for each job, one after the other.
fn measure(options: &Options, programs: &Programs, jobs: &[Job]) -> Result<(), String> {
    println!("| job     | RAM     | Outcore  | kernel swap file | ratio | of each round |");
    println!("|---------|--------:|---------:|-----------------:|------:|---------------|");
    for job in jobs {
        let (mut ours, mut kernel, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let mut killed = 0;
        for _ in 0..options.rounds {
            let own = seconds(job, None, programs)?;
            let swap = Swap::file(&options.dir, 2 * options.mib)?;
            let group = Cgroup::new(job.ram)?;
            match seconds(job, Some(&group), programs) {
                Ok(theirs) => {
                    kernel.push(theirs);
                    ratios.push(theirs / own);
                }
                // By the kernel, with swap to spare.
                Err(_) => killed += 1,
            }
            drop((group, swap));
            ours.push(own);
        }
        let each: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        // None where the kernel killed all of them.
        let shown = |figures: &mut Vec<f64>, unit: &str| {
            if figures.is_empty() { "–".to_owned() } else { format!("{:.2}{unit}", median(figures)) }
        };
        println!(
            "| {:7} | {:>3} MiB | {:>8} | {:>16} | {:>5} | {}{} |",
            job.name,
            job.ram,
            shown(&mut ours, " s"),
            shown(&mut kernel, " s"),
            shown(&mut ratios, "x"),
            each.join(" "),
            if killed > 0 { format!(" ({killed} killed by the kernel)") } else { String::new() }
        );
    }
    Ok(())
}

/// How long it takes in the group, or under Outcore; of the readers, reading alone.
fn seconds(job: &Job, group: Option<&Cgroup>, programs: &Programs) -> Result<f64, String> {
    if let Some((program, arguments)) = job.before.as_ref().and_then(|words| words.split_first()) {
        output(Command::new(program).args(arguments))?;
    }
    let mut command = match group {
        Some(group) => group.command(Path::new(&job.words[0])),
        None => {
            let mut command = Command::new(&programs.outcore);
            command.args(["run", "--report", "none", "--ram", &format!("{}M", job.ram), "--", &job.words[0]]);
            command
        }
    };
    let begun = Instant::now();
    let printed = output(command.args(&job.words[1..]))?;
    let took = begun.elapsed().as_secs_f64();
    let row: Option<Value> = serde_json::from_str(&printed).ok();
    Ok(row.and_then(|row| row["seconds"].as_f64()).unwrap_or(took))
}

/// What a tree costs one process, what the disk gives to four, and how soon the hot one has
/// most frames.
fn one(options: &Options, programs: &Programs) -> Result<(), String> {
    let (mib, ram) = (options.mib.to_string(), options.ram);
    let rate = |row: &Value| match (row["bytes"].as_f64(), row["seconds"].as_f64()) {
        (Some(bytes), Some(seconds)) => Ok(bytes / seconds / 1e6),
        _ => Err(format!("no rate in {row}")),
    };
    let row = |arguments: &[&str]| -> Result<Value, String> {
        let printed = output(programs.under_outcore(ram).arg("tree").args(arguments))?;
        serde_json::from_str(&printed).map_err(|error| format!("{printed}: {error}"))
    };
    let alone = rate(&row(&["--readers", "1", "--mib", &mib])?)?;
    let among = rate(&row(&["--readers", "1", "--mib", &mib, "--idle", "3"])?)?;
    let four = rate(&row(&["--readers", "4", "--mib", &(options.mib / 4).to_string()])?)?;
    let device = output(programs.native().args(["device", "--mib", &mib]).arg("--dir").arg(&options.dir))?;
    let rows = device.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let reads =
        rows.filter(|row| row["phase"].as_str().is_some_and(|name| name.starts_with("device, in order")));
    let best = reads.filter_map(|row| rate(&row).ok()).fold(0.0, f64::max);
    let idle = (ram / 3).to_string();
    let hot =
        row(&["--readers", "1", "--mib", &ram.to_string(), "--idle", "3", "--idle-mib", &idle, "--hot"])?;
    println!(
        "one reader {alone:.0} MB/s alone, {among:.0} MB/s beside three ({:.2}x); four readers {four:.0} MB/s of the device's \
         {best:.0} ({:.0} %); the hot one of four has 85 % of the frames after {}",
        among / alone,
        100.0 * four / best.max(1.0),
        hot["seconds"].as_f64().map_or("more than 4 s".to_owned(), |seconds| format!("{seconds:.2} s"))
    );
    Ok(())
}
