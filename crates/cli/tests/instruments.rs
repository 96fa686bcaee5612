//! Traces of real runs, replays of them, and what is seen of processes that run.

#[expect(dead_code, reason = "what the other tests use of it")]
mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::{compile, directory, outcore, python, text};

const PATIENCE: Duration = Duration::from_secs(20);

fn answer(arguments: &[&str]) -> Output {
    outcore(arguments).output().unwrap()
}

fn json(arguments: &[&str]) -> serde_json::Value {
    let output = answer(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

/// Runs a program in 64 MiB and traces it.
fn traced(trace: &Path, options: &[&str], program: &[&str]) -> String {
    let mut arguments = vec!["run", "--ram", "64M", "--report", "text", "--trace", trace.to_str().unwrap()];
    arguments.extend(options);
    arguments.push("--");
    arguments.extend(program);
    let output = answer(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stderr)
}

fn name(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_run_is_decided_again_as_it_was() {
    let dir = directory();
    let (trace, stripped) = (dir.path().join("a.trace"), dir.path().join("b.trace"));
    let (churn, regions) = (compile("churn.c"), compile("regions.c"));
    for (readahead, program) in [
        ("off", &[&churn as &str, "8", "200", "150", "11"][..]),
        ("off", &[&regions as &str, "40", "5", "3000"]),
        ("on", &[&regions as &str, "40", "5", "3000"]),
    ] {
        let said = traced(&trace, &["--readahead", readahead], program);
        assert!(said.contains("events in") && !said.contains("dropped"), "{said}");
        let replay = json(&["machine", "replay", name(&trace), "--json"]);
        let run = replay["run"]["major_faults"].as_u64().unwrap();
        let again = replay["replay"]["major_faults"].as_u64().unwrap();
        assert!(run > 1000, "{replay}");
        match readahead {
            // What other threads change meanwhile may come between: exact where nothing did.
            "off" => match replay["replay"]["diverged"].as_u64().unwrap() {
                0 => assert_eq!(again, run, "{replay}"),
                few => assert!(few <= 10 && again.abs_diff(run) <= 10, "{replay}"),
            },
            _ => assert!(again.abs_diff(run) * 100 <= run, "{replay}"),
        }
        // What the program did alone, without the pager's pace, is a guess, and close.
        let off = replay["touches_alone"]["percent_off"].as_f64().unwrap();
        assert!(readahead == "on" || off.abs() <= 3.0, "{replay}");
        // Neither kinds nor evictions are looked at.
        assert!(answer(&["trace", "strip", name(&trace), "-o", name(&stripped)]).status.success());
        let printed = text(&answer(&["trace", "print", name(&stripped)]).stdout);
        assert!(
            !printed.contains("evicted") && !printed.contains(": swapped"),
            "kinds and evictions are gone"
        );
        let again_stripped = json(&["machine", "replay", name(&stripped), "--json"]);
        for part in ["replay", "touches_alone"] {
            assert_eq!(again_stripped[part], replay[part]);
        }
        // From standard input, which can be read once.
        let mut piped = outcore(&["machine", "replay", "-", "--json"]);
        let piped = piped.stdin(fs::File::open(&trace).unwrap()).output().unwrap();
        assert!(piped.status.success(), "{}", text(&piped.stderr));
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&piped.stdout).unwrap(), replay);
        let info = json(&["trace", "info", name(&trace), "--json"]);
        let (bytes, process) = (info["bytes"].as_f64().unwrap(), &info["processes"][0]);
        assert!(bytes <= 8.0 * process["events"].as_f64().unwrap(), "{info}");
        let outcomes = &process["outcomes"];
        let majors = outcomes["swapped"].as_u64().unwrap() + outcomes["filling"].as_u64().unwrap();
        assert_eq!(majors, run, "every fault is in the trace: {info}");
        assert_eq!(process["dropped"], 0);
    }
}

#[test]
fn a_buffer_that_is_too_small_drops_and_counts() {
    let dir = directory();
    let trace = dir.path().join("a.trace");
    let churn = compile("churn.c");
    // Stopped, outcore takes nothing out; the program goes on.
    let mut child = outcore(&[
        "run",
        "--ram",
        "64M",
        "--trace",
        name(&trace),
        "--trace-buffer",
        "128K",
        "--report",
        "none",
        "--",
    ])
    .args([&churn, "8", "200", "150", "11"])
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let kill = |signal: &str| Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(kill("-STOP").success());
    std::thread::sleep(Duration::from_secs(3));
    assert!(kill("-CONT").success());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(said.contains("more were dropped: give --trace-buffer more"), "{said}");
    let info = answer(&["trace", "info", name(&trace)]);
    assert_eq!(info.status.code(), Some(1), "what is missing is told");
    assert!(text(&info.stderr).contains("events were dropped, because the buffer was full"));
    let replay = text(&answer(&["machine", "replay", name(&trace)]).stdout);
    assert!(replay.contains("the replay is not exact"), "{replay}");
}

#[test]
fn traces_become_curves_pages_and_tables() {
    let dir = directory();
    let path = |name: &str| dir.path().join(name);
    let trace = path("a.trace");
    let regions = compile("regions.c");
    traced(&trace, &["--trace-code", "8", "--trace-callers"], &[&regions, "40", "5", "3000"]);
    let curves = answer(&[
        "mrc",
        name(&trace),
        "--waiting",
        "5",
        "-o",
        name(&path("c.svg")),
        "-o",
        name(&path("c.png")),
    ]);
    assert!(curves.status.success(), "{}", text(&curves.stderr));
    let shown = text(&curves.stdout);
    for part in [
        "the run's budget       64 MiB",
        "knee",
        "first touches",
        "to wait less than 5 %",
        "valid at or above the run's",
    ] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
    assert!(fs::read_to_string(path("c.svg")).unwrap().starts_with("<svg"));
    assert!(fs::read(path("c.png")).unwrap().starts_with(b"\x89PNG"));
    assert!(answer(&["report", name(&trace)]).status.success());
    let page = fs::read_to_string(path("a.html")).unwrap();
    for part in ["<svg", "Over time", "Where it touched", "How much memory it needs", "(regions)", "</html>"]
    {
        assert!(page.contains(part), "no {part:?} in the page");
    }
    // Nothing is fetched: the only addresses are names of namespaces.
    let addresses = page.matches("http").count();
    assert_eq!(addresses, page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count(), "{page:.200}");
    assert!(!page.contains("<script") && !page.contains("<link") && !page.contains("<img"));
    let csv = text(&answer(&["trace", "export", name(&trace), "--format", "csv"]).stdout);
    assert!(csv.starts_with("time_ns,pid,thread,event,page,count,detail\n"), "{csv:.200}");
    let columns = |line: &str| line.matches(',').count();
    assert!(csv.lines().all(|line| columns(line) == 6));
    assert!(csv.contains(",touch,0x") && csv.contains(",evicted,0x"));
    let chrome = json(&["trace", "export", name(&trace), "--format", "chrome"]);
    let events = chrome["traceEvents"].as_array().unwrap();
    assert!(events.len() > 1000);
    assert_eq!(chrome_problems(&chrome), Vec::<String>::new());
    chrome_problems_are_found(&chrome);
    let printed = text(&answer(&["trace", "print", "--touches", name(&trace)]).stdout);
    assert!(printed.contains("(regions)") && printed.contains(" < "), "code and callers have names");
    for policy in ["lru", "opt", "outcore"] {
        let curves = json(&["mrc", name(&trace), "--policy", policy, "--sizes", "4", "--json"]);
        assert_eq!(curves["curves"][1]["name"], policy);
    }
}

/// What breaks the rules of the Trace Event Format ("Trace Event Format", N. Duca and D. Sinclair, 2016), as far as traces
/// here use it.
fn chrome_problems(trace: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let mut under_way: BTreeMap<String, f64> = BTreeMap::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    if !["ns", "ms"].contains(&trace["displayTimeUnit"].as_str().unwrap_or_default()) {
        problems.push("the unit of time is neither ns nor ms".to_owned());
    }
    for event in trace["traceEvents"].as_array().into_iter().flatten() {
        let phase = event["ph"].as_str().unwrap_or_default();
        let mut ask = |holds: bool, what: &str| {
            if !holds {
                problems.push(format!("{what}: {event}"));
            }
        };
        *counts.entry(event["ph"].as_str().unwrap_or_default()).or_default() += 1;
        ask(event["pid"].is_u64() && event["tid"].is_u64(), "whose");
        ask(event["name"].as_str().is_some_and(|name| !name.is_empty()), "no name");
        let time = event["ts"].as_f64();
        ask(phase == "M" || time.is_some_and(|time| time >= 0.0), "when");
        let arguments = event["args"].as_object();
        match phase {
            "i" => ask(["g", "p", "t"].contains(&event["s"].as_str().unwrap_or_default()), "no scope"),
            "M" => {
                ask(
                    event["name"] == "thread_name" && event["args"]["name"].is_string(),
                    "not a thread's name",
                );
            }
            "C" => ask(
                arguments.is_some_and(|all| !all.is_empty() && all.values().all(Value::is_number)),
                "a counter without numbers",
            ),
            // Asynchronous slices are matched by category, id and name.
            "b" | "e" => {
                ask(event["cat"].is_string() && event["id"].is_string(), "not to be matched");
                let key = format!("{} {} {} {}", event["pid"], event["cat"], event["id"], event["name"]);
                let time = time.unwrap_or(-1.0);
                if phase == "b" {
                    ask(under_way.insert(key, time).is_none(), "begins twice");
                } else {
                    let began = under_way.remove(&key);
                    ask(began.is_some_and(|began| began <= time), "ends before it begins");
                }
            }
            _ => ask(false, "no such phase"),
        }
    }
    problems.extend(under_way.keys().map(|key| format!("does not end: {key}")));
    if ["i", "M", "C", "b", "e"].iter().any(|phase| !counts.contains_key(phase)) {
        problems.push(format!("not of every kind: {counts:?}"));
    }
    problems
}

/// The check above can fail.
fn chrome_problems_are_found(good: &Value) {
    let events = good["traceEvents"].as_array().unwrap();
    let first = |phase: &str| events.iter().position(|event| event["ph"] == phase).unwrap();
    for (phase, field, value) in [
        ("i", "s", Value::Null),
        ("i", "ts", (-1).into()),
        ("M", "args", Value::Null),
        ("C", "args", serde_json::json!({ "resident": "many" })),
        ("b", "id", "0x0".into()),
        ("e", "ts", 0.into()),
        ("b", "ph", "X".into()),
        ("e", "pid", Value::Null),
    ] {
        let mut bad = good.clone();
        let last = events.iter().rposition(|event| event["ph"] == phase).unwrap();
        let index = if phase == "e" || phase == "b" { last } else { first(phase) };
        bad["traceEvents"][index][field] = value;
        assert!(!chrome_problems(&bad).is_empty(), "{phase}: {field} is not looked at");
    }
}

#[test]
fn sampled_references_tell_of_less_memory_too() {
    let dir = directory();
    let trace = dir.path().join("a.trace");
    let regions = compile("regions.c");
    traced(&trace, &["--trace-access", "8"], &[&regions, "40", "5", "3000"]);
    let curves = json(&["mrc", name(&trace), "--json"]);
    assert_eq!(curves["curves"][0]["name"], "lru (sampled references)");
    assert!(curves["valid_from_bytes"].is_null(), "{}", curves["valid_from_bytes"]);
    // 200 MiB in regions.
    let pages = curves["pages"].as_f64().unwrap();
    assert!((40_000.0..65_000.0).contains(&pages), "{pages}");
    // What is sampled does not make replays wrong.
    let replay = json(&["machine", "replay", name(&trace), "--json"]);
    let (run, again) = (&replay["run"]["major_faults"], &replay["replay"]["major_faults"]);
    assert!(
        again.as_u64().unwrap().abs_diff(run.as_u64().unwrap()) * 100 <= run.as_u64().unwrap(),
        "{replay}"
    );
}

#[test]
fn others_traces_are_imported() {
    let dir = directory();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("pages.txt"), "# Belady\n1\n2\n0x3\n4\n1\n2\n5\n1\n2\n3 # again\n\n4\n5\n").unwrap();
    let import = |kind: &str, from: &str, to: &str| {
        answer(&["trace", "import", "--from", kind, name(&path(from)), "-o", name(&path(to))])
    };
    assert!(import("pages", "pages.txt", "pages.trace").status.success());
    let rows = json(&[
        "machine",
        "replay",
        name(&path("pages.trace")),
        "--frames",
        "3,4",
        "--policy",
        "fifo",
        "--json",
    ]);
    assert_eq!([&rows[0]["misses"], &rows[1]["misses"]], [9, 10]);
    let curve = json(&["mrc", name(&path("pages.trace")), "--json"]);
    assert_eq!((curve["references"].as_f64(), curve["pages"].as_f64()), (Some(12.0), Some(5.0)));
    assert!(curve["valid_from_bytes"].is_null());

    fs::write(
        path("lackey.txt"),
        "==1== Lackey\nI  04001000,3\n L 1ffeffe000,8\n S 1ffeffe008,8\n M 05000ffc,8\n",
    )
    .unwrap();
    assert!(import("lackey", "lackey.txt", "lackey.trace").status.success());
    let printed = text(&answer(&["trace", "print", name(&path("lackey.trace"))]).stdout);
    let pages: Vec<&str> = printed
        .lines()
        .map(|line| line.split(" touches ").nth(1).unwrap().split(':').next().unwrap())
        .collect();
    assert_eq!(pages, ["p4001", "p1ffeffe", "p5000", "p5001"]);

    fs::write(path("bad.txt"), "1\nx\n").unwrap();
    let refused = import("pages", "bad.txt", "bad.trace");
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("line 2: \"x\" is no page"), "{}", text(&refused.stderr));
    let refused = import("lackey", "pages.txt", "bad.trace");
    assert!(text(&refused.stderr).contains("run valgrind --tool=lackey --trace-mem=yes"));
}

