//! Processes that share one budget: what each had is right, all together stay within it, and who
//! waits for its pages gets most of it.

#[expect(dead_code, reason = "other tests use the rest")]
mod support;
#[path = "support/watch.rs"]
mod watch;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command};
use std::time::{Duration, Instant};
use support::cgroup::{Cgroup, Pressed, inside};
use support::{compile, directory, native, outcore, paged, skip, text};
use watch::{Peak, Watched};

const MIB: u64 = 1 << 20;

/// The budget, 32 MiB and a hundredth of all memory, and 16 MiB a process.
fn bound(ram: u64, heap: u64, processes: usize) -> u64 {
    (ram + 32 + heap / 100 + 16 * processes as u64) * MIB
}

#[track_caller]
fn keeps(peak: &Peak, ram: u64, heap: u64) {
    let bound = bound(ram, heap, peak.processes);
    assert!(peak.rss <= bound, "{} MiB resident of {} allowed: {peak:?}", peak.rss / MIB, bound / MIB);
}

/// Program `hot`: three processes that rest, and one that reads at random.
struct Hot {
    watched: Watched,
    output: BufReader<ChildStdout>,
}

impl Hot {
    /// Has read so many pages by now, and does nothing until it is told to end.
    fn start(ram: u64, reads: &str) -> Self {
        let mut watched = Watched::start(ram, &[&compile("tree.c"), "hot", "80", reads]);
        let output = BufReader::new(watched.run.stdout.take().unwrap());
        let mut hot = Self { watched, output };
        hot.says("hot\n");
        hot
    }

    /// Told to end, finds what it should.
    fn ends(mut self) {
        self.watched.run.stdin.take().unwrap().write_all(b"\n").unwrap();
        self.says("every byte was right\n");
        assert!(self.watched.run.wait().unwrap().success());
    }

    fn says(&mut self, wanted: &str) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line, wanted, "{}", self.watched.stderr());
    }
}

#[test]
fn regions_of_5_mib_in_four_processes() {
    let tree = compile("tree.c");
    let (run, peak) = Watched::start(120, &[&tree, "workers", "4", "32", "12800"]).finish();
    assert_eq!(
        (run.status, run.stdout.as_slice()),
        (Some(0), b"every byte was right\n" as &[u8]),
        "{}",
        run.stderr
    );
    keeps(&peak, 120, 640);
    assert_eq!(peak.processes, 5);
    let out = run.of_others("swap_outs") * 4096;
    assert!(out >= (640 - 120 - 5 * 16) * MIB, "{} MiB were written, of 520 that did not fit", out / MIB);
}

#[test]
fn thirty_two_forked_processes_in_an_eighth() {
    let forks = compile("forks.c");
    let (run, peak) = Watched::start(80, &[&forks, "own", "20", "5"]).finish();
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    let output = text(&run.stdout);
    assert_eq!(output.lines().filter(|line| *line == "every byte was right").count(), 32, "{output}");
    keeps(&peak, 80, 640);
    assert!(peak.processes >= 32, "{peak:?}");
    assert!(run.of_others("swap_ins") > 50_000, "paged too little");
}

/// What `outcore stat` says of everything that runs.
fn samples() -> Vec<serde_json::Value> {
    let stat = outcore(&["stat", "--json"]).output().unwrap();
    serde_json::from_slice(&stat.stdout).unwrap()
}

/// Three processes that rest, and one that reads at random what is as large as the whole budget.
#[test]
fn the_hot_one_gets_the_frames_of_idle_ones() {
    let mut hot = Hot::start(256, "150000");
    let samples = samples();
    let pids = hot.watched.processes();
    let frames = |pid: &u32| {
        let sample = samples.iter().rev().find(|sample| sample["pid"] == *pid).unwrap();
        sample["resident_pages"].as_u64().unwrap()
    };
    let (its_own, all) = (frames(&pids[0]), pids.iter().map(frames).sum::<u64>());
    assert_eq!(pids.len(), 4);
    assert!(its_own * 100 >= all * 85, "{its_own} of {all} frames");
    hot.watched.look();
    keeps(&hot.watched.peak, 256, 480);
    hot.ends();
}

