//! Files that unmodified programs map, under `outcore run --map-files`: what programs print is what they print
//! without Outcore, whoever writes to the files meanwhile, and what they only read is resident within the budget.

#[expect(dead_code, reason = "what the other tests use of it")]
mod support;

use std::path::Path;
use std::process::Command;
use support::{Paged, compile, directory, finish, native, outcore, paged, text};

const MIB: u64 = 1 << 20;

/// Debian's, which has numpy.
const PYTHON: &str = "/usr/bin/python3";

/// What `leases.c` says at its end.
const RIGHT: &str = "every byte was right\n";

/// A directory with a file of so many MiB that `leases.c` has made, and its path.
fn file(mib: u64) -> (tempfile::TempDir, String) {
    let dir = directory();
    let path = dir.path().join("file").to_str().unwrap().to_owned();
    assert_eq!(text(&native(&[&compile("leases.c"), "fill", &path, &mib.to_string(), "1"])), RIGHT);
    (dir, path)
}

/// [`paged`], with files.
fn mapping(ram: u64, options: &[&str], program: &[&str]) -> Paged {
    let run = paged(ram, &[&["--map-files"], options].concat(), program);
    assert!(run.features().contains(&"map-files".to_owned()), "{:?}", run.features());
    run
}

#[track_caller]
fn is_right(run: &Paged) {
    assert_eq!((run.status, text(&run.stdout)), (Some(0), RIGHT.to_owned()), "{}", run.stderr);
}

/// It has held the budget, but for what is touched between two looks.
#[track_caller]
fn keeps(run: &Paged, ram: u64) {
    let rss = run.number("peak_rss_bytes");
    assert!(rss <= (ram + 8) * MIB, "{} MiB resident of {ram}", rss / MIB);
}

#[test]
fn a_file_is_read_within_the_budget() {
    let (_dir, path) = file(128);
    let program: &[&str] = &[&compile("leases.c"), "scan", &path, "128", "20000"];
    assert_eq!(text(&native(program)), RIGHT);
    for options in [&[] as &[&str], &["--force", "copy"], &["--force", "threads"], &["--store", "memory"]] {
        let run = mapping(32, options, program);
        is_right(&run);
        keeps(&run, 32);
        // Two maps of it.
        assert_eq!(run.number("paged_file_bytes"), 256 * MIB, "{}", run.stderr);
        assert_eq!((run.number("kept_file_bytes"), run.number("returned_file_bytes")), (0, 0));
        let reclaimed = run.number("pages_reclaimed");
        assert!(reclaimed >= (256 - 32) * MIB / 4096, "{reclaimed} pages left");
        // What is in a file needs no store.
        assert!(run.number("swap_outs") < 256, "{}", run.stderr);
    }
    // Without the option it is resident past the budget: the above can fail.
    let without = paged(32, &[], program);
    is_right(&without);
    assert!(without.number("max_rss_bytes") > 100 * MIB);
}

/// By pwrite, by other processes, through maps, by truncation: see the program.
#[test]
fn whoever_writes_to_a_file_that_is_mapped_is_seen() {
    let (_dir, path) = file(64);
    let program = [&compile("leases.c"), "change", &path, "64", "40"];
    for options in [&[] as &[&str], &["--force", "copy"], &["--force", "pager-thread"]] {
        assert_eq!(text(&native(&[&compile("leases.c"), "fill", &path, "64", "1"])), RIGHT);
        let run = mapping(24, options, &program);
        is_right(&run);
        let (given, back) = (run.number("paged_file_bytes"), run.number("returned_file_bytes"));
        // Each round's fresh map, and what was mapped before it was first written.
        assert!(given >= 40 * 64 * MIB && back >= 40 * 64 * MIB, "{given} {back}");
    }
}

#[test]
fn a_file_is_written_while_eight_threads_read_it() {
    let (_dir, path) = file(64);
    let program = [&compile("leases.c"), "threads", &path, "64", "12"];
    for options in [&[] as &[&str], &["--force", "copy"], &["--force", "pager-thread"]] {
        assert_eq!(text(&native(&[&compile("leases.c"), "fill", &path, "64", "1"])), RIGHT);
        let run = mapping(24, options, &program);
        is_right(&run);
        assert_eq!(run.number("returned_file_bytes"), 12 * 64 * MIB);
    }
}

#[test]
fn forked_children_have_the_files_that_are_mapped() {
    let (_dir, path) = file(64);
    let program = [&compile("leases.c"), "fork", &path, "64", "8"];
    for options in [&[] as &[&str], &["--force", "copy"], &["--force", "pager-thread"]] {
        assert_eq!(text(&native(&[&compile("leases.c"), "fill", &path, "64", "1"])), RIGHT);
        let run = mapping(24, options, &program);
        is_right(&run);
        // A child maps it by itself, too.
        assert!(run.of_others("paged_file_bytes") >= 64 * MIB, "{}", run.stderr);
    }
}

