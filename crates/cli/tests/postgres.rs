//! PostgreSQL as a user of its own: a server that forks for everybody who connects, whose
//! backends sort and join in more memory than all of them may have.

#[expect(dead_code, reason = "what the other tests use of it")]
mod support;
#[expect(dead_code, reason = "what the other tests use of it")]
#[path = "support/watch.rs"]
mod watch;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use support::{Paged, directory, skip, text};
use watch::{everybody, rss};

const MIB: u64 = 1 << 20;
/// MiB, for the server and all its backends: less than what these have of their own.
const RAM: u64 = 192;
/// That query at once.
const BACKENDS: usize = 3;
/// How long a server may take to start, to answer and to end.
const PATIENCE: Duration = Duration::from_secs(240);

/// A PostgreSQL, and the user that it is run as.
struct Installation {
    bin: PathBuf,
    uid: u32,
    gid: u32,
}

impl Installation {
    /// None, and said so, where the test cannot be made.
    fn find() -> Option<Self> {
        if !support::is_root() {
            skip("the test changes its user");
            return None;
        }
        let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().join("bin"))
            .filter(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
            .collect();
        versions.sort();
        let users = fs::read_to_string("/etc/passwd").unwrap();
        let user = users.lines().find_map(|line| line.strip_prefix("postgres:"));
        let (Some(bin), Some(user)) = (versions.pop(), user) else {
            skip("no PostgreSQL: apt-get install postgresql");
            return None;
        };
        let mut numbers = user.split(':').skip(1).map(|number| number.parse().unwrap());
        Some(Self { bin, uid: numbers.next().unwrap(), gid: numbers.next().unwrap() })
    }

    /// A program of it, as its user.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.uid(self.uid).gid(self.gid).env_remove("LD_PRELOAD").stdin(Stdio::null());
        command
    }
}

/// A cluster of databases in a directory, and the socket of its server beside it.
struct Cluster<'a> {
    of: &'a Installation,
    dir: tempfile::TempDir,
}

impl<'a> Cluster<'a> {
    fn new(of: &'a Installation) -> Self {
        let dir = directory();
        support::open_to_all(dir.path());
        let cluster = Self { of, dir };
        let mut command = of.command("initdb");
        command.args(["--username=postgres", "--auth=trust", "--no-sync", "--no-locale", "--encoding=UTF8"]);
        let made = command.arg("-D").arg(cluster.data()).output().unwrap();
        assert!(made.status.success(), "initdb: {}", text(&made.stderr));
        cluster
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// What follows the program's name to serve the cluster.
    fn words(&self) -> Vec<String> {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let mut words = vec!["-D".to_owned(), path(&self.data()), "-k".to_owned(), path(self.dir.path())];
        for setting in ["listen_addresses=", "shared_buffers=8MB", "fsync=off", "max_wal_size=256MB"] {
            words.extend(["-c".to_owned(), setting.to_owned()]);
        }
        words
    }

    fn psql(&self, database: &str) -> Command {
        let mut command = self.of.command("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database]);
        command.arg("-h").arg(self.dir.path());
        command
    }

    fn serve(&self, mut command: Command) -> Server<'_> {
        let stderr = fs::File::create(self.dir.path().join("stderr")).unwrap();
        let run = command.stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        let mut server = Server { cluster: self, run, seen: BTreeSet::new() };
        let start = Instant::now();
        while !self.psql("postgres").args(["-c", "select 1"]).output().unwrap().status.success() {
            let ended = server.run.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < PATIENCE, "{ended:?}: {}", server.stderr());
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn serve_natively(&self) -> Server<'_> {
        let mut command = self.of.command("postgres");
        command.args(self.words());
        self.serve(command)
    }

    /// The server under Outcore. Its user may use `/dev/userfaultfd`, as an administrator
    /// would let it: the device of its own that it sees there is nobody else's.
    fn serve_paged(&self, report: &Path) -> Server<'_> {
        let outcore = self.dir.path().join("outcore");
        support::copy_program(env!("CARGO_BIN_EXE_outcore"), &outcore);
        let script = "{ [ -e \"$0\" ] || mknod -m 600 \"$0\" c 10 \"$1\"; } && chown \"$2:$3\" \"$0\" && \
                      mount --bind \"$0\" /dev/userfaultfd && user=$2 group=$3 && shift 3 && \
                      exec setpriv --reuid \"$user\" --regid \"$group\" --clear-groups -- \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
        command.arg(self.dir.path().join("userfaultfd")).arg(minor_of_userfaultfd().to_string());
        command.args([self.of.uid.to_string(), self.of.gid.to_string()]);
        command.arg(outcore).args(["run", "--ram", &format!("{RAM}M"), "--require", "full-userfaultfd"]);
        command.args(["--store", "/var/tmp", "--report"]).arg(report).arg("--");
        command.arg(self.of.bin.join("postgres")).args(self.words()).stdin(Stdio::null());
        command.env("HOME", self.dir.path());
        for name in ["XDG_CACHE_HOME", "LD_PRELOAD", "TMPDIR"] {
            command.env_remove(name);
        }
        self.serve(command)
    }
}

