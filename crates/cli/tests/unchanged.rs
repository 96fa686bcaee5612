//! Real programs with Outcore's malloc and memory to spare: what they print and make is
//! what they print and make without.

#[expect(dead_code, reason = "what the other tests use of it")]
mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{directory, native, outcore, paged, skip, text};

/// MiB: a budget that is never reached.
const PLENTY: u64 = 8192;

/// Whether there is such a program; else the test says that it is skipped.
fn exists(program: &str, package: &str) -> bool {
    let found =
        Command::new("sh").args(["-c", "command -v \"$0\"", program]).output().unwrap().status.success();
    if !found {
        skip(&format!("no {program}: apt-get install {package}"));
    }
    found
}

/// Runs a program with and without; its output under Outcore.
#[track_caller]
fn same(program: &[&str]) -> Vec<u8> {
    let wanted = native(program);
    let run = paged(PLENTY, &[], program);
    assert_eq!(run.status, Some(0), "{program:?}: {}", run.stderr);
    assert!(run.stdout == wanted, "{program:?}: other output than without Outcore");
    assert_eq!(run.number("swap_outs"), 0);
    run.stdout
}

/// What the unittest module says, without how long it took and where objects are.
fn verdicts(said: &str) -> Vec<String> {
    let lines = said
        .lines()
        .filter(|line| line.contains(" ... ") || line.starts_with("OK") || line.starts_with("FAILED"));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_test_suite_of_cpython() {
    const MODULES: [&str; 8] = [
        "test.test_list",
        "test.test_dict",
        "test.test_set",
        "test.test_bytes",
        "test.test_memoryview",
        "test.test_threading",
        "test.test_fork1",
        "test.test_mmap",
    ];
    let python = "/usr/bin/python3";
    if !exists(python, "python3") {
        return;
    }
    if !Command::new(python).args(["-c", "import test.test_list"]).output().unwrap().status.success() {
        return skip("no CPython test suite: apt-get install libpython3.11-testsuite, or of your version");
    }
    for module in MODULES {
        let dir = directory();
        let mut arguments = vec!["-m", "unittest", "-v", module];
        let said = |command: &mut Command| {
            let output = command.current_dir(dir.path()).stdin(Stdio::null()).output().unwrap();
            assert!(output.status.success(), "{module}: {}", text(&output.stderr));
            verdicts(&text(&output.stderr))
        };
        // Who starts the tests in the background may have had interrupts ignored, of which Python has tests.
        let interruptible = ["env", "--default-signal=INT", python];
        let wanted = said(Command::new(interruptible[0]).args(&interruptible[1..]).args(&arguments));
        let mut words = vec!["run", "--ram", "8192M", "--report", "none", "--"];
        words.extend(interruptible);
        words.append(&mut arguments);
        let found = said(&mut outcore(&words));
        assert!(wanted.len() > 4, "{module}: {wanted:?}");
        for (wanted, found) in wanted.iter().zip(&found) {
            assert_eq!(wanted, found, "{module}");
        }
        assert_eq!(wanted.len(), found.len(), "{module}");
    }
}

#[test]
fn sqlite_with_two_million_rows() {
    if !exists("sqlite3", "sqlite3") {
        return;
    }
    let script = "create table t(a integer, b text, c real);
        insert into t with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000000)
            select i * 7919 % 1000003, printf('%08x-%d', i * 2654435761 % 4294967296, i), i / 7.0 from n;
        create index i on t(b);
        select count(*), sum(a), min(b), max(b), total(c) from t;
        select a % 10, count(*), avg(c) from t group by 1 order by 1;
        delete from t where a % 3 = 0; update t set b = b || b where a % 7 = 0;
        select count(*), sum(length(b)) from t; select b from t order by b desc limit 5; pragma integrity_check;";
    let said = same(&["sqlite3", ":memory:", script]);
    assert!(text(&said).starts_with("2000000|") && text(&said).ends_with("ok\n"), "{}", text(&said));
}

