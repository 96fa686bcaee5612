//! The Rust examples, with a quarter of what they hold in memory.

use std::path::PathBuf;
use std::process::Command;

/// Where cargo puts them, beside this test's directory. Built if somebody runs this test
/// alone.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    let profile = test.parent().and_then(|deps| deps.parent()).expect("a directory of the profile");
    let program = profile.join("examples").join(name);
    if !program.exists() {
        let release = if profile.ends_with("release") { &["--release"][..] } else { &[] };
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--package", env!("CARGO_PKG_NAME"), "--examples"]).args(release);
        assert!(build.status().expect("cargo").success());
    }
    program
}

fn run(name: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(example(name)).args(arguments).output().expect("the example runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// It ends well with a budget of at most a quarter of what it holds, and what does not fit
/// has been written to the store.
fn holds_four_times_its_budget(name: &str, arguments: &[&str], result: &str) {
    let (status, out, err) = run(name, arguments);
    assert_eq!((status, &*err), (Some(0), ""), "{out}{err}");
    assert!(out.contains(result), "{out}");
    let line = out.lines().find_map(|line| line.strip_prefix("pages: ")).unwrap_or_else(|| panic!("{out}"));
    let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [held, budget, written, read] = numbers[..] else { panic!("{line}") };
    assert!(4 * budget <= held, "{line}: more than a quarter");
    assert!(written >= held - budget && read >= held - budget, "{line}: too little");
}

#[test]
fn a_file_is_sorted() {
    holds_four_times_its_budget(
        "sort",
        &["--records", "200K", "--budget", "4882K"],
        "204800 records are in order, and are those that were there before\n",
    );
}

/// Of a file that many times larger than the budget what does not fit is read again, or
/// written.
fn maps_times_its_budget(times: u64, name: &str, arguments: &[&str], result: &str) {
    let (status, out, err) = run(name, arguments);
    assert_eq!((status, &*err), (Some(0), ""), "{out}{err}");
    assert!(out.contains(result), "{out}");
    let line = out.lines().find_map(|line| line.strip_prefix("pages: ")).unwrap_or_else(|| panic!("{out}"));
    let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [pages, budget, _, read] = numbers[..] else { panic!("{line}") };
    assert!(times * budget <= pages && read >= pages, "{line}");
}

#[test]
fn a_file_is_sorted_where_it_lies() {
    maps_times_its_budget(
        8,
        "sort_file",
        &["--numbers", "4M", "--budget", "4M"],
        "4194304 numbers are in order, and are those that were there before\n",
    );
}

#[test]
fn a_graph_in_a_file_is_traversed() {
    maps_times_its_budget(
        4,
        "bfs_file",
        &["--nodes", "192K", "--degree", "20", "--budget", "4M"],
        "of 196608 nodes are reached, the farthest by 6 edges, as by read(2)\n",
    );
}

#[test]
fn a_graph_is_traversed() {
    holds_four_times_its_budget(
        "graph",
        &["--edges", "1M", "--nodes", "100K", "--budget", "4300K"],
        "every distance is right\n",
    );
}

#[test]
fn tables_are_joined() {
    holds_four_times_its_budget("join", &["--rows", "300K", "--budget", "6M"], "and their sums are right\n");
}

#[test]
fn a_text_is_indexed() {
    holds_four_times_its_budget(
        "index",
        &["--documents", "10K", "--budget", "6M"],
        "as a search of the text does\n",
    );
}

/// Digits say how far the pager is at that moment; the rest does not change.
fn without_digits(text: &str) -> String {
    let mut kept = String::new();
    for letter in text.chars().map(|letter| if letter.is_ascii_digit() { '#' } else { letter }) {
        if letter != '#' || !kept.ends_with('#') {
            kept.push(letter);
        }
    }
    kept.replace("#.#", "#")
}

#[test]
fn the_guide_shows_what_the_tour_prints() {
    let (status, out, err) = run("tour", &[]);
    assert_eq!((status, &*err), (Some(0), ""));
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/library.md");
    let guide = without_digits(&std::fs::read_to_string(guide).expect("the guide"));
    for part in out.split("\n\n").flat_map(|part| part.split_inclusive("bytes\n")) {
        let part = without_digits(part.trim_end());
        assert!(guide.contains(&part), "the guide does not show:\n{part}");
    }
}

#[test]
fn arguments_are_understood_or_refused() {
    let refused = |arguments: &[&str], message: &str| {
        let (status, out, err) = run("join", arguments);
        assert_eq!((status, &*out, &*err), (Some(2), "", &*format!("outcore: {message}\n")), "{arguments:?}");
    };
    refused(&["--rows", "many"], "--rows needs a number, such as 64M");
    refused(&["--rows"], "--rows needs a number, such as 64M");
    refused(&["--budget", "99999999999999999999"], "--budget needs a number, such as 64M");
    refused(&["--row", "1"], "--row is not known; known are --rows 409600, --budget 6291456");
    refused(&["--budget", "1M"], "a budget of 1048576 bytes is too small: give at least 4194304 bytes");
}

#[test]
fn coroutines_run_on_paged_stacks() {
    let arguments = ["--coroutines", "20K", "--budget", "16M"];
    holds_four_times_its_budget("coroutines", &arguments, "mappings: few\n");
}

#[test]
fn a_compressed_column_is_searched() {
    let arguments = ["--rows", "4M", "--budget", "4M"];
    maps_times_its_budget(8, "column", &arguments, "4194304 rows, compressed to ");
}

#[test]
fn an_arena_is_saved_and_opened() {
    let (status, out, err) = run("snapshot", &["--size", "64M", "--budget", "8M"]);
    assert_eq!((status, &*err), (Some(0), ""), "{out}");
    assert!(out.ends_with("every page that was looked at is what was saved\n"), "{out}");
}
