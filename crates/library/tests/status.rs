//! Heaps on the status page of `outcore run`: their numbers, arenas and families, for `stat`, `top` and `metrics`.

use outcore::Heap;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};
use sys::status::{MAGIC, MAX_FAMILIES, MAX_PARTS, Phase, Record, StatusPage};

const PAGE_VARIABLE: &str = "OUTCORE_STATUS";

/// The page of this process's run, if the test below has started it.
fn page() -> Option<&'static StatusPage> {
    StatusPage::open(std::env::var_os(PAGE_VARIABLE)?.as_ref())
}

/// Families of a record: name, bytes of objects, pages, and of these those resident, parked and swapped.
fn families(record: &Record) -> Vec<(String, u64, u64, [u64; 3])> {
    let shown = (record.families.load(Relaxed) as usize).min(MAX_FAMILIES);
    let part = |part: &sys::status::Part| {
        let name = part.name.iter().take(part.name_len.load(Relaxed) as usize);
        let name = name.map(|byte| byte.load(Relaxed)).collect();
        let states = [&part.resident, &part.parked, &part.swapped].map(|number| number.load(Relaxed));
        (
            String::from_utf8(name).expect("a name"),
            part.used_bytes.load(Relaxed),
            part.pages.load(Relaxed),
            states,
        )
    };
    record.part[MAX_PARTS - shown..].iter().map(part).collect()
}

/// Waits until the record says what is expected, looking at it as `top` does.
fn until(record: &Record, what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}: {:?}", families(record));
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        record.watched.store(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64, Relaxed);
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn heaps_are_on_the_page_of_their_run() {
    if page().is_some() {
        return in_a_run();
    }
    let memory = sys::shared::file("page", size_of::<StatusPage>() as u64).expect("a file in memory");
    let shared = StatusPage::map(&memory).expect("a mapping");
    shared.magic.store(MAGIC, Relaxed);
    let path = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
    let own = std::env::current_exe().expect("this test");
    let mut command = Command::new(own);
    let output =
        command.args(["--exact", "heaps_are_on_the_page_of_their_run"]).env(PAGE_VARIABLE, path).output();
    let output = output.expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
    assert_eq!(shared.claimed.load(Relaxed), 2, "the third heap has the first one's record");
    assert!(shared.records[..2].iter().all(|record| record.phase.load(Acquire) == Phase::Free as u32));
}

fn in_a_run() {
    const OBJECTS: usize = 20_000;
    let page = page().expect("the run's page");
    let first = Heap::builder().budget(8 << 20).build().expect("a heap");
    let second = Heap::builder().budget(8 << 20).build().expect("a heap");
    let [record, other] = [&page.records[0], &page.records[1]];
    for (number, record) in [(1, record), (2, other)] {
        assert_eq!(record.heap.load(Relaxed), number);
        assert_eq!(record.phase.load(Acquire), Phase::Paging as u32);
        assert_eq!(record.budget_bytes.load(Relaxed), 8 << 20);
    }

    // 20 MiB of one family and 200 KiB of another, in 8 MiB.
    let large = first.family::<[u64; 128]>("large").expect("a family");
    let small = first.family::<[u64; 8]>("small").expect("a family");
    let objects: Vec<_> =
        (0..OBJECTS).map(|n| large.alloc([n as u64 + 1; 128]).expect("an object")).collect();
    let few: Vec<_> = (0..3200).map(|n| small.alloc([n + 1; 8]).expect("an object")).collect();
    let of = |name: &str| families(record).into_iter().find(|(other, ..)| other == name);
    let full = |name: &str, used: usize| {
        of(name).is_some_and(|(_, bytes, pages, states)| {
            bytes == used as u64 && pages * 4096 >= bytes && states.iter().sum::<u64>() == pages
        })
    };
    until(record, "both families", || full("large", OBJECTS * 1024) && full("small", few.len() * 64));
    let (_, _, pages, [resident, parked, swapped]) = of("large").expect("just seen");
    assert!(swapped > pages / 2 && (resident + parked) * 4096 <= 8 << 20, "{:?}", of("large"));
    assert!(record.major_faults.load(Relaxed) + record.minor_faults.load(Relaxed) > 0);
    assert!(record.parts.load(Relaxed) > 0, "the heap's ranges are areas");
    assert_eq!(families(other), [], "of another heap nothing is told");

    // What is freed is gone from there as well.
    drop(objects);
    until(record, "no large objects", || of("large").is_some_and(|(_, used, ..)| used == 0));
    assert!(few.iter().enumerate().all(|(n, object)| object[7] == n as u64 + 1));
    drop(few);
    drop(first);
    until(record, "the end of the first heap", || record.phase.load(Acquire) == Phase::Free as u32);
    let third = Heap::builder().budget(8 << 20).build().expect("a heap");
    assert_eq!((record.heap.load(Relaxed), record.families.load(Relaxed)), (3, 0));
    drop((second, third));
}
