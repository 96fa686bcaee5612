#![expect(unsafe_code, reason = "kills and forks processes, and touches shared memory")]
//! Arenas that several processes share. Members are this test again, as processes of their own.

mod common;
mod members;

use common::{Held, MIB, PAGE, Random, dies_by_a_bus_error, passes, word};
use members::{Member, attach, create, is_dead, is_over, name, servers_of, within, words};
use outcore::{Arena, Commit, ShareError, SharedError};
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::Ordering;

const BUDGET: usize = 8 * MIB;

#[test]
fn views_show_the_same_bytes_at_an_eighth_in_memory() {
    let name = name("views");
    let arena = create(&name, 64 * MIB, BUDGET);
    let other = attach(&name);
    assert_ne!(arena.addr(), other.addr());
    let (here, there) = (words(&arena), words(&other));
    for (index, place) in here.iter().enumerate() {
        place.store(word(1, index), Ordering::Relaxed);
    }
    let stats = other.stats().expect("numbers");
    assert_eq!((stats.members, stats.budget_bytes), (2, BUDGET as u64));
    assert!(stats.resident_bytes + stats.parked_bytes <= BUDGET as u64, "{stats:?}");
    assert!(stats.swapped_bytes >= 50 * MIB as u64 && stats.swap_outs > 0, "{stats:?}");
    for (index, place) in there.iter().enumerate() {
        assert_eq!(place.load(Ordering::Relaxed), word(1, index), "word {index}");
    }
    // What the kernel says: the arena's memory, and all that the server has for itself.
    let [server] = servers_of(&name)[..] else { panic!("not one server") };
    let held = memory_of(server);
    assert!(held <= BUDGET + 6 * MIB, "{} KiB", held >> 10);
    let mut random = Random(7);
    for _ in 0..20_000 {
        let index = random.below(here.len());
        let (from, to) = if random.next() & 1 == 0 { (here, there) } else { (there, here) };
        let before = from[index].fetch_add(1, Ordering::Relaxed);
        assert_eq!(to[index].load(Ordering::Relaxed), before.wrapping_add(1));
    }
    drop((arena, other));
    is_over(&name);
}

/// Bytes of RAM that a server holds, in its memfd and privately.
fn memory_of(server: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{server}/status")).expect("it lives");
    let private = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB"));
    let private: usize = private.expect("a size").trim().parse().expect("a number");
    let descriptors = std::fs::read_dir(format!("/proc/{server}/fd")).expect("it lives").flatten();
    let is_memory = |path: &std::path::PathBuf| {
        std::fs::read_link(path)
            .is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:outcore-arena"))
    };
    let memory = descriptors.map(|entry| entry.path()).find(is_memory).expect("a memfd");
    let blocks = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(memory).expect("its size"));
    (private << 10) + blocks as usize * 512
}

/// 128 regions of 5 MiB in four arenas, in 120 MiB of RAM, used by four processes: each reads,
/// checks and writes its own words of all pages, 51 200 times in all.
#[test]
fn four_processes_share_128_regions_of_5_mib() {
    let names: Vec<String> = (0..4).map(|_| name("regions")).collect();
    let arenas: Vec<_> = names.iter().map(|name| create(name, 32 * 5 * MIB, 30 * MIB)).collect();
    let mut members: Vec<Member> = (0..4).map(|lane| Member::start(&names, lane)).collect();
    for member in &mut members {
        member.tell("fill");
    }
    members.iter_mut().for_each(|member| assert_eq!(member.answer(), "0 wrong"));
    for member in &mut members {
        member.tell("steps 12800");
    }
    members.iter_mut().for_each(|member| assert_eq!(member.answer(), "0 wrong"));
    for member in &mut members {
        member.tell("check");
    }
    members.iter_mut().for_each(|member| assert_eq!(member.answer(), "0 wrong"));
    let stats: Vec<_> = arenas.iter().map(|arena| arena.stats().expect("numbers")).collect();
    for stats in &stats {
        assert_eq!(stats.members, 5);
        assert!(stats.swap_outs > 30_000, "{stats:?}");
        assert!(stats.resident_bytes + stats.parked_bytes <= 30 * MIB as u64, "{stats:?}");
    }
    drop((members, arenas));
    names.iter().for_each(|name| is_over(name));
}

