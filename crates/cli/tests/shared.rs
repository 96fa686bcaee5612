#![expect(unsafe_code, reason = "touches shared memory, and kills a server")]
//! Arenas that programs share which run under a RAM limit.

use outcore::{Arena, SharedArena};
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
const NAME: &str = "OUTCORE_TEST_ARENA";

fn words(arena: &SharedArena) -> &[AtomicU64] {
    // SAFETY: mapped for as long as it is borrowed; all use of it is atomic.
    unsafe { core::slice::from_raw_parts(arena.as_ptr().cast(), arena.len() / 8) }
}

fn word(index: usize) -> u64 {
    (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn this_test(name: &str) -> [String; 5] {
    let this = std::env::current_exe().expect("this test");
    [this.to_str().expect("text"), "--exact", name, "--ignored", "--nocapture"].map(str::to_owned)
}

/// The program and one that it starts page their own memory by `--ram`, and share an arena that
/// has a budget of its own, whose server is under nobody's limit.
#[test]
fn programs_under_a_limit_share_an_arena() {
    let output = Command::new(env!("CARGO_BIN_EXE_outcore"))
        .args(["run", "--ram", "48M", "--"])
        .args(this_test("creates"))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("all is right"), "{said}{errors}");
}

#[test]
#[ignore = "runs under outcore run"]
fn creates() {
    let name = format!("test-run-{}", std::process::id());
    let made = Arena::create_shared(&name, 64 * MIB as u64).budget(8 * MIB as u64).create();
    let arena = made.unwrap_or_else(|error| panic!("{error}"));
    for (index, place) in words(&arena).iter().enumerate() {
        place.store(word(index), Ordering::Relaxed);
    }
    // The heap of this program is paged as well.
    let heap: Vec<u64> = (0..128 * MIB / 8).map(|index| word(index) ^ 1).collect();
    let [program, arguments @ ..] = this_test("attaches");
    let mut other = Command::new(program);
    let other = other.args(arguments).env(NAME, &name).stdout(Stdio::inherit()).status();
    assert!(other.expect("it runs").success());
    assert!(
        words(&arena).iter().enumerate().all(|(index, place)| place.load(Ordering::Relaxed) == !word(index))
    );
    assert!(heap.iter().enumerate().all(|(index, found)| *found == word(index) ^ 1));
    let stats = arena.stats().expect("numbers");
    assert!(stats.resident_bytes + stats.parked_bytes <= 8 * MIB as u64 && stats.swap_outs > 0, "{stats:?}");
    let limited = |pid: &str| {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        read("comm") == "outcore-arena\n" && read("environ").contains("LD_PRELOAD")
    };
    let processes = std::fs::read_dir("/proc").expect("proc").flatten();
    assert!(!processes.filter_map(|entry| entry.file_name().into_string().ok()).any(|pid| limited(&pid)));
    println!("all is right");
}

#[test]
#[ignore = "is another test's program"]
fn attaches() {
    let arena =
        Arena::attach(&std::env::var(NAME).expect("a name")).unwrap_or_else(|error| panic!("{error}"));
    for (index, place) in words(&arena).iter().enumerate() {
        assert_eq!(place.swap(!word(index), Ordering::Relaxed), word(index), "word {index}");
    }
}

/// Of the run in which an arena has no budget of its own, in MiB.
const RAM: usize = 128;
/// The program's own memory, and the arena: each would take most of that.
const DATA: usize = 96 * MIB;
/// Processes that have the arena, the program among them.
const MEMBERS: usize = 4;
/// What each of the others has of its own.
const OWN: usize = 24 * MIB;

/// An arena without a budget of its own takes part in that of the run: it gets what the processes
/// do not use, and gives it back; its pages count once, however many have them mapped.
#[test]
fn an_arena_takes_part_in_the_budget_of_its_run() {
    let output = Command::new(env!("CARGO_BIN_EXE_outcore"))
        .args(["run", "--ram", &format!("{RAM}M"), "--"])
        .args(this_test("competes"))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("all is right"), "{said}{errors}");
    println!("{said}");
}

/// A process that reads an arena at random for as long as it is told to.
struct Reader(Child);

impl Reader {
    fn start(name: &str) -> Self {
        let [program, arguments @ ..] = this_test("reads");
        let mut reader = Command::new(program);
        let reader = reader.args(arguments).env(NAME, name).stdin(Stdio::piped()).stdout(Stdio::null());
        Self(reader.spawn().expect("it runs"))
    }

    /// Reads, or does not.
    fn tell(&mut self, what: &str) {
        writeln!(self.0.stdin.as_mut().expect("a pipe"), "{what}").expect("it listens");
    }
}

#[test]
#[ignore = "is another test's program"]
fn reads() {
    let arena =
        Arena::attach(&std::env::var(NAME).expect("a name")).unwrap_or_else(|error| panic!("{error}"));
    // Its own memory is counted, and with it what it has mapped of the arena.
    let own: Vec<u64> = (0..OWN / 8).map(|index| word(index) ^ 2).collect();
    let is_told = AtomicBool::new(true);
    let check = |what: &str, index: usize, right: bool| {
        if !right {
            eprintln!("word {index} of {what} is wrong");
            std::process::exit(1);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut seed = u64::from(std::process::id());
            loop {
                if !is_told.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                let index = at_random(&mut seed);
                check("the arena", index, words(&arena)[index].load(Ordering::Relaxed) == word(index));
            }
        });
        for line in std::io::stdin().lines() {
            is_told.store(line.expect("text") == "read", Ordering::Relaxed);
        }
        own.iter().enumerate().for_each(|(index, found)| check("its own", index, *found == word(index) ^ 2));
        std::process::exit(0);
    });
}

