//! Looking at all processes of a run while it goes on.

use crate::support::{Paged, directory, outcore};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

/// What all processes of a run had at most at once, in bytes; pagers aside, which have no
/// memory of their own.
#[derive(Debug, Default)]
pub(crate) struct Peak {
    /// Resident sets, added up.
    pub(crate) rss: u64,
    /// The same with what is shared divided among those who share it.
    pub(crate) pss: u64,
    pub(crate) processes: usize,
}

/// A run that is being watched.
pub(crate) struct Watched {
    pub(crate) run: Child,
    dir: tempfile::TempDir,
    pub(crate) peak: Peak,
}

/// How long a run may take that is watched.
const PATIENCE: Duration = Duration::from_secs(240);

impl Watched {
    /// Starts `outcore run --ram RAM MiB -- PROGRAM`, with pipes.
    pub(crate) fn start(ram: u64, program: &[&str]) -> Self {
        let dir = directory();
        let report = dir.path().join("report.json");
        let run = outcore(&["run", "--ram", &format!("{ram}M"), "--report", report.to_str().unwrap(), "--"])
            .args(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(dir.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        Self { run, dir, peak: Peak::default() }
    }

    /// Processes of the run now, with the program itself first.
    pub(crate) fn processes(&self) -> Vec<u32> {
        everybody(self.run.id()).into_iter().filter(|one| !one.is_ours).map(|one| one.pid).collect()
    }

    /// Adds up what they have now.
    pub(crate) fn look(&mut self) {
        let all = self.processes();
        let sum = |read: fn(u32) -> Option<u64>| all.iter().filter_map(|pid| read(*pid)).sum();
        self.peak.rss = self.peak.rss.max(sum(rss));
        self.peak.pss = self.peak.pss.max(sum(pss));
        self.peak.processes = self.peak.processes.max(all.len());
    }

    /// What was written to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.dir.path().join("stderr")).unwrap()
    }

    /// Watches it to its end. What it prints must fit into a pipe.
    pub(crate) fn finish(mut self) -> (Paged, Peak) {
        let start = Instant::now();
        let status = loop {
            self.look();
            if let Some(status) = self.run.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "still running: {}", self.stderr());
            std::thread::sleep(Duration::from_millis(3));
        };
        let mut stdout = Vec::new();
        self.run.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
        let stderr = self.stderr().into_bytes();
        (Paged::of(Output { status, stdout, stderr }, &self.dir.path().join("report.json")), self.peak)
    }
}

/// A process of a tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct One {
    pub(crate) pid: u32,
    /// Outcore itself, a pager or a guard.
    pub(crate) is_ours: bool,
}

/// Everybody below `root`, parents first.
pub(crate) fn everybody(root: u32) -> Vec<One> {
    let all: Vec<(One, u32)> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let (name, rest) = (stat.split_once('(')?.1.rsplit_once(')')?.0, stat.rsplit_once(')')?.1);
            let one = One { pid, is_ours: name.starts_with("outcore") };
            Some((one, rest.split_ascii_whitespace().nth(1)?.parse().ok()?))
        })
        .collect();
    let below = |parent: u32| all.iter().filter(move |(_, of)| *of == parent).map(|(one, _)| *one);
    let mut found: Vec<One> = below(root).collect();
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(below(parent.pid));
        next += 1;
    }
    found
}

/// Bytes that are resident of a process.
pub(crate) fn rss(pid: u32) -> Option<u64> {
    let sizes = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    Some(sizes.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()? * 4096)
}

fn pss(pid: u32) -> Option<u64> {
    let sums = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("smaps_rollup")).ok()?;
    let kilobytes = sums.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(kilobytes.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}