#[test]
fn valgrind_says_what_it_is_asked() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return support::skip("there is no valgrind");
    }
    let dir = directory();
    let (log, trace) = (dir.path().join("refs.txt"), dir.path().join("refs.trace"));
    let valgrind = Command::new("valgrind")
        .args(["--tool=lackey", "--trace-mem=yes", &format!("--log-file={}", name(&log)), "/bin/true"])
        .output()
        .unwrap();
    assert!(valgrind.status.success(), "{}", text(&valgrind.stderr));
    let import = answer(&["trace", "import", "--from", "lackey", name(&log), "-o", name(&trace)]);
    assert!(import.status.success(), "{}", text(&import.stderr));
    let curve = json(&["mrc", name(&trace), "--json"]);
    assert!(curve["references"].as_f64().unwrap() > 1000.0, "{}", curve["references"]);
    let sampled = json(&["mrc", name(&trace), "--shards", "--json"]);
    assert_eq!(sampled["pages"], curve["pages"], "a sample of all pages is exact");
}

#[test]
fn spoilt_traces_are_read_where_they_are_whole_and_others_refused() {
    let dir = directory();
    let path = |name: &str| dir.path().join(name);
    let pages: String = (0..200_000_u64).map(|at| format!("{}\n", at * at % 9973)).collect();
    fs::write(path("pages.txt"), pages).unwrap();
    let made = answer(&[
        "trace",
        "import",
        "--from",
        "pages",
        name(&path("pages.txt")),
        "-o",
        name(&path("a.trace")),
    ]);
    assert!(made.status.success());
    let whole = fs::read(path("a.trace")).unwrap();
    // What is read is not written to, by whatever name.
    std::os::unix::fs::symlink("a.trace", path("other.html")).unwrap();
    let (list, trace, other) = (path("pages.txt"), path("a.trace"), path("other.html"));
    let (list, trace, other) = (name(&list), name(&trace), name(&other));
    for arguments in [
        &["trace", "strip", trace, "-o", trace] as &[&str],
        &["trace", "export", trace, "--format", "csv", "-o", other],
        &["trace", "import", "--from", "pages", list, "-o", list],
        &["report", trace, "-o", other],
    ] {
        let refused = answer(arguments);
        let said = text(&refused.stderr);
        assert!(
            refused.status.code() == Some(2) && said.contains("it is what is read"),
            "{arguments:?}: {said}"
        );
    }
    assert!(fs::read(path("a.trace")).unwrap() == whole && fs::read(list).unwrap().len() > 800_000);
    let mut spoilt = whole.clone();
    let middle = spoilt.len() / 2;
    spoilt[middle..middle + 50].fill(7);
    fs::write(path("spoilt.trace"), &spoilt).unwrap();
    fs::write(path("short.trace"), &whole[..whole.len() - 100]).unwrap();
    for (file, part) in
        [("spoilt.trace", "bytes are spoilt"), ("short.trace", "the file ends within a block")]
    {
        for verb in [&["trace", "info"][..], &["mrc"], &["trace", "print"]] {
            let output = answer(&[verb, &[name(&path(file))]].concat());
            assert_eq!(output.status.code(), Some(1), "{verb:?} {file}");
            assert!(text(&output.stderr).contains(part), "{verb:?} {file}: {}", text(&output.stderr));
            assert!(!output.stdout.is_empty());
        }
    }
    for verb in [&["trace", "info"][..], &["trace", "print"], &["mrc"], &["report"], &["machine", "replay"]] {
        let output = answer(&[verb, &[name(&path("pages.txt"))]].concat());
        assert_eq!(output.status.code(), Some(2), "{verb:?}");
        assert!(text(&output.stderr).contains("is no trace of Outcore's"), "{}", text(&output.stderr));
        let output = answer(&[verb, &["/nowhere"]].concat());
        assert_eq!(output.status.code(), Some(2), "{verb:?}");
    }
}