/// The first write makes it the program's own, or without UFFDIO_MOVE the kernel's.
#[test]
fn private_maps_are_paged_when_they_have_been_written() {
    let (_dir, path) = file(64);
    let program = [&compile("leases.c"), "own", &path, "64", "16"];
    let all = 16 * 64 * MIB;
    // A quarter of them because somebody else writes to the file.
    let some = all / 4;
    for (options, back) in
        [(&[] as &[&str], some), (&["--force", "copy"], all), (&["--force", "pager-thread"], some)]
    {
        assert_eq!(text(&native(&[&compile("leases.c"), "fill", &path, "64", "1"])), RIGHT);
        let run = mapping(24, options, &program);
        is_right(&run);
        assert_eq!((run.number("paged_file_bytes"), run.number("returned_file_bytes")), (all, back));
    }
}

/// Most of each map is written, at random, while less than half of it has room, and read, and dropped; then the
/// kernel gets it for another's write, a fork, mprotect, or while threads write to it: see the program.
#[test]
fn what_a_program_has_written_to_a_private_map_is_kept() {
    let (_dir, path) = file(64);
    let program = [&compile("leases.c"), "keep", &path, "64", "8"];
    assert_eq!(text(&native(&program)), RIGHT);
    for options in [&[] as &[&str], &["--force", "pager-thread"], &["--store", "memory"]] {
        assert_eq!(text(&native(&[&compile("leases.c"), "fill", &path, "64", "1"])), RIGHT);
        let run = mapping(24, options, &program);
        is_right(&run);
        // The last is not given back.
        let (given, back) = (run.number("paged_file_bytes"), run.number("returned_file_bytes"));
        assert_eq!((given, back), (9 * 64 * MIB, 8 * 64 * MIB));
        let written = run.number("swap_outs");
        assert!(written >= 8 * 40 * MIB / 4096, "{written} pages were written to the store");
    }
    // Promised it cannot be: the kernel gets it when it is written first.
    assert_eq!(text(&native(&[&compile("leases.c"), "fill", &path, "64", "1"])), RIGHT);
    let run = mapping(24, &["--commit", "strict", "--store-size", "32M"], &program);
    is_right(&run);
    let (given, back) = (run.number("paged_file_bytes"), run.number("returned_file_bytes"));
    assert_eq!((given, back), (9 * 64 * MIB, 9 * 64 * MIB));
}

/// Advice, unmapped parts, changed rights, moves, locks, other maps over it, ends of files: see the program.
#[test]
fn what_programs_do_with_maps_of_files() {
    let (_dir, path) = file(64);
    let program = [&compile("leases.c"), "calls", &path, "64", "20"];
    for options in [&[] as &[&str], &["--force", "copy"], &["--force", "pager-thread"]] {
        assert_eq!(text(&native(&[&compile("leases.c"), "fill", &path, "64", "1"])), RIGHT);
        let run = mapping(24, options, &program);
        is_right(&run);
        assert!(run.number("paged_file_bytes") >= 20 * 64 * MIB, "{}", run.stderr);
    }
}

