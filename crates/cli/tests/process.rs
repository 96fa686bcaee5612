//! The pager is a process of its own: the program does not notice it, neither outlives
//! the other, and who kills it gets no wrong bytes.

#[expect(dead_code, reason = "what the other tests use of it")]
mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{companions, compile, native, outcore, paged, program, python, text};

const SCRIPT: &str = "tests/programs/alone.py";
const PATIENCE: Duration = Duration::from_secs(10);

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Kills the process of that name that is there to stay: another begins and ends in
/// between when one is made.
fn kill(token: &str, name: &str) -> u32 {
    let named = || companions(token).into_iter().filter(|found| found.1 == name).collect::<Vec<_>>();
    let start = Instant::now();
    loop {
        let before = named();
        std::thread::sleep(Duration::from_millis(50));
        if let ([(number, _)], true) = (before.as_slice(), before == named()) {
            assert!(Command::new("kill").args(["-KILL", &number.to_string()]).status().unwrap().success());
            return *number;
        }
        assert!(start.elapsed() < PATIENCE, "no {name}");
    }
}

/// A program that has filled 160 MiB in 64, and waits for the end of its input.
fn waiting(token: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = outcore(&["run", "--ram", "64M", "--", &python(), SCRIPT, token, "wait"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "full\n");
    (child, output)
}

#[test]
fn the_program_does_not_notice_its_pager() {
    let run = paged(64, &[], &[&python(), SCRIPT, "unnoticed", "check"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert_eq!(text(&run.stdout), text(&native(&[&python(), SCRIPT, "unpaged", "check"])));
    assert!(text(&run.stdout).contains("1 thread\nunshare 0\n"), "{}", text(&run.stdout));
    assert!(run.number("swap_outs") > 10_000);
    assert!(run.features().contains(&"pager-process".to_owned()), "{:?}", run.features());
    wait_until("the pager ends with its program", || companions("unnoticed").is_empty());
}

#[test]
fn no_pager_outlives_an_exec() {
    let run = paged(64, &[], &[&python(), SCRIPT, "moves-on", "exec"]);
    assert_eq!((run.status, text(&run.stdout).as_str()), (Some(0), "[]\n"), "{}", run.stderr);
}

#[test]
fn what_is_executed_while_a_pager_starts_has_no_dead_children() {
    // Its own pager has started by the time that it looks.
    let children = "sleep 0.5; read numbers < /proc/$$/task/$$/children || [ -e /proc/$$/task/$$/children ] || echo none; \
        for number in $numbers; do read name < /proc/$number/comm && echo $name; done";
    let mut program = vec!["env"; 300];
    program.extend(["sh", "-c", children]);
    let run = paged(64, &[], &program);
    assert_eq!((run.status, text(&run.stdout).as_str()), (Some(0), ""), "{}", run.stderr);
}

#[test]
fn no_pager_outlives_a_killed_program() {
    let (mut child, _output) = waiting("is-killed");
    let mut names: Vec<String> = companions("is-killed").into_iter().map(|found| found.1).collect();
    names.sort();
    assert_eq!(names, ["outcore-guard", "outcore-pager"]);
    let program = program(&child, "is-killed").expect("it runs").to_string();
    assert!(Command::new("kill").args(["-KILL", &program]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(137));
    wait_until("the pager ends with its program", || companions("is-killed").is_empty());
}

#[test]
fn a_program_ends_with_its_pager() {
    let (mut child, mut output) = waiting("loses-its-pager");
    kill("loses-its-pager", "outcore-pager");
    assert_eq!(child.wait().unwrap().code(), Some(137));
    let (mut rest, mut complaint) = (String::new(), String::new());
    output.read_to_string(&mut rest).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
    assert_eq!(rest, "", "it went on without its memory");
    assert!(complaint.contains("the pager's process was killed"), "{complaint}");
    wait_until("the guard ends as well", || companions("loses-its-pager").is_empty());
}

#[test]
fn a_pager_and_its_guard_killed_at_once_leave_no_zeros() {
    let token = "loses-both";
    for round in 0..4 {
        let (mut child, mut output) = waiting(token);
        let numbers = |name| {
            let of_name = companions(token).into_iter().filter(|found| found.1 == name);
            of_name.map(|found| found.0.to_string()).collect::<Vec<_>>()
        };
        let both = || [numbers("outcore-guard"), numbers("outcore-pager")].concat();
        wait_until("pager and guard", || both().len() == 2);
        // It looks at every byte from now on.
        drop(child.stdin.take());
        assert!(Command::new("kill").arg("-KILL").args(both()).status().unwrap().success());
        let status = child.wait().unwrap().code();
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        // It may have been done already.
        assert!(
            (status, rest.as_str()) == (Some(137), "") || (status, rest.as_str()) == (Some(0), "right\n"),
            "round {round}: {status:?}, {rest:?}"
        );
        wait_until("all end", || companions(token).is_empty());
    }
}

#[test]
fn a_killed_guard_is_replaced() {
    let token = "loses-its-guard";
    let (mut child, mut output) = waiting(token);
    for _ in 0..3 {
        let before = kill(token, "outcore-guard");
        wait_until("another guard", || {
            companions(token).iter().any(|(number, name)| name == "outcore-guard" && *number != before)
        });
    }
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "right\n");
    wait_until("all end with the program", || companions(token).is_empty());
}

/// As seen by shells and terminals: see the program.
#[test]
fn a_job_is_stopped_continued_and_told_what_the_program_would_be() {
    let told = native(&[&python(), "tests/programs/jobs.py", env!("CARGO_BIN_EXE_outcore")]);
    assert_eq!(text(&told), "right\n");
}

/// Where no directory holds the library it is in memory, and the one within takes the place of the one outside.
#[test]
fn a_run_in_a_run_has_one_library() {
    let shell = ["sh", "-c", "seq 1 5 | cat | tail -n 1"];
    let outer = outcore(&["run", "--ram", "64M", "--report", "none", "--", env!("CARGO_BIN_EXE_outcore")])
        .args(["run", "--ram", "32M", "--report", "none", "--"])
        .args(shell)
        .env_remove("HOME")
        .env_remove("XDG_CACHE_HOME")
        .output()
        .unwrap();
    assert_eq!(
        (outer.status.code(), text(&outer.stdout)),
        (Some(0), "5\n".to_owned()),
        "{}",
        text(&outer.stderr)
    );
}

#[test]
fn the_first_thread_may_leave_before_the_others() {
    let program = compile("last_thread.c");
    for options in [&[] as &[&str], &["--force", "pager-thread"]] {
        let run = paged(64, options, &[&program]);
        assert_eq!(run.status, Some(0), "{options:?}: {}", run.stderr);
        assert_eq!(text(&run.stdout), "every byte was right\n", "{options:?}");
        assert!(run.number("swap_outs") > 10_000, "{options:?}");
        let rss = run.number("peak_rss_bytes");
        assert!(rss < (64 + 32 + 2) << 20, "{options:?}: {} MiB resident", rss >> 20);
    }
}
