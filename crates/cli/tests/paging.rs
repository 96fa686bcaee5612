//! Real programs in a quarter of the memory that they need: the output is that of a
//! run without Outcore, pages really went to the store, and the budget was kept.

#[expect(dead_code, reason = "what the other tests use of it")]
mod support;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use support::cgroup::{Cgroup, finish_in};
use support::{Paged, companions, compile, directory, native, outcore, paged, program, python, text};

const MIB: u64 = 1 << 20;

/// How many times as large as usual data and budgets are: `OUTCORE_TEST_TIMES=8` checks
/// with heaps of gibibytes.
fn times() -> u64 {
    let text = std::env::var("OUTCORE_TEST_TIMES").unwrap_or_else(|_| "1".into());
    text.parse().unwrap_or_else(|_| panic!("OUTCORE_TEST_TIMES={text} is not a number"))
}

/// A program whose heap peaks at `least` MiB or more, in `ram` MiB, both [`times`] as
/// much: see the file's head.
#[track_caller]
fn check(ram: u64, least: u64, arguments: &[&str]) -> Paged {
    let (ram, least) = (ram * times(), least * times());
    let wanted = native(arguments);
    let run = paged(ram, &[], arguments);
    assert_eq!(run.status, Some(0), "{arguments:?}: {}", run.stderr);
    assert!(run.stdout == wanted, "{arguments:?}: other output than without Outcore");
    check_numbers(ram, least, &run);
    run
}

#[track_caller]
fn check_numbers(ram: u64, least: u64, run: &Paged) {
    let heap = run.number("peak_heap_bytes");
    assert!(heap >= least * MIB, "a heap of {} MiB only", heap / MIB);
    let most = heap.saturating_sub(ram * MIB) / 4096;
    let out = run.number("swap_outs");
    assert!(out >= most, "{out} pages were written, of {most} that did not fit");
    let rss = run.number("peak_rss_bytes");
    let bound = (ram + 32) * MIB + heap / 100;
    assert!(rss <= bound, "{} MiB resident, {} allowed", rss / MIB, bound / MIB);
    let metadata = run.number("metadata_bytes");
    assert!(metadata <= heap / 50, "{metadata} bytes of tables for {heap}");
}

#[test]
fn python_objects() {
    check(64, 256, &[&python(), "tests/programs/objects.py", &times().to_string()]);
}

#[test]
fn static_arrays() {
    let dir = directory();
    let place = dir.path().to_str().unwrap();
    let (library, program) = (format!("{place}/libkept.so"), format!("{place}/statics"));
    let rpath = format!("-Wl,-rpath,{place}");
    for arguments in [
        &["-shared", "-fPIC", "-o", &library, "tests/programs/kept.c"][..],
        &["-O1", "-o", &program, "tests/programs/statics.c", "-L", place, "-lkept", &rpath],
    ] {
        assert!(Command::new("gcc").args(arguments).status().unwrap().success(), "{arguments:?}");
    }
    let arguments = [&*program, "96"];
    let run = paged(32, &[], &arguments);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert_eq!(text(&run.stdout), "0 wrong words\n0 in the child\n0 after it\n");
    assert_eq!(run.stdout, native(&arguments));
    check_numbers(32, 96, &run);
    assert!(run.of_others("swap_ins") > 0, "the child's were paged as well");
}

#[test]
fn pages_far_apart_take_little_table() {
    let program = compile("sparse.c");
    for gib in ["1", "32"] {
        let run = paged(32, &[], &[&program, gib]);
        assert_eq!((run.status, &*text(&run.stdout)), (Some(0), "0 wrong words\n"), "{}", run.stderr);
        let (metadata, touched) = (run.number("metadata_bytes"), 32768 * 4096);
        assert!(metadata <= touched / 100, "{metadata} bytes of tables for {touched} over {gib} GiB");
        assert!(run.number("swap_ins") > 20_000, "most were written and came back");
    }
}