/// A program that has filled 160 MiB in 64, and waits for the end of its input.
fn waiting(token: &str) -> (Child, u32) {
    let mut child = outcore(&[
        "run",
        "--ram",
        "64M",
        "--report",
        "none",
        "--",
        &python(),
        "tests/programs/alone.py",
        token,
        "wait",
    ])
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "full\n");
    let own = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let pid = own.split_whitespace().next().unwrap().parse().unwrap();
    (child, pid)
}

/// Who pages a program that rests has nothing to do, and shows what the program has in the meantime.
#[test]
fn a_pager_rests_when_its_program_does() {
    let (mut child, pid) = waiting("rests");
    let own = json(&["stat", &pid.to_string(), "--json"])[0].clone();
    let status = format!("/proc/{}/status", own["pager_pid"]);
    let switches = || -> u64 {
        let status = fs::read_to_string(&status).unwrap();
        let counts = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
        counts.map(|(_, count)| count.trim().parse::<u64>().unwrap()).sum()
    };
    let start = Instant::now();
    // Three times as long as nothing has to happen before it does what can wait.
    let look = || (switches(), std::thread::sleep(Duration::from_millis(300)), switches());
    while let (before, (), after) = look()
        && before != after
    {
        assert!(start.elapsed() < PATIENCE, "the pager never rests");
    }
    let own = json(&["stat", &pid.to_string(), "--json"])[0].clone();
    for area in own["areas"].as_array().unwrap() {
        let number = |name: &str| area[name].as_u64().unwrap();
        let touched = number("resident") + number("parked") + number("swapped");
        // The heap's addresses are a terabyte.
        assert!(number("pages") <= 10 * touched, "{area}");
    }
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn stat_tells_of_processes_and_of_their_end() {
    let (mut child, pid) = waiting("seen");
    let number = pid.to_string();
    // The pager may have work left. What is resident, parked and swapped is all that is touched,
    // in the map of areas as in the counters.
    let start = Instant::now();
    let own = loop {
        let own = json(&["stat", &number, "--json"])[0].clone();
        let sum = |name: &str| {
            own["areas"].as_array().unwrap().iter().map(|area| area[name].as_u64().unwrap()).sum::<u64>()
        };
        let touched = own["heap_bytes"].as_u64().unwrap() / 4096;
        let drawn = sum("resident") + sum("parked") + sum("swapped");
        if touched > 30_000 && drawn.abs_diff(touched) * 50 <= touched {
            break own;
        }
        assert!(start.elapsed() < PATIENCE, "{drawn} of {touched} pages are drawn");
    };
    assert_eq!(own["budget_bytes"], 64 << 20);
    let shown = answer(&["stat", &number]);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let about = text(&shown.stdout);
    for part in ["paging; run of outcore", "budget         64 MiB", "a wait for the store", "area or family"]
    {
        assert!(about.contains(part), "no {part:?} in {about}");
    }
    let all = text(&answer(&["stat"]).stdout);
    assert!(all.lines().any(|line| line.split_whitespace().next() == Some(&number)), "{all}");
    let metrics = text(&answer(&["metrics", "--once"]).stdout);
    assert!(metrics.contains(&format!("outcore_budget_bytes{{pid=\"{pid}\",")), "{metrics}");

    drop(child.stdin.take());
    child.wait().unwrap();
    let start = Instant::now();
    while Path::new(&format!("/proc/{pid}")).exists() {
        assert!(start.elapsed() < PATIENCE);
    }
    let gone = answer(&["stat", &number]);
    assert_eq!(gone.status.code(), Some(2));
    assert_eq!(text(&gone.stderr), format!("outcore: there is no process {pid}; it may have ended\n"));
}

#[test]
fn stat_has_a_clear_line_for_everybody_else() {
    let refused = |arguments: &[&str], part: &str| {
        let output = answer(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.contains(part) && said.lines().count() == 1, "{said}");
    };
    refused(&["stat", &std::process::id().to_string()], "does not run under 'outcore run'");
    refused(&["stat", "what"], "is neither the number of a process nor all");
    refused(&["top"], "`top` needs a terminal");
    refused(&["metrics", "--listen", "nowhere"], "write an address and a port");
    if !support::is_root() {
        return support::skip("another user's run needs root");
    }
    let (mut child, pid) = waiting("foreign");
    // Copied to where others can execute it.
    let dir = directory();
    support::open_to_all(dir.path());
    let own = dir.path().join("outcore");
    support::copy_program(env!("CARGO_BIN_EXE_outcore"), &own);
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&own)
        .args(["stat", &pid.to_string()])
        .output()
        .unwrap();
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("belongs to user 0: only that user and root"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_run_of_another_version_is_named() {
    // A process that is called outcore and has a status page of version 77.
    let script = "import os, sys, ctypes\n\
                  fd = os.memfd_create('outcore-status')\n\
                  os.write(fd, (0x4f5554434f5245 << 8 | 77).to_bytes(8, 'little'))\n\
                  open('/proc/self/comm', 'w').write('outcore')\n\
                  print('there', flush=True)\n\
                  sys.stdin.read()";
    let mut other = Command::new(python())
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(other.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let output = answer(&["stat", &other.id().to_string()]);
    let all = answer(&["stat"]);
    drop(other.stdin.take());
    other.wait().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("whose status page has version 77; this one reads version"),
        "{}",
        text(&output.stderr)
    );
    assert!(all.status.success() && text(&all.stderr).contains("version 77"), "{}", text(&all.stderr));
}
