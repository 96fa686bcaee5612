//! The malloc of `outcore run`, as a C program sees it: with memory to spare, and with
//! four times as much as fits.

#[expect(dead_code, reason = "what the other tests use of it")]
mod support;

use support::{Paged, compile, paged, text};

const MIB: u64 = 1 << 20;
/// A budget that is never reached.
const PLENTY: u64 = 4096;

#[track_caller]
fn run(ram: u64, what: &str) -> Paged {
    let run = paged(ram, &[], &[&compile("heap.c"), what]);
    assert_eq!(run.status, Some(0), "{what}: {}", run.stderr);
    run
}

/// The number before this word in what the program printed.
#[track_caller]
fn printed(run: &Paged, word: &str) -> u64 {
    let text = text(&run.stdout);
    let line =
        text.lines().find_map(|line| line.strip_suffix(word)).unwrap_or_else(|| panic!("no{word}: {text}"));
    line.parse().unwrap_or_else(|_| panic!("{line} is no number"))
}

/// In-page allocators fault for nearly every object: they keep what they know in its page.
#[test]
fn a_million_cold_objects_are_freed_without_a_fault() {
    let run = run(64, "cold");
    assert!(run.number("swap_outs") > 40_000, "{} pages out", run.number("swap_outs"));
    // A page of metadata may be new. What the benches count, pages brought in, is none.
    let faults = printed(&run, " faults");
    assert!(faults <= 300, "{faults} faults");
}

#[test]
fn churning_brings_in_few_pages_more_than_touching() {
    let (touch, churn) = (run(64, "touch"), run(64, "churn"));
    let [touched, churned] = [&touch, &churn].map(|run| printed(run, " faults"));
    println!("{touched} faults by touching, {churned} by churning");
    assert!(touched > 20_000, "{touched} faults: what was touched was in memory");
    assert!(churned * 100 <= touched * 115, "{churned} faults, and {touched} without frees");
}

/// 44 MiB of pages have to leave; of these 6 hold anything.
#[test]
fn free_memory_is_never_written() {
    let run = run(64, "unused");
    let written = run.number("swap_outs") * 4096;
    println!("{} KiB written", written >> 10);
    assert!(run.number("major_faults") + run.number("minor_faults") > 0, "nothing was paged");
    assert!(written <= 16 * MIB, "{} MiB written", written / MIB);
}

#[test]
fn what_malloc_says_of_itself_is_true() {
    let run = run(PLENTY, "stats");
    let said = run.stderr.lines().find(|line| line.starts_with("outcore: malloc: ")).expect("malloc_stats");
    let numbers: Vec<u64> = said.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [in_use, large_bytes, large, spans, span_bytes, _, metadata] = numbers[..] else { panic!("{said}") };
    assert!(in_use >= large_bytes && large_bytes > 3 * MIB && large == 2, "{said}");
    assert!(span_bytes >= in_use && spans >= 2 + 10_000 * 112 / 65_536 && metadata > 0, "{said}");
    assert!(metadata * 1000 <= span_bytes * 16, "{said}");
}

/// With memory to spare and without: 8 MiB grow to 256 in 64, and no page is read to be moved.
#[test]
fn arrays_grow_by_moving_pages() {
    let resident = run(PLENTY, "grow");
    assert!(printed(&resident, " moves") >= 2);
    let run = run(64, "grow");
    assert!(run.number("swap_outs") > 40_000, "{} pages out", run.number("swap_outs"));
    let (moves, faults) = (printed(&run, " moves"), printed(&run, " faults"));
    // Copied, each of 50,000 pages would be brought in.
    assert!(moves >= 2 && faults <= 2000, "{faults} faults in {moves} moves");
}

#[test]
fn alignments_sizes_and_errors() {
    run(PLENTY, "align");
}

#[test]
fn children_of_threads_inside_malloc() {
    run(PLENTY, "forks");
}

#[test]
fn misuse_is_told_with_the_pointer_and_stops() {
    for (kind, call, which, why) in [
        ("double", "free", 0, "freed twice"),
        ("double-later", "free", 2, "freed twice"),
        ("double-large", "free", 1, ""),
        ("interior", "free", 0, "not the start of an allocated block"),
        ("interior-large", "free", 1, "not the start of an allocated block"),
        ("realloc-freed", "realloc", 0, "not the start of an allocated block"),
        ("realloc-foreign", "realloc", 2, "not allocated here"),
    ] {
        let run = paged(PLENTY, &[], &[&compile("heap.c"), kind]);
        assert_eq!(run.status, Some(134), "{kind}: {}", run.stderr);
        let pointers = text(&run.stdout);
        let said = run.stderr.lines().find(|line| line.starts_with("outcore: ")).expect("a message");
        assert!(said.starts_with(&format!("outcore: {call}(): invalid pointer 0x")), "{kind}: {said}");
        assert!(said.ends_with(why), "{kind}: {said}");
        let inside = |pointer: &str| {
            let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
            let told = said.split(' ').find(|word| word.starts_with("0x")).unwrap().trim_end_matches(':');
            (number(pointer)..number(pointer) + 100_000).contains(&number(told))
        };
        assert!(pointers.lines().nth(which).is_none_or(inside), "{kind}: {said}, of {pointers}");
    }
}