#[test]
fn a_report_does_not_say_that_it_was_enough_where_nothing_could_be_paged() {
    let run = outcore(&["run", "--ram", "32M", "--", &compile("unpaged.c")]).output().unwrap();
    let report = text(&run.stderr);
    assert!(run.status.success(), "{report}");
    assert!(report.contains("with 32 MiB of RAM, and nothing was paged: code, files"), "{report}");
}

/// Memory that is not paged grows without a fault, and what is paged gives way.
#[test]
fn what_is_not_paged_is_seen_while_nothing_faults() {
    let run = paged(64, &[], &[&compile("rest.c")]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    let resident: u64 = text(&run.stdout).trim().parse().unwrap();
    assert!(resident <= 72, "{resident} MiB are resident at rest, of 64 allowed");
}

/// 220 MB of lines, or [`times`] that, each out of its place by up to 4096 lines.
fn lines(dir: &Path) -> String {
    let input = dir.join("lines");
    let mut state = 1u64;
    let lines: String = (0..1_500_000 * times())
        .map(|line| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            format!("{:012} {:016x}{:016x}{:0100}\n", line ^ (state >> 52), state, state.rotate_left(17), 0)
        })
        .collect();
    fs::write(&input, lines).unwrap();
    input.to_str().unwrap().to_owned()
}

#[test]
fn coreutils_sort() {
    let dir = directory();
    let buffer = format!("{}G", times());
    check(64, 256, &["sort", "-S", &buffer, "--parallel=2", &lines(dir.path())]);
}

/// The kernel's out-of-memory killer ends some of such runs with swap to spare.
#[test]
fn fifty_sorts_in_a_row() {
    let dir = directory();
    let buffer = format!("{}G", times());
    let program = ["sort", "-S", &buffer, "--parallel=2", &lines(dir.path())];
    let wanted = native(&program);
    for round in 1..=50 {
        let run = paged(64 * times(), &[], &program);
        assert_eq!(run.status, Some(0), "round {round}: {}", run.stderr);
        assert!(run.stdout == wanted, "round {round}: other output than without Outcore");
    }
}

#[test]
fn xz_dash_nine() {
    let dir = directory();
    let input = dir.path().join("text");
    let mut state = 7u64;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state >> 33
    };
    // Two hundred sentences in random order.
    let sentences: Vec<String> =
        (0..200).map(|_| (0..40).map(|_| format!(" {:x}", random())).collect::<String>() + "\n").collect();
    let text: String = (0..88_000).map(|_| sentences[(random() % 200) as usize].as_str()).collect();
    fs::write(&input, text).unwrap();
    check(64, 256, &["xz", "-9", "-c", "-T1", input.to_str().unwrap()]);
}

#[test]
fn a_cpp_compilation() {
    let dir = directory();
    let source = dir.path().join("templates.cpp");
    let types: String = (0..32)
        .map(|n| {
            format!(
                "struct S{n} {{ std::map<int, std::vector<std::tuple<std::string, int, char[{n} + 1]>>> m;
                 std::function<int(int)> f;
                 int run() {{ m[{n}].emplace_back(); return f ? f({n}) + int(m.size()) : {n}; }} }};\n"
            )
        })
        .collect();
    let uses: String = (0..32).map(|n| format!("{{ S{n} s; sum += s.run(); }}\n")).collect();
    let heads: String = ["map", "string", "vector", "tuple", "functional"]
        .map(|head| format!("#include <{head}>\n"))
        .concat();
    fs::write(&source, format!("{heads}{types}int main() {{ int sum = 0;\n{uses}return sum; }}\n")).unwrap();
    let object = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (native_object, paged_object) = (object("native.o"), object("paged.o"));
    let source = source.to_str().unwrap();
    native(&["g++", "-O0", "-c", "-o", &native_object, source]);
    let run = paged(64, &[], &["g++", "-O0", "-c", "-o", &paged_object, source]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert!(fs::read(native_object).unwrap() == fs::read(paged_object).unwrap(), "another object file");
    // The compiler proper is a child of the command.
    check_numbers(64, 256, &run.process("cc1plus").expect("the compiler is in the report"));
}

