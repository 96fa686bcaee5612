#![expect(unsafe_code, reason = "touches shared memory")]
//! Arenas that programs share which run under a RAM limit.

use outcore::{Arena, SharedArena};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

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
