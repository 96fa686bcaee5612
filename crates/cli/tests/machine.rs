//! `outcore machine run` and `step`: options, logs and exit statuses; the gallery of examples,
//! and the documentation's claims about what they print.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn outcore(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_outcore"))
        .current_dir(directory)
        .args(arguments)
        .output()
        .expect("the command runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// Runs a script in a directory of its own: status, standard output and error.
fn run(script: &str, options: &[&str]) -> (i32, String, String) {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("s.oc"), script).expect("a script");
    let mut arguments = vec!["machine", "run", "s.oc"];
    arguments.extend(options);
    let output = outcore(directory.path(), &arguments);
    let status = output.status.code().expect("it exits");
    (status, text(&output.stdout).to_owned(), text(&output.stderr).to_owned())
}

/// The examples, where scripts may write their files.
fn examples() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let copy = Command::new("cp").arg("-r").arg(root().join("examples")).arg(directory.path()).status();
    assert!(copy.expect("cp runs").success());
    directory
}

/// A page of documentation with the output of every command in it as it is now.
fn with_output(page: &str, directory: &Path, ran: &mut BTreeSet<String>) -> String {
    let mut fresh = String::new();
    let mut rest = page;
    const OPEN: &str = "```console\n$ outcore ";
    while let Some(at) = rest.find(OPEN) {
        let block = &rest[at + OPEN.len()..];
        let (command, after) = block.split_once('\n').expect("a command is a line");
        let end = after.find("```").expect("a block ends");
        let arguments: Vec<&str> = command.split_whitespace().collect();
        let output = outcore(directory, &arguments);
        assert!(output.status.success(), "{command}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "", "{command}");
        ran.extend(arguments.last().map(|script| (*script).to_owned()));
        fresh.push_str(&rest[..at + OPEN.len()]);
        fresh.push_str(command);
        fresh.push('\n');
        fresh.push_str(text(&output.stdout));
        rest = &after[end..];
    }
    fresh.push_str(rest);
    fresh
}

/// To bring the pages up to date, run this with `OUTCORE_BLESS=1`, and read what has changed.
#[test]
fn the_documentation_shows_what_the_examples_print() {
    let directory = examples();
    let mut ran = BTreeSet::new();
    for name in ["docs/machine.md", "docs/concepts.md"] {
        let path = root().join(name);
        let page = fs::read_to_string(&path).expect("a page");
        let fresh = with_output(&page, directory.path(), &mut ran);
        if std::env::var_os("OUTCORE_BLESS").is_some() {
            fs::write(&path, &fresh).expect("the page can be written");
        } else {
            assert!(fresh == page, "{name} is out of date: run this test with OUTCORE_BLESS=1");
        }
    }
    // Every example but the one that depends on the host is shown.
    let scripts = fs::read_dir(root().join("examples/machine")).expect("examples");
    for entry in scripts {
        let name = entry.expect("a file").file_name().to_string_lossy().into_owned();
        if name.ends_with(".oc") && name != "exec.oc" {
            assert!(ran.contains(&format!("examples/machine/{name}")), "{name} is shown nowhere");
        }
    }
    // The examples leave their files as they were.
    let poem =
        |directory: &Path| fs::read(directory.join("examples/machine/files/poem.txt")).expect("a file");
    assert_eq!(poem(directory.path()), poem(&root()));
}

#[test]
fn the_example_that_executes_a_program_works_on_this_host() {
    let script = root().join("examples/machine/exec.oc");
    let script = script.to_str().expect("a plain path");
    let output = outcore(&root(), &["machine", "run", "--page", "4K", "--files", "/", script]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("image    in file           bin/true"), "{}", text(&output.stdout));
}

/// Every page of this very command, read on the machine, is that of its file.
#[test]
fn this_command_loads_page_for_page() {
    let path = fs::canonicalize(env!("CARGO_BIN_EXE_outcore")).expect("it is there");
    let file = fs::read(&path).expect("it can be read");
    let name = path.strip_prefix("/").expect("absolute").to_str().expect("plain").to_owned();
    // Where its segments are is what the dump says.
    let (status, out, error) = run(
        &format!("create 0 1\nswitch 1\nexec \"{name}\"\nexpect ret 0\ndump\n"),
        &["--page", "4K", "--files", "/", "--slots", "100000000", "--frames", "20"],
    );
    assert_eq!(status, 0, "{error}");
    let mut runs: Vec<(u64, usize, usize)> = Vec::new();
    for line in out.lines().filter(|line| line.contains(" image ") && line.contains("in file")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [addr, _, _, _, _, offset, read, ..] = words[..] else { panic!("{line}") };
        let addr = u64::from_str_radix(addr.trim_start_matches("0x"), 16).expect("an address");
        let (offset, read): (usize, usize) =
            (offset.parse().expect("a number"), read.parse().expect("a number"));
        match runs.last_mut() {
            // The log says after each operation what is mapped: few reads of many pages.
            Some((start, from, bytes))
                if addr == *start + *bytes as u64 && offset == *from + *bytes && *bytes < 1 << 20 =>
            {
                *bytes += read;
            }
            _ => runs.push((addr, offset, read)),
        }
    }
    let all: usize = runs.iter().map(|(_, _, bytes)| bytes).sum();
    assert!(all > 1 << 20, "{all} bytes");
    let reads: String = runs.iter().map(|(addr, _, bytes)| format!("read {addr:#x} {bytes}\n")).collect();
    let (status, out, error) = run(
        &format!("create 0 1\nswitch 1\nexec \"{name}\"\n{reads}"),
        &["--page", "4K", "--files", "/", "--slots", "100000000", "--frames", "20", "--log", "json"],
    );
    assert_eq!(status, 0, "{error}");
    assert_eq!(out.lines().count(), 3 + runs.len());
    for (line, (_, offset, bytes)) in out.lines().skip(3).zip(runs) {
        let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let found = value["ret"].as_str().expect("bytes");
        let wanted = file[offset..offset + bytes].iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let digits = wanted.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]));
        assert!(digits.eq(found.chars()), "{bytes} bytes at {offset}");
    }
}