/// A server that is stopped when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// Loads a redis of this command line, benchmarks it, and says what it holds.
fn redis(mut command: Command, dir: &Path) -> String {
    let socket = dir.join("socket");
    let socket = socket.to_str().unwrap();
    command.args(["redis-server", "--port", "0", "--unixsocket", socket, "--save", ""]);
    command.args(["--appendonly", "no", "--enable-debug-command", "yes", "--dir"]).arg(dir);
    let _server = Server(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let cli =
        |arguments: &[&str]| Command::new("redis-cli").args(["-s", socket]).args(arguments).output().unwrap();
    let start = Instant::now();
    while text(&cli(&["ping"]).stdout).trim() != "PONG" {
        assert!(start.elapsed() < Duration::from_secs(20), "redis does not answer");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut load = Command::new("redis-cli");
    let mut load =
        load.args(["-s", socket, "--pipe"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = std::io::BufWriter::new(load.stdin.take().unwrap());
    for key in 0..200_000u64 {
        let size = (key * 2_654_435_761 % 500) as usize;
        match key % 5 {
            0 => writeln!(input, "DEL key:{}", key / 2),
            1 => writeln!(input, "HSET hash:{} field:{key} {:0size$}", key % 1000, key),
            2 => writeln!(input, "RPUSH list:{} {:0size$}", key % 1000, key),
            3 => writeln!(input, "ZADD set:{} {key} {:0size$}", key % 1000, key),
            _ => writeln!(input, "SET key:{key} {:0size$}", key),
        }
        .unwrap();
    }
    drop(input);
    let loaded = load.wait_with_output().unwrap();
    assert!(text(&loaded.stdout).contains("errors: 0"), "{}", text(&loaded.stdout));
    let benchmark = ["-s", socket, "-n", "100000", "-c", "20", "-P", "16", "-d", "300", "-q", "-t"];
    let bench =
        Command::new("redis-benchmark").args(benchmark).arg("set,get,incr,lpush,lpop,sadd,hset").output();
    let bench = bench.unwrap();
    assert!(bench.status.success() && !text(&bench.stdout).contains("rror"), "{}", text(&bench.stdout));
    let held = [&["dbsize"][..], &["debug", "digest"], &["get", "key:199999"], &["hlen", "hash:501"]];
    held.iter().map(|arguments| text(&cli(arguments).stdout)).collect()
}

#[test]
fn redis_with_its_benchmark() {
    if !exists("redis-server", "redis-server") || !exists("redis-benchmark", "redis-tools") {
        return;
    }
    let (plain, under) = (directory(), directory());
    // `env` is the same as nothing.
    let wanted = redis(Command::new("env"), plain.path());
    let found = redis(outcore(&["run", "--ram", "8192M", "--report", "none", "--"]), under.path());
    assert_eq!(wanted, found);
    assert!(wanted.lines().next().unwrap().parse::<u64>().is_ok_and(|keys| keys > 1000), "{wanted}");
}

#[test]
fn git_on_this_repository() {
    let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    if !exists("git", "git") {
        return;
    }
    let git = ["git", "-c", "safe.directory=*", "-C", repository, "--no-pager"];
    if !Command::new(git[0]).args(&git[1..]).args(["rev-parse", "HEAD"]).output().unwrap().status.success() {
        return skip("the sources are not in a git repository");
    }
    for arguments in [
        &["log", "-p", "--stat", "--no-color", "-n", "40", "HEAD"][..],
        &["blame", "HEAD", "--", "crates/heap/src/heap.rs"],
        &["grep", "-n", "fn ", "HEAD"],
        &["rev-list", "--objects", "HEAD"],
    ] {
        let said = same(&[&git[..], arguments].concat());
        assert!(!said.is_empty());
    }
}

/// The same files are made.
#[track_caller]
fn makes(compiler: &str, arguments: &[&str], source: &str, name: &str) {
    let made = [false, true].map(|under| {
        let dir = directory();
        fs::write(dir.path().join(name), source).unwrap();
        let mut command = if under {
            let mut command = outcore(&["run", "--ram", "8192M", "--report", "none", "--"]);
            command.arg(compiler);
            command
        } else {
            Command::new(compiler)
        };
        let output =
            command.args(arguments).args([name, "-o", "made"]).current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "{compiler}: {}", text(&output.stderr));
        (fs::read(dir.path().join("made")).unwrap(), output.stderr)
    });
    assert!(made[0] == made[1] && !made[0].0.is_empty(), "{compiler} makes another file under Outcore");
}

#[test]
fn gcc_compiles_the_same() {
    if !exists("g++", "g++") {
        return;
    }
    let source = "#include <map>\n#include <regex>\n#include <string>\n#include <vector>\n#include <algorithm>\n\
        int main(int c, char **v) { std::map<std::string, std::vector<int>> m; std::regex r(\"a+b*(c|d)\");\n\
        for (int i = 0; i < c; i++) if (std::regex_match(v[i], r)) m[v[i]].push_back(i);\n\
        for (auto &e : m) std::sort(e.second.begin(), e.second.end()); return m.size(); }\n";
    makes("g++", &["-std=c++17", "-O2", "-S"], source, "source.cpp");
    makes("gcc", &["-O2", "-S"], &fs::read_to_string("tests/programs/heap.c").unwrap(), "source.c");
}

#[test]
fn rustc_compiles_the_same() {
    // Debian's: others may bring a malloc of their own.
    if !exists("/usr/bin/rustc", "rustc") {
        return;
    }
    let source = "use std::collections::{BTreeMap, HashMap};\n\
        fn main() { let mut m: BTreeMap<String, Vec<usize>> = BTreeMap::new(); let mut h = HashMap::new();\n\
        for (i, w) in std::env::args().enumerate() { m.entry(w.to_uppercase()).or_default().push(i); h.insert(i, w); }\n\
        let mut l: Vec<_> = m.iter().map(|(k, v)| format!(\"{} {:?}\", k, v)).collect(); l.sort();\n\
        println!(\"{} {}\", l.join(\"\\n\"), h.len()); }\n";
    makes("/usr/bin/rustc", &["-O", "--emit=asm", "-Ccodegen-units=1"], source, "source.rs");
}
