//! Running programs with and without Outcore, and reading the report.

pub(crate) mod cgroup;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::sync::{Mutex, PoisonError};

/// What a program did under Outcore.
pub(crate) struct Paged {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    report: serde_json::Value,
}

impl Paged {
    /// What `output` and the report in the file at `report` say.
    pub(crate) fn of(output: Output, report: &Path) -> Self {
        let stderr = text(&output.stderr);
        let report =
            fs::read_to_string(report).unwrap_or_else(|error| panic!("no report ({error}): {stderr}"));
        Self {
            status: output.status.code(),
            stdout: output.stdout,
            stderr,
            report: serde_json::from_str(&report).unwrap(),
        }
    }

    /// A number of the report by its name.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.report[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {}", self.report))
    }

    /// The features that were in use.
    pub(crate) fn features(&self) -> Vec<String> {
        let names = self.report["feature_names"].as_array().cloned().unwrap_or_default();
        names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    }

    /// A number of the report, of all processes but the program's own together.
    pub(crate) fn of_others(&self, name: &str) -> u64 {
        let processes = self.report["processes"].as_array().cloned().unwrap_or_default();
        processes.iter().filter_map(|process| process[name].as_u64()).sum()
    }

    /// The process with the largest heap among all but the program's own; `name` says what
    /// it is for the reader.
    pub(crate) fn process(&self, _name: &str) -> Option<Self> {
        let processes = self.report["processes"].as_array()?;
        let largest = processes.iter().max_by_key(|process| process["peak_heap_bytes"].as_u64())?;
        Some(Self {
            status: self.status,
            stdout: Vec::new(),
            stderr: self.stderr.clone(),
            report: largest.clone(),
        })
    }
}

/// `outcore` away from the caller's settings.
pub(crate) fn outcore(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outcore"));
    command.args(arguments).env_remove("TMPDIR").env_remove("LD_PRELOAD");
    command
}

/// `outcore run --ram RAM MiB OPTIONS -- PROGRAM`, to its end.
pub(crate) fn paged(ram: u64, options: &[&str], program: &[&str]) -> Paged {
    finish(outcore(&[]), ram, options, program)
}

/// [`paged`] with a command that has an environment of its own.
pub(crate) fn finish(mut command: Command, ram: u64, options: &[&str], program: &[&str]) -> Paged {
    let dir = directory();
    let report = dir.path().join("report.json");
    let output = command
        .args(["run", "--ram", &format!("{ram}M"), "--report", report.to_str().unwrap()])
        .args(options)
        .arg("--")
        .args(program)
        .output()
        .unwrap();
    Paged::of(output, &report)
}

/// The pager's processes of the program with this argument: numbers and names.
pub(crate) fn companions(token: &str) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(number) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let read = |name| fs::read_to_string(format!("/proc/{number}/{name}")).unwrap_or_default();
        let name = read("comm").trim().to_owned();
        if name.starts_with("outcore-") && read("cmdline").split('\0').any(|argument| argument == token) {
            found.push((number, name));
        }
    }
    found
}

/// The program with this argument that an `outcore run` has started, which is the parent of
/// the pager's processes as well; none yet, or any more.
pub(crate) fn program(run: &Child, token: &str) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", run.id())).ok()?;
    let companions = companions(token);
    let mut numbers = children.split_whitespace().filter_map(|number| number.parse().ok());
    numbers.find(|number| !companions.iter().any(|companion| companion.0 == *number))
}

/// The program's output without Outcore.
pub(crate) fn native(program: &[&str]) -> Vec<u8> {
    let output = Command::new(program[0]).args(&program[1..]).output().unwrap();
    assert!(output.status.success(), "{program:?}: {}", text(&output.stderr));
    output.stdout
}

/// The path of a C program of `tests/programs`, compiled once.
///
/// Once in a test program: of a program that is replaced while it runs, debug information is not found.
pub(crate) fn compile(source: &str) -> String {
    static COMPILED: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    compiled.entry(source.to_owned()).or_insert_with(|| compile_anew(source)).clone()
}

fn compile_anew(source: &str) -> String {
    let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join(source.trim_end_matches(".c"));
    // Tests run side by side: each compiles to a name of its own, and renames.
    let fresh = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap().into_temp_path();
    let compiled = Command::new("gcc")
        .args(["-O2", "-pthread", "-o"])
        .arg(&fresh)
        .arg(Path::new("tests/programs").join(source))
        .status()
        .unwrap();
    assert!(compiled.success(), "gcc {source}");
    fs::rename(&fresh, &binary).unwrap();
    binary.to_str().unwrap().to_owned()
}

/// The python3 itself: a wrapper script would be the first process of the report.
pub(crate) fn python() -> String {
    let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    text(&output.stdout).trim().to_owned()
}

/// A directory on a disk: `/tmp` may be in memory.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/var/tmp").unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|about| std::os::unix::fs::MetadataExt::uid(&about) == 0)
}

/// Says that a test could not be made here; where all must be made, that is a failure.
pub(crate) fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
    assert!(std::env::var_os("CI").is_none(), "must not be skipped under CI: {why}");
}

/// By another process: a file that this one has open for writing, if only in a child that has
/// not executed yet, cannot be executed.
pub(crate) fn copy_program(from: &str, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success(), "cp {from}");
}

pub(crate) fn open_to_all(dir: &Path) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
}