#[test]
fn json_is_one_line_an_operation_with_its_keys_in_order() {
    let script = "create 0 1\nswitch 1\nmap\nwrite 0x600000000 \"hi\"\nread 0x600000000 2\nexpect \"hi\"\nstats\ndump\n\
                  map \"a\\\"b\" 3\nread 0x600010000 1\nexpect dead\nmap\n";
    let (status, out, error) = run(script, &["--log", "json"]);
    assert_eq!(status, 0, "{error}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines,
        [
            r#"{"n":1,"op":"create","pid":null,"ret":0,"dead":false,"faults":[],"io":[],"ptes":[]}"#,
            r#"{"n":2,"op":"switch","pid":1,"ret":0,"dead":false,"faults":[],"io":[],"ptes":[]}"#,
            r#"{"n":3,"op":"map","pid":1,"ret":"0x600000000","dead":false,"faults":[],"io":[],"ptes":["0:r:0"]}"#,
            r#"{"n":4,"op":"write","pid":1,"ret":0,"dead":false,"faults":[["0x600000000","w",0]],"io":[],"ptes":["0:rw:1"]}"#,
            r#"{"n":5,"op":"read","pid":1,"ret":"6869","dead":false,"faults":[],"io":[],"ptes":["0:rw:1"]}"#,
            r#"{"n":6,"op":"expect","pid":1,"ret":0,"dead":false,"faults":[],"io":[],"ptes":["0:rw:1"]}"#,
            r#"{"n":7,"op":"stats","pid":1,"ret":0,"dead":false,"faults":[],"io":[],"ptes":["0:rw:1"]}"#,
            r#"{"n":8,"op":"dump","pid":1,"ret":0,"dead":false,"faults":[],"io":[],"ptes":["0:rw:1"]}"#,
            r#"{"n":9,"op":"map","pid":1,"ret":"0x600010000","dead":false,"faults":[],"io":[],"ptes":["0:rw:1","1:-:-"]}"#,
            r#"{"n":10,"op":"read","pid":1,"ret":-1,"dead":true,"faults":[["0x600010000","r",-1]],"io":[],"ptes":[]}"#,
            r#"{"n":11,"op":"expect","pid":null,"ret":0,"dead":false,"faults":[],"io":[],"ptes":[]}"#,
            r#"{"n":12,"op":"map","pid":null,"ret":-1,"dead":false,"faults":[],"io":[],"ptes":[],"error":"no process runs"}"#,
        ]
    );
    assert!(error.contains("in use"), "what stats says goes to stderr: {error}");
}

#[test]
fn an_expectation_that_is_not_met_names_its_line_and_the_script_goes_on() {
    let (status, out, error) = run("create 0 1\nswitch 1\nmap\nexpect ret null\nmap\n", &[]);
    assert_eq!(status, 1);
    assert_eq!(error, "outcore: s.oc:4: `expect ret null` was not met: line 3 returned 0x600000000\n");
    assert!(out.lines().any(|line| line.contains("= 0x600010000")), "{out}");
}