/// Each check of the program writes more than the budget before it looks.
#[test]
fn what_programs_bring() {
    let program = compile("brings.c");
    let run = paged(32, &[], &[&program, "64"]);
    assert_eq!(text(&run.stdout), "all is well\n", "{}", run.stderr);
    assert!(run.number("swap_outs") > 100_000, "paged too little");
}

#[test]
fn under_a_limit_on_address_space() {
    let regions = compile("churn.c");
    let limited = |kibibytes: u64| {
        let mut command = Command::new("sh");
        command.arg("-c").arg("ulimit -v \"$0\" && exec \"$@\"").arg(kibibytes.to_string());
        command.arg(env!("CARGO_BIN_EXE_outcore")).env_remove("TMPDIR").env_remove("LD_PRELOAD");
        command
    };
    let program = [&regions as &str, "2", "128", "60", "3"];
    let run = support::finish(limited(3 << 20), 32, &[], &program);
    assert_eq!(
        (run.status, run.stdout.as_slice()),
        (Some(0), b"every byte was right\n" as &[u8]),
        "{}",
        run.stderr
    );
    assert!(run.number("swap_outs") > 10_000);
    let refused = limited(1 << 20).args(["run", "--ram", "32M", "--"]).args(program).output().unwrap();
    assert_eq!(refused.status.code(), Some(125));
    assert!(text(&refused.stderr).contains("ulimit -v unlimited"), "{}", text(&refused.stderr));
}

