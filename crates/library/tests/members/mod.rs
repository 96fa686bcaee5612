//! Processes that are members of shared arenas, and what they do there.

#![allow(dead_code, reason = "each test uses some of it")]

use crate::common::{PAGE, Random, word};
use outcore::{Arena, SharedArena};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A name that no other test has.
pub(crate) fn name(of: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{of}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn create(name: &str, size: usize, budget: usize) -> SharedArena {
    let made = Arena::create_shared(name, size as u64).budget(budget as u64).create();
    made.unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn attach(name: &str) -> SharedArena {
    Arena::attach(name).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn words(arena: &SharedArena) -> &[AtomicU64] {
    // SAFETY: mapped for as long as it is borrowed; all use of it is atomic.
    unsafe { core::slice::from_raw_parts(arena.as_ptr().cast(), arena.len() / 8) }
}

/// The processes that have a socket of that arena's name.
pub(crate) fn servers_of(name: &str) -> Vec<u32> {
    let sockets = std::fs::read_to_string("/proc/net/unix").expect("proc");
    let of_name = |line: &&str| line.ends_with(&format!("/{name}"));
    let inode = |line: &str| line.split_ascii_whitespace().nth(6).map(|inode| format!("socket:[{inode}]"));
    let inodes: Vec<String> = sockets.lines().filter(of_name).filter_map(inode).collect();
    let has = |pid: &u32| {
        let is_server =
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "outcore-arena\n");
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut targets = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        is_server && targets.any(|target| inodes.iter().any(|inode| target.as_os_str() == inode.as_str()))
    };
    let all = std::fs::read_dir("/proc").expect("proc").flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(has).collect()
}

fn is_bound(name: &str) -> bool {
    let sockets = std::fs::read_to_string("/proc/net/unix").expect("proc");
    sockets.lines().any(|line| line.ends_with(&format!("/{name}")))
}

/// It comes to hold, or the test fails.
pub(crate) fn within(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The process is gone, but for its number if the first process does not bury orphans.
pub(crate) fn is_dead(pid: u32) {
    within("the server is still there", || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
        status.is_err() || status.is_ok_and(|status| status.contains("State:\tZ"))
    });
}

/// Nothing is left of an arena: nobody has its name.
pub(crate) fn is_over(name: &str) {
    within("the arena is still there", || !is_bound(name));
}

/// A process that is a member.
pub(crate) struct Member {
    pub(crate) child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

const NAMES: &str = "OUTCORE_TEST_ARENAS";
const LANE: &str = "OUTCORE_TEST_LANE";

impl Member {
    /// A member of these arenas, as number `lane` of four.
    pub(crate) fn start(names: &[String], lane: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "members::member", "--ignored", "--nocapture", "--test-threads=1"])
            .env(NAMES, names.join("/"))
            .env(LANE, lane.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a member starts");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut member = Self { child, input, output };
        assert_eq!(member.answer(), "attached");
        member
    }

    pub(crate) fn tell(&mut self, what: &str) {
        writeln!(self.input, "{what}").expect("the member listens");
    }

    /// The next answer; empty when the member has ended.
    pub(crate) fn answer(&mut self) -> String {
        let mut line = String::new();
        while self.output.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            // What the test's own harness says stands on the same line or others.
            if let Some((_, answer)) = line.trim_end().rsplit_once("member: ") {
                return answer.to_owned();
            }
            line.clear();
        }
        String::new()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What belongs in a word that lane `lane` has written the `n`th time: it tells who wrote it,
/// and no other word is one by chance.
pub(crate) fn signed(lane: u64, n: u64) -> u64 {
    lane << 62 | (n & 0x3fff_ffff) << 32 | word(lane, n as usize & 0x3fff_ffff) >> 32
}

pub(crate) fn is_signed_by(lane: u64, value: u64) -> bool {
    value >> 62 == lane && value == signed(lane, value >> 32 & 0x3fff_ffff)
}

/// Words of a page that lane `lane` of four uses: one in each half.
fn places(arena: &SharedArena, page: usize, lane: u64) -> [usize; 2] {
    debug_assert!(page < arena.len() / PAGE);
    [page * PAGE / 8 + lane as usize, page * PAGE / 8 + 256 + lane as usize]
}

#[test]
#[ignore = "is a member of other tests' arenas"]
fn member() {
    let names = std::env::var(NAMES).expect("names");
    let lane: u64 = std::env::var(LANE).expect("a lane").parse().expect("a number");
    let arenas: Vec<SharedArena> = names.split('/').map(attach).collect();
    println!("member: attached");
    let mut worker = Worker { arenas, lane, random: Random(lane + 77), written: HashMap::new(), n: 0 };
    for line in std::io::stdin().lines() {
        let line = line.expect("text");
        let mut parts = line.split(' ');
        let what = parts.next().unwrap_or_default();
        let count = parts.next().map_or(0, |count| count.parse().expect("a number"));
        let answer = match what {
            "fill" => worker.fill(),
            "steps" => worker.steps(count),
            "check" => worker.check(),
            "add" => worker.add(count),
            "churn" => worker.churn(),
            "read" => worker.read(),
            other => panic!("{other:?}"),
        };
        println!("member: {answer}");
    }
}

struct Worker {
    arenas: Vec<SharedArena>,
    lane: u64,
    random: Random,
    /// What this one has written last, by arena and word.
    written: HashMap<(usize, usize), u64>,
    n: u64,
}

fn wrong(count: u64) -> String {
    format!("{count} wrong")
}

impl Worker {
    fn first(&self, arena: usize, place: usize) -> u64 {
        signed(self.lane, (arena << 26 | place) as u64)
    }

    fn fill(&self) -> String {
        let mut bad = 0;
        for (number, arena) in self.arenas.iter().enumerate() {
            for place in (0..arena.len() / PAGE).flat_map(|page| places(arena, page, self.lane)) {
                let before = words(arena)[place].swap(self.first(number, place), Ordering::Relaxed);
                bad += u64::from(before != 0);
            }
        }
        wrong(bad)
    }

    fn expected(&self, arena: usize, place: usize) -> u64 {
        self.written.get(&(arena, place)).copied().unwrap_or_else(|| self.first(arena, place))
    }

    fn steps(&mut self, count: u64) -> String {
        let mut bad = 0;
        for _ in 0..count {
            let number = self.random.below(self.arenas.len());
            let page = self.random.below(self.arenas[number].len() / PAGE);
            let place = places(&self.arenas[number], page, self.lane)[self.random.below(2)];
            self.n += 1;
            let new = signed(self.lane, self.n);
            let found = words(&self.arenas[number])[place].swap(new, Ordering::Relaxed);
            bad += u64::from(found != self.expected(number, place));
            self.written.insert((number, place), new);
        }
        wrong(bad)
    }

    fn check(&self) -> String {
        let mut bad = 0;
        for (number, arena) in self.arenas.iter().enumerate() {
            for place in (0..arena.len() / PAGE).flat_map(|page| places(arena, page, self.lane)) {
                let found = words(arena)[place].load(Ordering::Relaxed);
                bad += u64::from(found != self.expected(number, place));
            }
        }
        wrong(bad)
    }

    fn add(&mut self, count: u64) -> String {
        let one = 1u64 << (16 * self.lane);
        for _ in 0..count {
            let place = self.random.below(words(&self.arenas[0]).len());
            words(&self.arenas[0])[place].fetch_add(one, Ordering::Relaxed);
        }
        "done".to_owned()
    }

    /// Writes and checks for ever; says so when something was wrong. The words of its lane may
    /// be those of one that was killed.
    fn churn(&mut self) -> String {
        let mut random = Random(u64::from(std::process::id()) * 2 + 1);
        let arena = &self.arenas[0];
        println!("member: churns");
        loop {
            let place = places(arena, random.below(arena.len() / PAGE), self.lane)[random.below(2)];
            self.n += 1;
            let new = signed(self.lane, random.next());
            let found = words(arena)[place].swap(new, Ordering::Relaxed);
            let is_right = match self.written.insert((0, place), new) {
                Some(before) => found == before,
                None => is_signed_by(self.lane, found),
            };
            if !is_right {
                return format!("word {place} of lane {} was {found:#x}", self.lane);
            }
        }
    }

    /// Reads everything in order, and says how much was wrong before it ends.
    fn read(&self) -> String {
        let arena = &self.arenas[0];
        for (index, place) in words(arena).iter().enumerate() {
            let found = place.load(Ordering::Relaxed);
            if found != word(4, index) {
                println!("member: word {index} is {found:#x}");
            }
        }
        "read".to_owned()
    }
}