#[test]
fn what_makes_no_sense_is_status_2_with_a_message() {
    let refused = |script: &str, options: &[&str], words: &str| {
        let (status, out, error) = run(script, options);
        assert_eq!((status, out.as_str()), (2, ""), "{options:?}: {error}");
        assert!(
            error.starts_with("outcore: ") && error.contains(words),
            "{options:?}: {error:?}, not {words:?}"
        );
    };
    refused("create 0 1\n  bogus\n", &[], "s.oc:2:3: `bogus` is not an operation");
    refused("map \"x", &[], "s.oc:1:5: the string has no closing quote");
    refused("", &["--frames", "1"], "1 frames");
    refused("", &["--frames", "99999999999999999999"], "frames");
    refused("", &["--frames", "-1"], "-1");
    refused("", &["--page", "3000"], "3000");
    refused("", &["--page", "256"], "256");
    refused("", &["--page", "x"], "is not a size");
    refused("", &["--arena", "65537"], "65537");
    refused("", &["--base", "0x600000001"], "0x600000001");
    refused("", &["--base", "zero"], "is not an address");
    refused("", &["--slots", "1000000000000"], "1000000000000");
    refused("", &["--policy", "mru"], "mru");
    refused("", &["--policy", "opt"], "future");
    refused("", &["--commit", "maybe"], "strict or lazy");
    refused("", &["--writeback", "never"], "exit or evict");
    refused("", &["--files", "/nonexistent"], "there is no such directory");
    refused("", &["--log", "xml"], "xml");
    refused("", &["--bogus"], "--bogus");
    let output = outcore(&root(), &["machine", "run", "/nonexistent.oc"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("outcore: /nonexistent.oc: "), "{}", text(&output.stderr));
    let output = outcore(&root(), &["machine", "run"]);
    assert_eq!(output.status.code(), Some(2));
    // An empty script is one that does nothing.
    assert_eq!(run("", &[]), (0, String::new(), String::new()));
}

#[test]
fn a_file_that_cannot_be_executed_is_status_2_unless_that_is_expected() {
    let (status, _, error) = run("create 0 1\nswitch 1\nexec \"s.oc\"\nmap\n", &[]);
    assert_eq!(status, 2);
    assert!(error.starts_with("outcore: s.oc:3: s.oc: not a 64-bit ELF file"), "{error}");
    let (status, ..) = run("create 0 1\nswitch 1\nexec \"s.oc\"\nexpect ret -1\n", &[]);
    assert_eq!(status, 0);
    // Without a process no file was looked at: the script goes on, as for every operation.
    let (status, out, error) = run("exec \"s.oc\"\n", &["--log", "json"]);
    assert_eq!((status, error.as_str()), (0, ""));
    assert!(out.contains("\"ret\":-1,") && out.contains("\"error\":\"no process runs\""), "{out}");
    let (status, _, error) = run("create 0 1\nswitch 1\nexec \"missing\"\n", &[]);
    assert_eq!(status, 2);
    assert!(error.contains("missing: No such file"), "{error}");
}

#[test]
fn options_reach_the_machine() {
    let script = "create 0 1\nswitch 1\nmap\nmap\nwrite 0x10000 1*1\nwrite 0x10200 2*1\n";
    let options = ["--page", "512", "--base", "0x10000", "--arena", "1024", "--frames", "2", "--log", "json"];
    let (status, out, error) = run(script, &options);
    assert_eq!(status, 0, "{error}");
    let last = out.lines().last().expect("a line");
    assert!(last.contains(r#""io":[["write","swap",0]],"ptes":["0:-:-","1:rw:1"]"#), "{last}");
    for policy in ["fifo", "lru", "clock", "sieve", "s3fifo", "2q", "arc", "lirs"] {
        let mut options = options.to_vec();
        options.extend(["--policy", policy]);
        assert_eq!(run(script, &options).0, 0, "{policy}");
    }
    let (status, _, error) =
        run("create 0 1\nswitch 1\nsp 0x700001000\nwrite 0x700000f80 1*1\n", &["--page", "4K"]);
    assert_eq!(status, 0, "{error}");
    let script = "create 0 1\nswitch 1\nsp 0x700002000\nsp 0x700001040\nwrite 0x700000fc0 1*1\nexpect dead\n";
    assert_eq!(run(script, &["--page", "4K"]).0, 0);
    assert_eq!(run(script, &["--page", "4K", "--stack-slack", "128"]).0, 1);
}

#[test]
fn step_needs_a_terminal() {
    let output = outcore(&root(), &["machine", "step", "examples/machine/cow.oc"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("needs a terminal"), "{}", text(&output.stderr));
}