#[test]
fn in_a_hard_limit_without_swap() {
    let ram = 64;
    let heap = 300;
    let Some(group) = Cgroup::new((ram + 32) * MIB + heap * MIB / 100) else {
        return support::skip("no memory cgroup can be made");
    };
    let churn = compile("churn.c");
    let run = finish_in(&group, ram, &[&churn, "8", "320", "300", "12"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    check_numbers(ram, 256, &run);
}

#[test]
fn a_program_that_fits_is_left_alone() {
    let regions = compile("regions.c");
    let run = paged(512, &[], &[&regions, "16", "5", "20000"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    for number in ["minor_faults", "major_faults", "swap_outs", "swap_ins"] {
        assert_eq!(run.number(number), 0, "{number}");
    }
}

#[test]
fn sqlite_in_memory() {
    let rows = 240_000 * times();
    let script = format!(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, k INT, v BLOB);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
        INSERT INTO t SELECT i, (i * 7919) % 240007, zeroblob(500) || hex(i * 31337) || printf('%0400d', i) FROM n;
        SELECT count(*), sum(k), sum(length(v)) FROM t;
        UPDATE t SET v = v || 'x' WHERE id % 10 = 0;
        SELECT sum(length(v)), max(v) = min(v) FROM t;"
    );
    check(64, 256, &["sqlite3", ":memory:", &script]);
}

#[test]
fn eight_threads_with_the_mmap_family() {
    let churn = compile("churn.c");
    let mib = (320 * times()).to_string();
    check(64, 256, &[&churn, "8", &mib, "300", "11"]);
}

#[test]
fn regions_of_5_mib_under_120_mib() {
    let regions = compile("regions.c");
    let mib = (5 * times()).to_string();
    check(120, 640, &[&regions, "128", &mib, "51200"]);
}

#[test]
fn forks_under_pressure() {
    let arguments = [&python() as &str, "tests/programs/forks.py"];
    let run = paged(64, &[], &arguments);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert_eq!(run.stdout, b"parents and children kept every byte\n");
    assert!(run.number("swap_outs") > 10_000, "paged too little");
    assert!(run.of_others("swap_ins") > 100_000, "children were not paged");
}

/// Threads that write meanwhile, a handler that forks where it interrupts, children that fork,
/// write, and lose their parents by SIGKILL, copies of the memory that nobody announces.
#[test]
fn forks_of_every_kind() {
    let program = compile("forks.c");
    for (mode, mib, number) in
        [("threads", "96", "6"), ("handler", "64", "6"), ("orphans", "96", "6"), ("own", "20", "5")]
    {
        let run = paged(16, &[], &[&program, mode, mib, number]);
        assert_eq!(run.status, Some(0), "{mode}: {}", run.stderr);
        assert!(text(&run.stdout).lines().all(|line| line == "every byte was right"), "{mode}");
        assert!(run.number("swap_outs") > 2_000, "{mode}: paged too little");
        assert!(run.of_others("swap_ins") > 2_000, "{mode}: children were not paged");
    }
}

/// The C library touches streams, and what it knows of name services, while nobody can page.
#[test]
fn forks_with_streams_that_are_in_the_store() {
    let run = paged(16, &[], &[&compile("streams.c"), "64", "8"]);
    assert_eq!(
        (run.status, text(&run.stdout)),
        (Some(0), "every byte was right\n".to_owned()),
        "{}",
        run.stderr
    );
    assert!(run.number("swap_outs") > 10_000, "paged too little");
}

/// Each mode fails in a pager that does not see to its call: see the program.
#[test]
fn calls_that_are_easily_got_wrong() {
    let program = compile("edges.c");
    for mode in ["fixed", "populate", "guard", "wipe", "lock", "refused", "protect"] {
        let options: &[&str] =
            if mode == "protect" { &["--commit", "strict", "--store-size", "96M"] } else { &[] };
        let run = paged(24, options, &[&program, mode, "64"]);
        let said = text(&run.stdout);
        if mode == "guard" && said == "no guards\n" {
            support::skip("guards need Linux 6.13");
            continue;
        }
        assert_eq!(
            (run.status, said),
            (Some(0), "every byte was right\n".to_owned()),
            "{mode}: {}",
            run.stderr
        );
        let rss = run.number("peak_rss_bytes") >> 20;
        assert!(rss <= 32, "{mode}: {rss} MiB resident of 24");
    }
}

/// Members of a tree, and their pagers, are killed at random moments.
#[test]
fn two_hundred_kills() {
    let program = compile("forks.c");
    let run = paged(16, &[], &[&program, "killed", "48", "200"]);
    assert_eq!(
        (run.status, text(&run.stdout).as_str()),
        (Some(0), "every byte was right\n"),
        "{}",
        run.stderr
    );
    assert!(run.number("swap_outs") > 2_000, "paged too little");
    // Guards wait a little before they give up what a pager that was killed held.
    let start = std::time::Instant::now();
    while !companions("killed").is_empty() {
        assert!(start.elapsed().as_secs() < 20, "{:?} are left", companions("killed"));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Its dump is loaded by a server without Outcore.
#[test]
fn redis_saves_in_the_background_while_it_is_written_to() {
    let dir = directory();
    let script = "tests/programs/redis_bgsave.py";
    let run =
        paged(80 * times(), &[], &[&python(), script, dir.path().to_str().unwrap(), &times().to_string()]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert_eq!(text(&run.stdout), "saved as it was, and every value came back\n");
    let server = run.process("redis-server").expect("the server is in the report");
    assert!(server.number("peak_heap_bytes") > 300 * MIB * times() && server.number("swap_outs") > 20_000);
}

#[test]
fn multiprocessing_with_forked_workers() {
    let program = [&python() as &str, "tests/programs/multiprocessing_sort.py", "200000"];
    let run = paged(32, &[], &program);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert_eq!(run.stdout, native(&program));
    assert!(run.number("swap_outs") > 2_000 && run.of_others("swap_ins") > 2_000, "paged too little");
}

#[test]
fn a_raw_clone_reads_no_zeros_and_is_told_of() {
    let program = compile("forks.c");
    let run = paged(32, &[], &[&program, "raw", "96", "1"]);
    assert_eq!(
        (run.status, text(&run.stdout).as_str()),
        (Some(0), "4 killed\nevery byte was right\n"),
        "{}",
        run.stderr
    );
    if support::is_root() {
        assert!(run.stderr.contains("gets SIGSEGV where it touches it"), "{}", run.stderr);
    }
}

#[test]
fn redis_over_a_socket() {
    let dir = directory();
    let script = "tests/programs/redis_load.py";
    let socket = dir.path().join("socket");
    let socket = socket.to_str().unwrap();
    let run = paged(64 * times(), &[], &[&python(), script, socket, &times().to_string()]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert_eq!(text(&run.stdout), "every value came back\n");
    // The server is a child of the script, with a record of its own.
    let server = run.process("redis-server").expect("the server is in the report");
    check_numbers(64 * times(), 256 * times(), &server);
}

#[test]
fn every_fallback() {
    let churn = compile("churn.c");
    let program = [&churn as &str, "4", "128", "150", "5"];
    let fallbacks = [
        ("copy", "move"),
        ("threads", "io_uring"),
        ("user-mode", "full-userfaultfd"),
        ("pager-thread", "pager-process"),
    ];
    for (force, missing) in fallbacks {
        let run = paged(32, &["--force", force], &program);
        assert_eq!(run.status, Some(0), "{force}: {}", run.stderr);
        assert_eq!(run.stdout, b"every byte was right\n", "{force}");
        assert!(run.number("swap_outs") > 10_000, "{force} paged too little");
        let features = run.features();
        for (_, feature) in fallbacks {
            assert_eq!(features.contains(&feature.to_owned()), feature != missing, "{force}: {features:?}");
        }
    }
}

/// The command, the library's cache and a program where an unprivileged user can have
/// them, in a directory that lasts as long as the result.
struct Unprivileged {
    dir: tempfile::TempDir,
    program: String,
}

impl Unprivileged {
    /// None, and said so, where this test cannot change its user.
    fn new(program: &str) -> Option<Self> {
        if !support::is_root() {
            support::skip("the test changes its user");
            return None;
        }
        let dir = directory();
        support::open_to_all(dir.path());
        support::copy_program(env!("CARGO_BIN_EXE_outcore"), &dir.path().join("outcore"));
        let copy = dir.path().join("program");
        support::copy_program(program, &copy);
        // A program that its user cannot read hides its page map from itself.
        support::open_to_all(&copy);
        Some(Self { program: copy.to_str().unwrap().to_owned(), dir })
    }

    /// `BEFORE outcore run --ram 32M -- program ARGUMENTS` as that user.
    fn run(&self, before: &[&str], arguments: &[&str]) -> (Option<i32>, String, String) {
        let outcore = self.dir.path().join("outcore");
        let words = before.iter().copied().chain([outcore.to_str().unwrap(), "run", "--ram", "32M"]);
        let words: Vec<&str> = words.chain(["--store", "/var/tmp", "--", &self.program]).collect();
        let output = Command::new(words[0])
            .args(&words[1..])
            .args(arguments)
            .env("HOME", self.dir.path())
            .env_remove("XDG_CACHE_HOME")
            .env_remove("LD_PRELOAD")
            .uid(65534)
            .gid(65534)
            .output()
            .unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}

#[test]
fn as_an_unprivileged_user() {
    let Some(user) = Unprivileged::new(&compile("churn.c")) else { return };
    let (status, stdout, stderr) = user.run(&[], &["4", "128", "150", "6"]);
    assert_eq!((status, stdout.as_str()), (Some(0), "every byte was right\n"), "{stderr}");
    assert!(stderr.contains("EFAULT"), "the caveat is told: {stderr}");
}

#[test]
fn where_userfaultfd_is_forbidden() {
    let Some(user) = Unprivileged::new(&compile("churn.c")) else { return };
    let forbid = Unprivileged::new(&compile("forbid.c")).expect("as above");
    let number = libc::SYS_userfaultfd.to_string();
    let (status, stdout, stderr) = user.run(&[&forbid.program, &number], &["4", "128", "150", "6"]);
    assert_eq!((status, stdout.as_str()), (Some(125), ""), "{stderr}");
    assert!(stderr.contains("userfaultfd") && stderr.contains("outcore doctor"), "{stderr}");
}

#[test]
fn where_io_uring_is_forbidden() {
    let (churn, forbid) = (compile("churn.c"), compile("forbid.c"));
    let mut command = Command::new(forbid);
    command.arg(libc::SYS_io_uring_setup.to_string()).arg(env!("CARGO_BIN_EXE_outcore"));
    command.env_remove("TMPDIR").env_remove("LD_PRELOAD");
    let run = support::finish(command, 32, &[], &[&churn, "4", "128", "150", "5"]);
    assert_eq!((run.status, run.stdout.as_slice()), (Some(0), b"every byte was right\n" as &[u8]));
    assert!(run.number("swap_outs") > 10_000);
    assert!(!run.features().contains(&"io_uring".to_owned()), "{:?}", run.features());
}

#[test]
fn a_store_that_cannot_be_written_loses_nothing() {
    let churn = compile("churn.c");
    for plan in ["write-error@20", "full@20"] {
        let run = paged_with_faults(plan, &[&churn, "2", "128", "150", "7"]);
        assert_eq!(run.status, Some(0), "{plan}: {}", run.stderr);
        assert_eq!(run.stdout, b"every byte was right\n", "{plan}");
        assert!(run.stderr.contains("no data is lost"), "{plan}: {}", run.stderr);
    }
}

#[test]
fn a_page_that_does_not_come_back_is_a_bus_error() {
    let churn = compile("churn.c");
    for (plan, cause) in [("read-error@30", "could not read"), ("corrupt-read@30", "other bytes")] {
        let run = paged_with_faults(plan, &[&churn, "2", "128", "150", "7"]);
        assert_eq!(run.status, Some(128 + 7), "{plan}: {}", run.stderr);
        assert!(run.stderr.contains(cause), "{plan}: {}", run.stderr);
        assert_ne!(run.stdout, b"every byte was right\n", "{plan}");
    }
}

fn paged_with_faults(plan: &str, program: &[&str]) -> Paged {
    let mut command = outcore(&[]);
    command.env("OUTCORE_FAULTS", plan);
    support::finish(command, 32, &[], program)
}

#[test]
fn a_full_store_is_told_and_loses_nothing() {
    let churn = compile("churn.c");
    let run = paged(32, &["--store-size", "16M"], &[&churn, "2", "128", "150", "8"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert_eq!(run.stdout, b"every byte was right\n");
    assert!(run.stderr.contains("Raise --store-size"), "{}", run.stderr);
}

#[test]
fn strict_commit_refuses_what_could_not_be_kept() {
    let script = "
try:
    keep = [bytearray(8 << 20) for _ in range(64)]
    print('all')
except MemoryError:
    print('refused')
";
    let arguments = [&python() as &str, "-c", script];
    let run = paged(32, &["--store-size", "64M", "--commit", "strict"], &arguments);
    assert_eq!(text(&run.stdout), "refused\n", "{}", run.stderr);
    let run = paged(32, &["--store-size", "64M", "--commit", "lazy"], &arguments);
    assert_eq!(text(&run.stdout), "all\n", "{}", run.stderr);
}

#[test]
fn nothing_is_left_in_the_store_directory() {
    let dir = directory();
    let churn = compile("churn.c");
    let mut command = outcore(&["run", "--ram", "32M", "--store", dir.path().to_str().unwrap(), "--"]);
    let mut child = command.arg(&churn).args(["2", "128", "100001", "9"]).spawn().unwrap();
    let program = loop {
        if let Some(number) = program(&child, "100001") {
            // The pager writes, from a process of its own.
            let written = |(pager, _): &(u32, String)| {
                let io = fs::read_to_string(format!("/proc/{pager}/io")).unwrap_or_default();
                let bytes = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
                bytes.and_then(|bytes| bytes.parse::<u64>().ok()).is_some_and(|bytes| bytes > 8 << 20)
            };
            if companions("100001").iter().any(written) {
                break number;
            }
        }
        std::thread::yield_now();
    };
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "the swap file has no name");
    Command::new("kill").args(["-KILL", &program.to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(137));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