#[test]
fn a_tree_goes_on_without_its_supervisor_and_says_so() {
    let tree = compile("tree.c");
    let mut watched = Watched::start(64, &[&tree, "workers", "3", "10", "40000"]);
    let start = Instant::now();
    while watched.processes().len() < 4 {
        assert!(start.elapsed() < Duration::from_secs(20), "{}", watched.stderr());
        std::thread::yield_now();
    }
    // Until memory is paged somewhere.
    let processes = watched.processes();
    let pages = |sample: &serde_json::Value| {
        sample["swap_outs"].as_u64() > Some(0) && processes.iter().any(|pid| sample["pid"] == *pid)
    };
    while !samples().iter().any(pages) {
        assert!(start.elapsed() < Duration::from_secs(20), "nothing is paged: {}", watched.stderr());
    }
    watched.run.kill().unwrap();
    watched.run.wait().unwrap();
    let mut output = String::new();
    watched.run.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(output, "every byte was right\n", "{}", watched.stderr());
    assert!(watched.stderr().contains("has been killed: the program goes on"), "{}", watched.stderr());
    let ended = |pid: &u32| !std::path::Path::new(&format!("/proc/{pid}/exe")).exists();
    let start = Instant::now();
    while !processes.iter().all(ended) {
        assert!(start.elapsed() < Duration::from_secs(20), "{processes:?} are left");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A C project of eight files.
#[test]
fn make_with_four_jobs() {
    let dir = directory();
    let mut makefile = String::from("all: program\n");
    let (mut objects, mut calls, mut declarations) = (String::new(), String::new(), String::new());
    for file in 0..8 {
        let functions: String = (0..250)
            .map(|n| {
                format!(
                    "static long f{n}(long a, long b) {{ long s = {n}; for (long i = a; i < b; i++) {{ \
                     s += i * {file} ^ s << 3; if (s % 7 == {}) s -= b / (i + 1); }} return s; }}\n",
                    n % 7
                )
            })
            .collect();
        let sum: String = (0..250).map(|n| format!(" + f{n}({n}, {})", n + 9)).collect();
        let source = format!("{functions}long part{file}(void) {{ return 0{sum}; }}\n");
        fs::write(dir.path().join(format!("part{file}.c")), source).unwrap();
        objects += &format!(" part{file}.o");
        calls += &format!(" ^ part{file}()");
        declarations += &format!("long part{file}(void);\n");
    }
    let main = format!("#include <stdio.h>\n{declarations}int main() {{ printf(\"%ld\\n\", 0L{calls}); }}\n");
    fs::write(dir.path().join("main.c"), main).unwrap();
    makefile += &format!(
        "program: main.o{objects}\n\tgcc -o program main.o{objects}\n%.o: %.c\n\tgcc -O1 -c -o $@ $<\n"
    );
    fs::write(dir.path().join("Makefile"), makefile).unwrap();
    let at = dir.path().to_str().unwrap();
    let program = dir.path().join("program");
    let make = ["make", "-s", "-j4", "-C", at];
    native(&make);
    let wanted = Command::new(&program).output().unwrap().stdout;
    for entry in fs::read_dir(dir.path()).unwrap().flatten() {
        if entry.path().extension().is_some_and(|kind| kind == "o") || entry.path() == program {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let (run, peak) = Watched::start(64, &make).finish();
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert_eq!(Command::new(&program).output().unwrap().stdout, wanted);
    assert!(run.of_others("swap_outs") > 1_000, "paged too little");
    keeps(&peak, 64, 400);
}

#[test]
fn a_pipeline_of_sorts() {
    let dir = directory();
    let input = dir.path().join("lines");
    let mut state = 3_u64;
    let lines: String = (0..600_000)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            format!("{state:016x}{:032}\n", state % 1_000_003)
        })
        .collect();
    fs::write(&input, lines).unwrap();
    let script = format!(
        "sort -S 300M {} | sort -r -S 300M | sort -k1.20 -S 300M | sort -S 300M | md5sum",
        input.to_str().unwrap()
    );
    let program = ["sh", "-c", &script];
    let wanted = native(&program);
    let (run, peak) = Watched::start(64, &program).finish();
    assert_eq!((run.status, &run.stdout), (Some(0), &wanted), "{}", run.stderr);
    assert!(run.of_others("swap_outs") > 5_000, "paged too little");
    keeps(&peak, 64, 300);
}

#[test]
fn programs_that_fit_together_are_left_alone() {
    let tree = compile("tree.c");
    let run = paged(512, &[], &[&tree, "workers", "4", "6", "5000"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    for number in ["minor_faults", "major_faults", "swap_outs", "swap_ins"] {
        assert_eq!(run.of_others(number), 0, "{number}");
    }
}

/// The budget is changed while one process reads and three rest: all of them stay within it.
#[test]
fn set_lowers_and_raises_the_budget_of_a_running_tree() {
    let mut hot = Hot::start(256, "20000");
    let watched = &mut hot.watched;
    let pids = watched.processes();
    let set = |pid: u32, ram: &str| {
        let done = outcore(&["set", &pid.to_string(), "--ram", ram]).output().unwrap();
        (done.status.code(), text(&done.stdout) + &text(&done.stderr))
    };
    let (status, told) = set(pids[2], "96M");
    assert_eq!(status, Some(0), "{told}");
    assert!(told.contains("has 96 MiB of RAM now, and had 256 MiB"), "{told}");
    // Nobody touches anything: they are woken for it.
    let start = Instant::now();
    loop {
        watched.peak = Peak::default();
        watched.look();
        if watched.peak.rss <= bound(96, 480, 4) - 64 * MIB {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", watched.peak);
        std::thread::sleep(Duration::from_millis(10));
    }
    let (status, told) = set(watched.run.id(), "1M");
    assert_eq!(status, Some(2), "{told}");
    assert!(told.starts_with("outcore: --ram 1M is below the minimum"), "{told}");
    let (status, told) = set(watched.run.id(), "auto");
    assert!(status == Some(2) && told.contains("write a size"), "{told}");
    let (status, told) = set(std::process::id(), "64M");
    assert!(status == Some(2) && told.contains("does not run under 'outcore run'"), "{told}");
    assert_eq!(set(4_000_000, "64M").0, Some(2));
    assert_eq!(set(pids[0], "512M").0, Some(0));
    hot.ends();
}

/// A process that is killed when nobody waits for it any more.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A run with `--ram auto` of a program that does nothing.
struct Automatic {
    run: Killed,
}

impl Automatic {
    /// In the groups with these files of processes.
    fn start(groups: &[PathBuf]) -> Self {
        let mut command = inside(groups, env!("CARGO_BIN_EXE_outcore"));
        command.args(["run", "--ram", "auto", "--report", "none", "--", "sleep", "100"]);
        Self { run: Killed(command.spawn().unwrap()) }
    }

    /// Its budget now, in bytes; zero before it has begun.
    fn budget(&self) -> u64 {
        let stat = outcore(&["stat", &self.run.0.id().to_string(), "--json"]).output().unwrap();
        let samples: serde_json::Value = serde_json::from_slice(&stat.stdout).unwrap_or_default();
        samples[0]["budget_bytes"].as_u64().unwrap_or(0)
    }

    /// Waits until its budget is within these bytes, and says which it is.
    #[track_caller]
    fn becomes(&self, wanted: std::ops::RangeInclusive<u64>) -> u64 {
        let start = Instant::now();
        loop {
            let budget = self.budget();
            if wanted.contains(&budget) {
                return budget;
            }
            let late = start.elapsed() >= Duration::from_secs(30);
            assert!(!late, "{} MiB, not {} to {}", budget / MIB, wanted.start() / MIB, wanted.end() / MIB);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Told to end, it passes that on to the program.
    fn ends(mut self) {
        let told = Command::new("kill").arg(self.run.0.id().to_string()).status().unwrap();
        assert!(told.success() && self.run.0.wait().unwrap().code() == Some(128 + 15));
    }
}

/// The limit of its control group is raised, and lowered again.
#[test]
fn auto_follows_the_control_group() {
    let Some(group) = Cgroup::new(300 * MIB) else {
        return skip("no memory cgroup can be made");
    };
    let automatic = Automatic::start(&group.processes());
    automatic.becomes(200 * MIB..=240 * MIB);
    group.limit(600 * MIB);
    automatic.becomes(480 * MIB..=560 * MIB);
    group.limit(400 * MIB);
    automatic.becomes(300 * MIB..=350 * MIB);
    automatic.ends();
}

/// Somebody beside it waits for memory, of which there is no less for it: it gives way, and comes
/// back when that is over.
#[test]
fn auto_gives_way_under_pressure() {
    let Some(groups) = Pressed::new() else {
        return skip("no memory cgroup can be made, or the kernel does not tell of pressure");
    };
    let automatic = Automatic::start(&groups.wide);
    let calm = automatic.becomes(400 * MIB..=u64::MAX);
    let mut waiting = Killed(groups.wait_there());
    let pressed = automatic.becomes(MIB..=calm - calm / 6);
    assert!(waiting.0.try_wait().unwrap().is_none(), "it has ended early");
    drop(waiting);
    automatic.becomes(pressed + pressed / 12..=u64::MAX);
    automatic.ends();
}