/// Root without the privilege is to the file what any user is to those of others.
#[test]
fn a_file_of_another_user_stays_with_the_kernel() {
    if !support::is_root() {
        return support::skip("the test gives a file away");
    }
    let (_dir, path) = file(64);
    std::os::unix::fs::chown(&path, Some(65534), Some(65534)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-lease", "--inh-caps=-lease"]).arg(env!("CARGO_BIN_EXE_outcore"));
    command.env_remove("TMPDIR").env_remove("LD_PRELOAD");
    let run = finish(command, 24, &["--map-files"], &[&compile("leases.c"), "scan", &path, "64", "2000"]);
    is_right(&run);
    assert_eq!((run.number("paged_file_bytes"), run.number("kept_file_bytes")), (0, 128 * MIB));
    // With it, it does not.
    let program = [&compile("leases.c") as &str, "scan", &path, "64", "9"];
    let told = outcore(&["run", "--ram", "24M", "--map-files", "--"]).args(program).output().unwrap();
    assert!(text(&told.stderr).contains("maps of files: 128 MiB paged\n"), "{}", text(&told.stderr));
}

fn numpy() -> bool {
    let there = Command::new(PYTHON)
        .args(["-c", "import numpy"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !there {
        support::skip("no numpy: apt-get install python3-numpy");
    }
    there
}

#[test]
fn numpy_memmap_programs() {
    if !numpy() {
        return;
    }
    let dir = directory();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let program =
        |mode: &str, file: &str| [PYTHON, "tests/programs/memmap.py", mode, file, "256"].map(str::to_owned);
    let natively =
        |mode: &str, file: &str| text(&native(&program(mode, file).each_ref().map(String::as_str)));
    let run = |mode: &str, file: &str| mapping(96, &[], &program(mode, file).each_ref().map(String::as_str));
    let (theirs, ours) = (path("native"), path("paged"));
    natively("make", &theirs);
    let made = run("make", &ours);
    assert_eq!(made.status, Some(0), "{}", made.stderr);
    // It can be written.
    assert_eq!((made.number("paged_file_bytes"), made.number("kept_file_bytes")), (0, 256 * MIB));
    for mode in ["read", "own", "mine"] {
        let read = run(mode, &ours);
        assert_eq!(text(&read.stdout), natively(mode, &theirs), "{}", read.stderr);
        keeps(&read, 96);
        let maps = if mode == "mine" { 2 } else { 1 };
        assert_eq!(
            (read.number("paged_file_bytes"), read.number("returned_file_bytes")),
            (maps * 256 * MIB, 0)
        );
    }
    let changed = run("change", &ours);
    assert_eq!(text(&changed.stdout), natively("change", &theirs), "{}", changed.stderr);
    // What is read, until the file is opened for writing; what is the program's own is paged.
    assert_eq!(changed.number("returned_file_bytes"), 256 * MIB);
}

/// Fills a database of about 100 MiB.
const FILL: &str = "PRAGMA journal_mode=off; PRAGMA synchronous=off;
    CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, value INTEGER, filler BLOB);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
    INSERT INTO t SELECT i, 'name ' || (i * 7919 % 100000), i * 104729 % 1000003, CAST(printf('%0900d', i * 31) AS BLOB) FROM n;
    CREATE INDEX by_value ON t(value);";

/// Looks at it, in order and by an index that is in no order, through a map.
const READ: &str = "PRAGMA mmap_size=1073741824; PRAGMA cache_size=-2000;
    SELECT count(*), sum(value), max(name) FROM t;
    SELECT sum(length(filler)), count(DISTINCT substr(filler, 890)) FROM t;
    SELECT sum(id * value % 1009) FROM (SELECT id, value, name FROM t INDEXED BY by_value WHERE name > 'name 2' ORDER BY value);
    PRAGMA integrity_check; PRAGMA mmap_size;";

/// And changes it.
const CHANGE: &str =
    "PRAGMA mmap_size=1073741824; PRAGMA cache_size=-2000; PRAGMA journal_mode=off; PRAGMA synchronous=off;
    UPDATE t SET name = upper(name), value = value + 1 WHERE id % 5 = 0;
    DELETE FROM t WHERE id % 11 = 0;
    INSERT INTO t SELECT id + 1000000, name, value, filler FROM t WHERE id % 13 = 0;
    SELECT count(*), sum(value), min(name), sum(substr(filler, 800)) FROM t;
    PRAGMA integrity_check; PRAGMA mmap_size;";

#[test]
fn a_sqlite_database_that_is_mapped() {
    let dir = directory();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (theirs, ours) = (path("native.db"), path("paged.db"));
    native(&["sqlite3", &theirs, FILL]);
    assert!(Command::new("cp").args([&theirs, &ours]).status().unwrap().success());
    let wanted = text(&native(&["sqlite3", "-readonly", &theirs, READ]));
    assert!(wanted.ends_with("\nok\n1073741824\n"), "{wanted}");
    let read = mapping(32, &[], &["sqlite3", "-readonly", &ours, READ]);
    assert_eq!(text(&read.stdout), wanted, "{}", read.stderr);
    keeps(&read, 32);
    assert!(read.number("paged_file_bytes") > 90 * MIB, "{}", read.stderr);
    // Open for writing, it stays with the kernel.
    let wanted = text(&native(&["sqlite3", &theirs, CHANGE]));
    let changed = mapping(32, &[], &["sqlite3", &ours, CHANGE]);
    assert_eq!(text(&changed.stdout), wanted, "{}", changed.stderr);
    assert_eq!(changed.number("paged_file_bytes"), 0);
    let dump = |file: &str| native(&["sqlite3", file, "SELECT * FROM t ORDER BY id"]);
    assert!(dump(&theirs) == dump(&ours), "another database than without Outcore");
}

#[test]
fn small_maps_are_left_alone() {
    let (_dir, path) = file(8);
    let run = paged(64, &["--map-files"], &[&compile("leases.c"), "scan", &path, "8", "100"]);
    is_right(&run);
    assert_eq!((run.number("paged_file_bytes"), run.number("kept_file_bytes")), (0, 16 * MIB));
    assert!(run.number("minor_faults") + run.number("major_faults") == 0, "nothing is paged");
}

#[test]
fn what_cannot_be_together_is_refused() {
    let trace = Path::new("/dev/null").to_str().unwrap();
    let run = outcore(&["run", "--map-files", "--trace", trace, "--", "true"]).output().unwrap();
    assert_eq!(run.status.code(), Some(125), "{}", text(&run.stderr));
    assert!(text(&run.stderr).contains("--map-files"), "{}", text(&run.stderr));
    let run = outcore(&["run", "--map-files", "--force", "user-mode", "--", "true"]).output().unwrap();
    assert_eq!(run.status.code(), Some(125), "{}", text(&run.stderr));
    assert!(text(&run.stderr).contains("user-mode userfaultfd"), "{}", text(&run.stderr));
}