fn at_random(seed: &mut u64) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize % (DATA / 8)
}

/// A number of kilobytes in a process's status, in bytes.
fn status(pid: u32, name: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok()).unwrap_or(0) << 10
}

/// The arena's server.
fn server_of(name: &str) -> u32 {
    let sockets = std::fs::read_to_string("/proc/net/unix").expect("proc");
    let line = sockets.lines().find(|line| line.ends_with(&format!("/{name}"))).expect("its socket");
    let inode = format!("socket:[{}]", line.split_ascii_whitespace().nth(6).expect("an inode"));
    let has = |pid: &u32| {
        let is_server = std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|comm| comm.trim_end() == "outcore-arena");
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        is_server
            && descriptors
                .filter_map(|entry| std::fs::read_link(entry.path()).ok())
                .any(|target| target.as_os_str() == inode.as_str())
    };
    let mut all = std::fs::read_dir("/proc").expect("proc").flatten();
    all.find_map(|entry| entry.file_name().to_str()?.parse().ok().filter(has)).expect("a server")
}

/// What the arena has in memory.
fn in_memory(arena: &SharedArena) -> usize {
    let stats = arena.stats().expect("numbers");
    (stats.resident_bytes + stats.parked_bytes) as usize
}

/// Resident in all processes, with what they have mapped of the arena counted once.
fn in_all(arena: &SharedArena, processes: &[u32]) -> usize {
    let each = |pid: &u32| status(*pid, "VmRSS").saturating_sub(status(*pid, "RssShmem"));
    processes.iter().map(each).sum::<usize>() + arena.stats().expect("numbers").resident_bytes as usize
}

#[test]
#[ignore = "runs under outcore run"]
fn competes() {
    let name = format!("test-competes-{}", std::process::id());
    let made = Arena::create_shared(&name, DATA as u64).create();
    let arena = made.unwrap_or_else(|error| panic!("{error}"));
    for (index, place) in words(&arena).iter().enumerate() {
        place.store(word(index), Ordering::Relaxed);
    }
    let own: Vec<u64> = (0..DATA / 8).map(|index| word(index) ^ 1).collect();
    let path = std::env::var_os("OUTCORE_LEDGER").expect("a ledger");
    let ledger = sys::ledger::Ledger::open(path.as_ref()).expect("a ledger");
    let server = server_of(&name);
    let mut readers: Vec<Reader> = (1..MEMBERS).map(|_| Reader::start(&name)).collect();
    let processes: Vec<u32> =
        [std::process::id(), server].into_iter().chain(readers.iter().map(|reader| reader.0.id())).collect();
    let bound = (RAM + 32 + 16 * processes.len()) * MIB + (2 * DATA + (MEMBERS - 1) * OWN) / 100;
    let begun = Instant::now();
    let mut highest = 0;
    let mut within = |what: &str, work: &mut dyn FnMut(), holds: &dyn Fn() -> bool| {
        let begun = Instant::now();
        loop {
            work();
            let sum = in_all(&arena, &processes);
            highest = highest.max(sum);
            assert!(sum <= bound, "{} MiB in memory of {}", sum / MIB, bound / MIB);
            if holds() {
                println!("{what} after {} ms", begun.elapsed().as_millis());
                return;
            }
            let stats = arena.stats();
            assert!(begun.elapsed() < Duration::from_secs(60), "not {what}: {stats:?}");
        }
    };
    let mut seed = 9;
    let mut read_own = || {
        for _ in 0..2000 {
            let index = at_random(&mut seed);
            assert_eq!(own[index], word(index) ^ 1, "word {index} of its own");
        }
    };
    for _ in 0..2 {
        readers.iter_mut().for_each(|reader| reader.tell("read"));
        let mut rest = || std::thread::sleep(Duration::from_millis(5));
        within("the arena has most", &mut rest, &|| in_memory(&arena) >= RAM / 2 * MIB);
        // It is in four processes, and counts once.
        let (counted, there) = (ledger.used() as usize, in_all(&arena, &processes));
        println!("{} MiB counted of {} MiB", counted / MIB, there / MIB);
        assert!(counted <= there + 32 * MIB);
        readers.iter_mut().for_each(|reader| reader.tell("rest"));
        within("the program has most", &mut read_own, &|| in_memory(&arena) <= RAM / 4 * MIB);
    }
    println!("at most {} MiB in {} processes, in {:?}", highest / MIB, processes.len(), begun.elapsed());
    for (index, place) in words(&arena).iter().enumerate() {
        assert_eq!(place.load(Ordering::Relaxed), word(index), "word {index}");
    }
    assert_eq!(arena.stats().expect("numbers").members, MEMBERS as u64);
    // Killed, a member and then the server leave no seat.
    let seats = || ledger.taken().count();
    assert_eq!(seats(), MEMBERS + 1);
    let mut until = |what: &str, holds: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !holds() {
            // Whoever is short finds out.
            read_own();
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}: {} seats", seats());
        }
    };
    let mut killed = readers.pop().expect("a reader");
    killed.0.kill().expect("it can be killed");
    killed.0.wait().expect("it ends");
    until("a killed member has a seat", &|| seats() == MEMBERS);
    for mut reader in readers {
        drop(reader.0.stdin.take());
        assert!(reader.0.wait().expect("it ends").success());
    }
    until("members that have ended have seats", &|| seats() == 2);
    // SAFETY: the arena's server, which is alone with this number while it lives.
    unsafe { libc::kill(server.cast_signed(), libc::SIGKILL) };
    until("a killed server has a seat", &|| seats() == 1);
    drop(arena);
    assert!(own.iter().enumerate().all(|(index, found)| *found == word(index) ^ 1));
    println!("all is right");
}