/// No increment is lost that any of four processes makes, at an eighth of the arena in memory.
#[test]
fn concurrent_writers_lose_nothing() {
    let name = name("adders");
    let arena = create(&name, 64 * MIB, BUDGET);
    let names = [name.clone()];
    let mut members: Vec<Member> = (0..4).map(|lane| Member::start(&names, lane)).collect();
    for member in &mut members {
        member.tell("add 20000");
    }
    members.iter_mut().for_each(|member| assert_eq!(member.answer(), "done"));
    let (mut sum, mut by_lane) = (0, [0; 4]);
    for place in words(&arena) {
        // Each lane counts in sixteen bits of its own.
        let lanes = place.load(Ordering::Relaxed).to_ne_bytes();
        for (lane, count) in lanes.as_chunks().0.iter().enumerate() {
            let count = u64::from(u16::from_ne_bytes(*count));
            sum += count;
            by_lane[lane] += count;
        }
    }
    assert_eq!((sum, by_lane), (80_000, [20_000; 4]));
    assert!(arena.stats().expect("numbers").swap_outs > 1000);
}

#[test]
fn what_is_not_an_arena_is_refused() {
    let refused =
        |name: &str, size: u64| match Arena::create_shared(name, size).budget(BUDGET as u64).create() {
            Err(ShareError::Arena(error)) => error,
            other => panic!("{name:?} of {size} bytes: {other:?}"),
        };
    let long = "x".repeat(65);
    for bad in ["", "a/b", "/", "../x", "a\0b", &long] {
        assert!(matches!(refused(bad, 4096), SharedError::Name { .. }), "{bad:?}");
        assert!(matches!(Arena::attach(bad), Err(ShareError::Arena(SharedError::Name { .. }))), "{bad:?}");
    }
    let name = name("refused");
    for bytes in [0, (1 << 40) + 1, u64::MAX] {
        assert_eq!(refused(&name, bytes), SharedError::Size { bytes });
    }
    assert!(matches!(Arena::create_shared(&name, 4096).create(), Err(ShareError::NoBudget)));
    let small = Arena::create_shared(&name, 4096).budget(1 << 20).create();
    assert_eq!(
        small.err(),
        Some(ShareError::Arena(SharedError::SmallBudget { given: 1 << 20, least: 4 << 20 }))
    );
    let nowhere = Arena::create_shared(&name, 4096).budget(BUDGET as u64).store_in("/nowhere").create();
    let Err(ShareError::Arena(SharedError::Server(text))) = nowhere else { panic!("{nowhere:?}") };
    assert!(text.contains("/nowhere does not exist"), "{text}");
    let strict = Arena::create_shared(&name, 1 << 30).budget(BUDGET as u64).store_size(64 << 20);
    let strict = strict.commit(Commit::Strict).create();
    let Err(ShareError::Arena(SharedError::Server(text))) = strict else { panic!("{strict:?}") };
    assert!(text.contains("no room to promise 1073741824 bytes"), "{text}");
    let none = ShareError::Arena(SharedError::NotFound { name: name.clone() });
    assert_eq!(Arena::attach(&name).err(), Some(none));
    is_over(&name);

    let arena = create(&name, 5000, BUDGET);
    assert_eq!(refused(&name, 4096), SharedError::Exists { name: name.clone() });
    assert_eq!(arena.len(), 8192);
    for (offset, len) in [(8192, 1), (0, 8193), (usize::MAX, 2)] {
        let past = Err(ShareError::OutOfRange { offset, len, size: 8192 });
        assert_eq!(arena.write(offset, &vec![0; len]), past);
    }
    for (offset, len) in [(1, 4096), (0, 1), (8192, 4096), (4096, 8192), (0, usize::MAX & !4095)] {
        let range = SharedError::Range { offset: offset as u64, len: len as u64 };
        assert_eq!(arena.discard(offset, len), Err(ShareError::Arena(range)));
    }
}

