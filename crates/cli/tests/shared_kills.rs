#![expect(unsafe_code, reason = "forks and kills processes, and touches shared memory")]
//! A tree whose processes share slots of one store as well as an arena, and are killed at any
//! moment, with their pagers or without: the survivors' bytes are right, and nothing is left.

#[expect(dead_code, reason = "what the other tests use of it")]
mod support;

use outcore::{Arena, SharedArena};
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::{companions, outcore, text};

const MIB: usize = 1 << 20;
/// Words of a page.
const WORDS: usize = 512;
/// What each process has of its own, by inheritance: four times what all may have in memory.
const OWN_PAGES: usize = 24 * MIB / 4096;
const ARENA_PAGES: usize = 16 * MIB / 4096;
const ARENA_BUDGET: u64 = 4 * MIB as u64;
const CHILDREN: usize = 3;
const KILLS: &str = "OUTCORE_TEST_KILLS";
/// How long a process may take to be gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }
}

fn mixed(place: usize, version: u32) -> u64 {
    let mixed = (place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(version) << 17;
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// A word of an arena that tells where it lies, and which write it is: no mixture of two does.
fn signed(place: usize, version: u32) -> u64 {
    u64::from(version) << 32 | mixed(place, version) >> 32
}

fn is_whole(place: usize, word: u64) -> bool {
    word == signed(place, (word >> 32) as u32)
}

fn words(arena: &SharedArena) -> &[AtomicU64] {
    // SAFETY: mapped for as long as it is borrowed; all use of it is atomic.
    unsafe { core::slice::from_raw_parts(arena.as_ptr().cast(), arena.len() / 8) }
}

/// Memory of one process, which knows what belongs there.
struct Own {
    words: Vec<u64>,
    versions: Vec<u32>,
}

impl Own {
    fn new() -> Self {
        let words = (0..OWN_PAGES * WORDS).map(|place| mixed(place, 0)).collect();
        Self { words, versions: vec![0; OWN_PAGES] }
    }

    fn is_right(&self, page: usize) -> bool {
        let places = page * WORDS..(page + 1) * WORDS;
        places.into_iter().all(|place| self.words[place] == mixed(place, self.versions[page]))
    }

    fn rewrite(&mut self, page: usize) {
        self.versions[page] += 1;
        for place in page * WORDS..(page + 1) * WORDS {
            self.words[place] = mixed(place, self.versions[page]);
        }
    }

    /// Looks at some pages and rewrites some; whether all were right.
    fn churn(&mut self, random: &mut Random) -> bool {
        (0..64).all(|_| {
            let first = random.below(OWN_PAGES - 4);
            let right = (first..first + 4).all(|page| self.is_right(page));
            self.rewrite(first);
            right
        })
    }
}

/// Forks a process that uses what it has inherited and the arena until it is killed, and
/// ends by itself only if something is wrong.
fn child(name: &str, lane: usize, own: &mut Own, seed: u64) -> i32 {
    let parent = std::process::id();
    // SAFETY: this is the only thread that runs code of the test's.
    match unsafe { libc::fork() } {
        0 => {}
        pid => {
            assert!(pid > 0, "fork: {}", std::io::Error::last_os_error());
            return pid;
        }
    }
    // SAFETY: no memory effects. Or else it would go on where the test did not.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let wrong = |what: &str| -> ! {
        eprintln!("child {lane} of {parent}: {what}");
        // SAFETY: without destructors, which are the parent's.
        unsafe { libc::_exit(1) }
    };
    let Ok(arena) = Arena::attach(name) else { wrong("it cannot attach") };
    let mut random = Random(seed);
    let mut version = random.below(1 << 20) as u32;
    loop {
        if !own.churn(&mut random) {
            wrong("its own memory has other bytes");
        }
        for _ in 0..64 {
            let page = random.below(ARENA_PAGES);
            for other in 0..CHILDREN {
                let place = page * WORDS + other;
                if !is_whole(place, words(&arena)[place].load(Ordering::Relaxed)) {
                    wrong("a word of the arena is nobody's");
                }
            }
            version += 1;
            let place = page * WORDS + lane;
            words(&arena)[place].store(signed(place, version), Ordering::Relaxed);
            if words(&arena)[place].load(Ordering::Relaxed) != signed(place, version) {
                wrong("a word of its own in the arena is another's");
            }
        }
    }
}

/// The pager or guard of a process of this tree which does not share this process's memory.
fn companion_of_a_child(random: &mut Random) -> Option<i32> {
    let others = companions("kills_its_children").into_iter().filter(|(_, name)| name != "outcore-arena");
    let others: Vec<u32> = others
        .map(|(pid, _)| pid)
        .filter(|pid| {
            const KCMP_VM: i32 = 1;
            // SAFETY: compares address spaces, without memory effects.
            let order = unsafe { libc::syscall(libc::SYS_kcmp, std::process::id(), *pid, KCMP_VM, 0, 0) };
            order > 0
        })
        .collect();
    (!others.is_empty()).then(|| others[random.below(others.len())].cast_signed())
}

/// Waits for the end of a child, which was killed.
fn bury(pid: i32) {
    let mut status = 0;
    // SAFETY: `status` is valid.
    let ended = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert!(ended == pid && libc::WIFSIGNALED(status), "a child has ended by itself: {status}");
}

fn kill(pid: i32) {
    // SAFETY: no memory effects; a child that is not buried yet, or one of its companions.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

#[test]
#[ignore = "runs under outcore run"]
fn kills_its_children() {
    let kills: usize = std::env::var(KILLS).expect("a number").parse().expect("a number");
    let name = format!("test-tree-{}", std::process::id());
    let made = Arena::create_shared(&name, (ARENA_PAGES * 4096) as u64).budget(ARENA_BUDGET).create();
    let arena = made.unwrap_or_else(|error| panic!("{error}"));
    for (place, word) in words(&arena).iter().enumerate() {
        word.store(signed(place, 0), Ordering::Relaxed);
    }
    let mut own = Own::new();
    let mut random = Random(20_261_121);
    let begin = |lane, own: &mut Own, turn: usize| child(&name, lane, own, (turn * 16 + lane + 1) as u64);
    let mut children: Vec<i32> = (0..CHILDREN).map(|lane| begin(lane, &mut own, 0)).collect();
    for turn in 1..=kills {
        std::thread::sleep(Duration::from_micros(random.below(40_000) as u64));
        let lane = random.below(CHILDREN);
        let companion = if random.below(3) == 0 { companion_of_a_child(&mut random) } else { None };
        companion.into_iter().for_each(kill);
        kill(children[lane]);
        bury(children[lane]);
        assert!(own.churn(&mut random), "the survivor has other bytes after kill {turn}");
        children[lane] = begin(lane, &mut own, turn);
        // One whose pager was killed is killed by its guard.
        for (other, pid) in children.iter_mut().enumerate() {
            let mut status = 0;
            // SAFETY: `status` is valid.
            if other != lane && unsafe { libc::waitpid(*pid, &raw mut status, libc::WNOHANG) } == *pid {
                assert!(libc::WIFSIGNALED(status), "child {other} has ended by itself: {status}");
                *pid = begin(other, &mut own, turn);
            }
        }
    }
    for pid in children {
        kill(pid);
        bury(pid);
    }
    assert!((0..OWN_PAGES).all(|page| own.is_right(page)), "the survivor has other bytes in the end");
    let start = Instant::now();
    while arena.stats().expect("numbers").members > 1 {
        assert!(start.elapsed() < PATIENCE, "killed members are still counted");
        std::thread::sleep(Duration::from_millis(2));
    }
    for (place, word) in words(&arena).iter().enumerate() {
        let word = word.load(Ordering::Relaxed);
        let right = if place % WORDS < CHILDREN { is_whole(place, word) } else { word == signed(place, 0) };
        assert!(right, "word {place} of the arena is {word:#x}");
    }
    let stats = arena.stats().expect("numbers");
    assert!(stats.swap_outs > 0 && stats.poisoned_pages == 0, "{stats:?}");
    drop(arena);
    println!("all is right after {kills} kills, with {name}");
}

#[track_caller]
fn tree_is_killed(kills: usize) {
    let this = std::env::current_exe().expect("this test");
    let dir = support::directory();
    let report = dir.path().join("report.json");
    let mut command = outcore(&["run", "--ram", "24M", "--report", report.to_str().expect("text"), "--"]);
    command.arg(this).args(["--exact", "kills_its_children", "--ignored", "--nocapture"]);
    let output = command.arg("--test-threads=1").env(KILLS, kills.to_string()).output().expect("it runs");
    let run = support::Paged::of(output, &report);
    let said = text(&run.stdout);
    assert_eq!(run.status, Some(0), "{said}{}", run.stderr);
    let name = said.lines().find_map(|line| Some(line.split_once(" kills, with ")?.1.to_owned()));
    let name = name.unwrap_or_else(|| panic!("{said}{}", run.stderr));
    assert!(run.number("swap_outs") > 1_000, "paged too little");
    assert!(run.of_others("swap_ins") > 1_000, "children paged too little");
    let start = Instant::now();
    let is_bound = || {
        let sockets = fs::read_to_string("/proc/net/unix").expect("proc");
        sockets.lines().any(|line| line.ends_with(&format!("/{name}")))
    };
    // Guards wait a little before they give up what a pager that was killed held.
    while is_bound() || !companions("kills_its_children").is_empty() {
        assert!(start.elapsed() < PATIENCE, "{:?} are left", companions("kills_its_children"));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn members_that_share_slots_and_an_arena_are_killed() {
    tree_is_killed(30);
}

/// By hand: `cargo test --release -p outcore --test shared_kills -- --ignored two_hundred`.
#[test]
#[ignore = "takes a while"]
fn two_hundred_kills_of_a_tree() {
    tree_is_killed(200);
}