/// Of the kernel's table of such devices.
fn minor_of_userfaultfd() -> u32 {
    let devices = fs::read_to_string("/proc/misc").unwrap();
    let mut devices = devices.lines().filter_map(|line| line.trim().split_once(' '));
    let device = devices.find(|(_, name)| *name == "userfaultfd").expect("Linux 6.1 or later");
    device.0.parse().unwrap()
}

/// A server that runs, and what of it was ever seen.
struct Server<'a> {
    cluster: &'a Cluster<'a>,
    run: Child,
    /// Numbers of processes, pagers and guards as well.
    seen: BTreeSet<u32>,
}

impl Server<'_> {
    fn stderr(&self) -> String {
        fs::read_to_string(self.cluster.dir.path().join("stderr")).unwrap_or_default()
    }

    fn load(&self, database: &str) {
        let made =
            self.cluster.psql("postgres").args(["-c", &format!("create database {database}")]).output();
        self.succeeds(made.unwrap());
        let load = self.cluster.psql(database).args(["-f", "tests/programs/postgres_load.sql"]).output();
        self.succeeds(load.unwrap());
    }

    /// What several backends answer that are asked the same at once, and the resident sets of all
    /// processes together at most, in bytes.
    fn ask(&mut self, database: &str) -> (String, u64) {
        let mut query = self.cluster.psql(database);
        query.args(["-f", "tests/programs/postgres_query.sql"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut clients: Vec<Child> = (0..BACKENDS).map(|_| query.spawn().unwrap()).collect();
        let (start, mut peak) = (Instant::now(), 0);
        while !clients.iter_mut().all(|client| client.try_wait().unwrap().is_some()) {
            peak = peak.max(self.look());
            assert!(start.elapsed() < PATIENCE, "still asking: {}", self.stderr());
            std::thread::sleep(Duration::from_millis(15));
        }
        let answers = clients.into_iter().map(|client| self.succeeds(client.wait_with_output().unwrap()));
        let answers: BTreeSet<String> = answers.collect();
        assert_eq!(answers.len(), 1, "backends answer differently: {answers:?}");
        (answers.into_iter().next().unwrap(), peak)
    }

    #[track_caller]
    fn succeeds(&self, output: Output) -> String {
        assert!(output.status.success(), "{}\n{}", text(&output.stderr), self.stderr());
        text(&output.stdout)
    }

    /// Notes who is there, and adds up the resident sets of all that are not Outcore's.
    fn look(&mut self) -> u64 {
        let all = everybody(self.run.id());
        self.seen.extend(all.iter().map(|one| one.pid).chain([self.run.id()]));
        // Run natively, the first one is the server's.
        let first = Some(self.run.id()).filter(|pid| !name(*pid).starts_with("outcore"));
        let programs = all.into_iter().filter(|one| !one.is_ours).map(|one| one.pid);
        programs.chain(first).filter_map(rss).sum()
    }

    /// Ends it by a signal, and says that nothing of it is left.
    fn stop(mut self, signal: &str) {
        self.look();
        let main: u32 = self.main().expect("it runs");
        let pid = self.run.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        assert_eq!(self.wait(), Some(0), "{signal}: {}", self.stderr());
        assert!(self.main().is_none(), "{signal}: a server's lock file is left");
        let start = Instant::now();
        // Pagers end an instant after their programs.
        while self.seen.iter().any(|pid| name(*pid).starts_with("outcore") || name(*pid) == "postgres") {
            assert!(start.elapsed() < Duration::from_secs(20), "{signal}: some of {:?} are left", self.seen);
            std::thread::sleep(Duration::from_millis(20));
        }
        let segments = fs::read_to_string("/proc/sysvipc/shm").unwrap();
        let creator = |line: &str| line.split_ascii_whitespace().nth(4).and_then(|pid| pid.parse().ok());
        assert!(!segments.lines().filter_map(creator).any(|pid: u32| pid == main), "{segments}");
    }

    /// The number of the server's first process, by its lock file.
    fn main(&self) -> Option<u32> {
        let lock = fs::read_to_string(self.cluster.data().join("postmaster.pid")).ok()?;
        lock.lines().next()?.parse().ok()
    }

    fn wait(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.run.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "still running: {}", self.stderr());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        // Only where the test has failed: an ended server has no lock file.
        if let Some(main) = self.main() {
            let _ = Command::new("kill").args(["-s", "QUIT", &main.to_string()]).status();
            let _ = self.run.wait();
        }
    }
}

fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

#[test]
fn postgresql_loaded_and_queried() {
    let Some(installation) = Installation::find() else { return };
    let cluster = Cluster::new(&installation);
    let mut plain = cluster.serve_natively();
    plain.load("plain");
    let (wanted, native_peak) = plain.ask("plain");
    assert_eq!(wanted.lines().count(), 4, "{wanted}");
    plain.stop("TERM");

    let report = cluster.dir.path().join("report.json");
    let mut server = cluster.serve_paged(&report);
    server.load("paged");
    let (answers, peak) = server.ask("paged");
    assert_eq!(answers, wanted);
    let processes = server.seen.iter().filter(|pid| name(**pid) == "postgres").count() as u64;
    let stderr = server.stderr().into_bytes();
    server.stop("INT");
    let ended = Output { status: ExitStatus::default(), stdout: Vec::new(), stderr };
    let run = Paged::of(ended, &report);
    let (read, written) = (run.of_others("swap_ins"), run.of_others("swap_outs"));
    let heaps = run.of_others("peak_heap_bytes");
    let bound = (RAM + 32 + 16 * processes) * MIB + heaps / 100;
    eprintln!(
        "{} MiB resident natively, {} of {} allowed here; heaps of {} MiB; {} MiB written, {} MiB read; \
         {processes} processes",
        native_peak / MIB,
        peak / MIB,
        bound / MIB,
        heaps / MIB,
        written * 4096 / MIB,
        read * 4096 / MIB
    );
    assert!(heaps > RAM * MIB, "heaps of {} MiB only", heaps / MIB);
    assert!(peak <= bound, "{} MiB resident of {} allowed", peak / MIB, bound / MIB);
    assert!(written > 5_000 && read > 5_000, "paged too little: {written} pages out, {read} in");

    // What it has written is right without it, and a second run ends by the other signal.
    let mut plain = cluster.serve_natively();
    assert_eq!(plain.ask("paged").0, wanted);
    plain.stop("INT");
    let server = cluster.serve_paged(&report);
    let count = cluster.psql("paged").args(["-c", "select count(*) from rows"]).output().unwrap();
    assert_eq!(server.succeeds(count), "400000\n");
    server.stop("TERM");
}