#[test]
fn as_many_members_as_there_may_be() {
    let name = name("many");
    let first = create(&name, 4 * PAGE, BUDGET);
    let mut members: Vec<_> = (1..128).map(|_| attach(&name)).collect();
    let refused = Arena::attach(&name);
    assert_eq!(refused.err(), Some(ShareError::Arena(SharedError::TooManyMembers)));
    for (index, member) in members.iter().enumerate() {
        words(member)[index].store(index as u64 + 1, Ordering::Relaxed);
    }
    for index in 0..members.len() {
        assert_eq!(words(&first)[index].load(Ordering::Relaxed), index as u64 + 1);
    }
    members.pop();
    attach(&name).detach();
    // A member that has left is forgotten before its detaching ends.
    assert_eq!(first.stats().expect("numbers").members, 127);
}

/// Who has created it may go first; with the last one everything goes.
#[test]
fn the_last_one_out_removes_it() {
    passes("last_out");
}

#[test]
#[ignore = "counts what its process has, and so runs alone"]
fn last_out() {
    let threads = Held::now().threads;
    // What the first arena of a process makes once stays.
    let warm = name("warm");
    let both = (create(&warm, 4096, BUDGET), attach(&warm));
    drop(both);
    let before = Held::with_threads(threads);
    let name = name("last");
    let arena = create(&name, 32 * MIB, BUDGET);
    let [server] = servers_of(&name)[..] else { panic!("not one server") };
    let other = attach(&name);
    words(&arena).iter().for_each(|word| word.store(3, Ordering::Relaxed));
    arena.detach();
    assert!(words(&other).iter().all(|word| word.load(Ordering::Relaxed) == 3));
    assert_eq!(servers_of(&name), [server]);
    drop(other);
    is_over(&name);
    is_dead(server);
    before.comes_back("after the last one is out");
    assert!(matches!(Arena::attach(&name), Err(ShareError::Arena(SharedError::NotFound { .. }))));
    // The name is free, and what was there is not.
    let again = create(&name, 4096, BUDGET);
    assert_eq!(words(&again)[0].load(Ordering::Relaxed), 0);
}

#[test]
fn what_is_discarded_is_zeros_for_all() {
    let name = name("discard");
    let arena = create(&name, 32 * MIB, BUDGET);
    let other = attach(&name);
    words(&arena).iter().for_each(|word| word.store(9, Ordering::Relaxed));
    other.discard(MIB, 30 * MIB).expect("discarded");
    let expected = |index: usize| if (MIB..31 * MIB).contains(&(index * 8)) { 0 } else { 9 };
    for (index, place) in words(&arena).iter().enumerate() {
        assert_eq!(place.load(Ordering::Relaxed), expected(index), "word {index}");
    }
    words(&other)[MIB / 8].store(4, Ordering::Relaxed);
    assert_eq!(words(&arena)[MIB / 8].load(Ordering::Relaxed), 4);
}

/// What the program does to its descriptors does not reach the arena's.
#[test]
fn a_program_may_close_all_it_has() {
    passes("closes_all");
}

#[test]
#[ignore = "closes its descriptors, and so runs alone"]
fn closes_all() {
    let name = name("closes");
    let arena = create(&name, 32 * MIB, BUDGET);
    // SAFETY: nobody in this process uses them any more.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    for (index, word) in words(&arena).iter().enumerate() {
        word.store(index as u64, Ordering::Relaxed);
    }
    assert!(
        words(&arena).iter().enumerate().all(|(index, word)| word.load(Ordering::Relaxed) == index as u64)
    );
    assert!(arena.stats().expect("numbers").swap_outs > 0);
}

/// A forked child has not got it, is told so, and may attach.
#[test]
fn a_forked_child_may_attach() {
    let said = passes("forks");
    assert!(said.contains("a forked child touched paged memory"), "{said}");
}

