//! `outcore machine replay` from outside: what it prints, what it refuses, and how.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Belady, Nelson and Shedler 1969.
const BELADY: &str = "1\n2\n3\n4\n1\n2\n5\n1\n2\n3\n4\n5\n";

struct Answer {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

/// `outcore machine replay ARGUMENTS`, with `input` on its standard input.
fn replay(arguments: &[&str], input: &[u8]) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outcore"));
    command.args(["machine", "replay"]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may have refused the command line, and not read anything.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Answer { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Checks that it is refused with exit status 2 and a message that has all of `parts`.
#[track_caller]
fn refused(arguments: &[&str], input: &[u8], parts: &[&str]) {
    let answer = replay(arguments, input);
    assert_eq!(answer.status, Some(2), "{arguments:?}: {}", answer.stderr);
    assert_eq!(answer.stdout, "");
    assert!(answer.stderr.lines().all(|line| line.starts_with("outcore: ")), "{}", answer.stderr);
    for part in parts {
        assert!(answer.stderr.contains(part), "{arguments:?}: no {part:?} in: {}", answer.stderr);
    }
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn binary(pages: &[u64]) -> Vec<u8> {
    pages.iter().flat_map(|page| page.to_le_bytes()).collect()
}

fn name(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_table_has_a_row_for_each_policy_and_size() {
    let answer = replay(&["--pages", "-", "--frames", "3,4", "--policy", "fifo,lru,opt"], BELADY.as_bytes());
    assert_eq!(answer.status, Some(0), "{}", answer.stderr);
    let expected = "\
12 references to 5 pages

policy  frames  misses  miss ratio
fifo         3       9     75.00 %
fifo         4      10     83.33 %
lru          3      10     83.33 %
lru          4       8     66.67 %
opt          3       7     58.33 %
opt          4       6     50.00 %
";
    assert_eq!((answer.stdout.as_str(), answer.stderr.as_str()), (expected, ""));
}

#[test]
fn json_is_one_array_in_the_order_asked_for() {
    let dir = Dir::new();
    let trace = dir.file("belady.txt", BELADY.as_bytes());
    let answer = replay(&["--pages", name(&trace), "--frames", "4,3", "--policy", "lru,opt", "--json"], b"");
    let expected = concat!(
        r#"[{"policy":"lru","frames":4,"references":12,"misses":8},"#,
        r#"{"policy":"lru","frames":3,"references":12,"misses":10},"#,
        r#"{"policy":"opt","frames":4,"references":12,"misses":6},"#,
        r#"{"policy":"opt","frames":3,"references":12,"misses":7}]"#,
        "\n"
    );
    assert_eq!((answer.status, answer.stdout.as_str()), (Some(0), expected), "{}", answer.stderr);
}

#[test]
fn every_policy_is_replayed_if_none_is_named() {
    let answer = replay(&["--pages", "-", "--frames", "3", "--json"], BELADY.as_bytes());
    let rows: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
    let names: Vec<&str> = rows.as_array().unwrap().iter().filter_map(|row| row["policy"].as_str()).collect();
    assert_eq!(names, ["fifo", "lru", "clock", "sieve", "s3fifo", "2q", "arc", "lirs", "first", "opt"]);
}

#[test]
fn binary_traces_are_told_from_text_and_mean_the_same() {
    let dir = Dir::new();
    let pages: Vec<u64> = BELADY.lines().map(|line| line.parse().unwrap()).collect();
    let large: Vec<u64> = pages.iter().map(|page| u64::MAX - page + 1).collect();
    let large_text: String = large.iter().map(|page| format!("{page}\n")).collect();
    let expected = replay(&["--pages", "-", "--frames", "3"], BELADY.as_bytes()).stdout;
    for (trace, format) in [
        (dir.file("small.bin", &binary(&pages)), "auto"),
        (dir.file("small-u64le.bin", &binary(&pages)), "u64le"),
        (dir.file("large.bin", &binary(&large)), "auto"),
        (dir.file("large.txt", large_text.as_bytes()), "auto"),
        (dir.file("large-text.txt", large_text.as_bytes()), "text"),
    ] {
        let answer = replay(&["--pages", name(&trace), "--frames", "3", "--format", format], b"");
        assert_eq!(answer.stdout, expected, "{}: {}", trace.display(), answer.stderr);
    }
}

/// Known for 200,000 references, whatever replays them: a loop over one page more than there are
/// frames misses always under FIFO and LRU, and OPT keeps all but one of its frames' pages each round.
#[test]
fn a_long_loop() {
    let trace: String = (0..200_000).map(|at| format!("{}\n", at % 101)).collect();
    let arguments = ["--pages", "-", "--frames", "100,101", "--policy", "fifo,lru,opt", "--json"];
    let rows: serde_json::Value = serde_json::from_str(&replay(&arguments, trace.as_bytes()).stdout).unwrap();
    let misses: Vec<u64> = rows.as_array().unwrap().iter().filter_map(|row| row["misses"].as_u64()).collect();
    // Every 100 references after the first 101, one misses.
    assert_eq!(misses, [200_000, 101, 200_000, 101, 101 + (200_000 - 101) / 100, 101]);
}

#[test]
fn traces_that_make_no_sense_are_refused_with_their_place() {
    let dir = Dir::new();
    let trace = |name: &str, bytes: &[u8]| dir.file(name, bytes).to_str().unwrap().to_owned();
    let check = |path: &str, parts: &[&str]| {
        refused(&["--pages", path, "--frames", "3"], b"", &[&[path][..], parts].concat());
    };
    check(&trace("empty", b""), &["no page number"]);
    check(&trace("blank", b"\n\n \n"), &["no page number"]);
    check(&trace("word", b"1\n2\nthree\n"), &["line 3, column 1: 't'"]);
    check(&trace("two", b"1 2\n"), &["line 1, column 3: '2'"]);
    check(&trace("negative", b"1\n-2\n"), &["line 2, column 1: '-'"]);
    check(&trace("large", b"1\n18446744073709551616\n"), &["line 2, column 1", "64 bits"]);
    check(&trace("torn", &binary(&[1, 2])[..15]), &["15 bytes", "multiple of 8"]);
    check("/nowhere/trace.txt", &["cannot be read", "No such file"]);
    check(name(dir.0.path()), &["cannot be read", "directory"]);
    refused(
        &["--pages", "-", "--frames", "3", "--format", "u64le"],
        b"1\n2\n",
        &["standard input", "4 bytes"],
    );
    refused(&["--pages", "-", "--frames", "3", "--format", "text"], &binary(&[1]), &["column 1: '\\x01'"]);
    refused(&["--pages", "-", "--frames", "3", "--format", "u64le"], b"", &["no page number"]);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let with = |frames: &str, policy: &str, parts: &[&str]| {
        refused(&["--pages", "-", "--frames", frames, "--policy", policy], b"1\n", parts);
    };
    with("0", "lru", &["--frames", "at least 1 frame"]);
    with("10,0", "lru", &["at least 1 frame"]);
    with("ten", "lru", &["'ten'", "number of frames"]);
    with("+3", "lru", &["number of frames"]);
    with("3,", "lru", &["number of frames"]);
    with("4294967294", "lru", &["4,294,967,293 frames"]);
    with("99999999999999999999", "lru", &["4,294,967,293 frames"]);
    with("3", "mru", &["\"mru\" is not a policy", "sieve"]);
    with("3", "LRU", &["\"LRU\" is not a policy"]);
    with("3", "lru,", &["\"\" is not a policy"]);
    refused(&["--pages", "-"], b"", &["--frames"]);
    refused(&["--frames", "3"], b"", &["--pages"]);
    refused(&["--pages", "-", "--frames", "3", "--format", "csv"], b"", &["csv"]);
    refused(&["--pages", "-", "--frames", "3", "--colour"], b"", &["--colour"]);
    refused(&["--pages", "-", "--frames", "-3"], b"", &["-3"]);
}

#[test]
fn more_frames_than_there_are_pages_are_no_trouble() {
    let answer = replay(&["--pages", "-", "--frames", "4294967293", "--json"], BELADY.as_bytes());
    let rows: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 10);
    assert!(rows.as_array().unwrap().iter().all(|row| row["misses"] == 5), "{rows}");
}

#[test]
fn help_has_examples() {
    let answer = replay(&["--help"], b"");
    assert_eq!(answer.status, Some(0));
    for part in ["Examples:", "--frames", "s3fifo", "u64le"] {
        assert!(answer.stdout.contains(part), "no {part:?} in {}", answer.stdout);
    }
}

/// Whoever reads the answer may stop: that is neither a panic nor a failure.
#[test]
fn a_closed_pipe_is_no_failure() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outcore"));
    command.args(["machine", "replay", "--pages", "-", "--frames", "3"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(BELADY.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