#[test]
#[ignore = "forks, and so runs alone"]
fn forks() {
    let name = name("forks");
    let arena = create(&name, 32 * MIB, BUDGET);
    words(&arena)[5].store(55, Ordering::Relaxed);
    let forked = |work: &dyn Fn() -> i32| {
        // SAFETY: the test's only thread but those that wait.
        unsafe {
            match libc::fork() {
                0 => libc::_exit(work()),
                child => {
                    let mut status = 0;
                    libc::waitpid(child, &mut status, 0);
                    std::process::ExitStatus::from_raw(status)
                }
            }
        }
    };
    let refuses = forked(&|| {
        let refused = arena.read(0, &mut [0]) == Err(ShareError::Forked)
            && arena.stats() == Err(ShareError::Forked)
            && arena.discard(0, 4096) == Err(ShareError::Forked);
        let own = attach(&name);
        i32::from(!refused || words(&own)[5].load(Ordering::Relaxed) != 55)
    });
    assert_eq!(refuses.code(), Some(0));
    let touches = forked(&|| words(&arena)[5].load(Ordering::Relaxed) as i32);
    assert_eq!(touches.signal(), Some(libc::SIGSEGV));
    assert_eq!(words(&arena)[5].load(Ordering::Relaxed), 55);
    within("the child is still a member", || arena.stats().expect("numbers").members == 1);
}

/// Bytes that come back wrong are nobody's: who touches them gets SIGBUS, and members are told.
#[test]
fn what_the_store_loses_is_a_bus_error() {
    let message = "of a shared arena is lost: the store returned other bytes";
    dies_by_a_bus_error("reads_what_is_lost", message);
}

#[test]
#[ignore = "dies of it, and so runs alone"]
fn reads_what_is_lost() {
    let made = Arena::create_shared(&name("lost"), 64 << 20).budget(BUDGET as u64).readahead(false);
    let arena = made.faults("corrupt-read@20").create().unwrap_or_else(|error| panic!("{error}"));
    for (index, place) in words(&arena).iter().enumerate() {
        place.store(word(3, index), Ordering::Relaxed);
    }
    for (index, place) in words(&arena).iter().enumerate() {
        assert_eq!(place.load(Ordering::Relaxed), word(3, index), "word {index}");
    }
    panic!("every page came back");
}

/// By hand: `cargo test --release -p outcore-library --test shared -- --ignored --nocapture speed`.
#[test]
#[ignore = "prints how fast it is"]
fn speed() {
    let name = name("speed");
    let arena = create(&name, 512 * MIB, 128 * MIB);
    let other = attach(&name);
    let page = |place: usize| place * PAGE / 8;
    let pages = 512 * MIB / PAGE;
    let timed = |what: &str, touches: usize, work: &mut dyn FnMut()| {
        let start = std::time::Instant::now();
        work();
        let took = start.elapsed();
        let rate = (touches * PAGE) as f64 / took.as_secs_f64() / 1e6;
        println!("{what}: {rate:.0} MB/s, {:.1} us a page", took.as_secs_f64() * 1e6 / touches as f64);
    };
    timed("fill", pages, &mut || {
        for (index, place) in words(&arena).iter().enumerate() {
            place.store(word(2, index), Ordering::Relaxed);
        }
    });
    let mut sum = 0u64;
    timed("read in order by another", pages, &mut || {
        sum = words(&other).iter().fold(0, |sum, place| sum.wrapping_add(place.load(Ordering::Relaxed)));
    });
    let mut random = Random(1);
    timed("read at random", 20_000, &mut || {
        for _ in 0..20_000 {
            sum = sum.wrapping_add(words(&arena)[page(random.below(pages))].load(Ordering::Relaxed));
        }
    });
    timed("read at random what fits", 200_000, &mut || {
        for _ in 0..200_000 {
            sum = sum.wrapping_add(words(&arena)[page(random.below(pages / 8))].load(Ordering::Relaxed));
        }
    });
    println!("{:?}, sum {sum:x}", arena.stats().expect("numbers"));
}
