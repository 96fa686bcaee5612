#![expect(unsafe_code, reason = "transfers take addresses")]
//! Every kind of store on the same cases, and what each refuses.

use rustix::io::Errno;
use std::path::Path;
use store::{FaultPlan, FileOptions, OpenError, Store};
use sys::aio::{Aio, Completion, Direction, Piece};
use sys::maps::Reservation;

const PAGE: usize = 4096;
const SLOTS: u64 = 1024;
const DEPTH: u32 = 16;
/// A directory on a disk.
const DISK: &str = "/var/tmp";

fn options(dir: &str) -> FileOptions<'_> {
    FileOptions { dir: Path::new(dir), slots: SLOTS, page_size: PAGE }
}

fn on_threads() -> Store {
    Store::file(options(DISK), Aio::threads(DEPTH, 2, || ()).unwrap()).unwrap()
}

/// Runs `case` on every kind of store.
fn each(case: impl Fn(Store)) {
    match Aio::ring(DEPTH) {
        Ok(ring) => case(Store::file(options(DISK), ring).unwrap()),
        Err(error) => eprintln!("skipped: no io_uring: {error}"),
    }
    case(on_threads());
    case(Store::memory(SLOTS, PAGE).unwrap());
}

fn faulty(plan: &str) -> Store {
    Store::memory(SLOTS, PAGE).unwrap().with_faults(plan.parse::<FaultPlan>().unwrap())
}

/// Pages of our own; page `n` is full of `first + n`.
fn pages(count: usize, first: u8) -> Reservation {
    let memory = Reservation::new(count * PAGE).unwrap();
    for page in 0..count {
        // SAFETY: our own mapping.
        unsafe { ((memory.addr() + page * PAGE) as *mut u8).write_bytes(first + page as u8, PAGE) };
    }
    memory
}

fn content(memory: &Reservation, index: usize) -> Option<u8> {
    // SAFETY: our own mapping, and no transfer is under way.
    let bytes = unsafe { std::slice::from_raw_parts((memory.addr() + index * PAGE) as *const u8, PAGE) };
    bytes.iter().all(|byte| *byte == bytes[0]).then_some(bytes[0])
}

fn queue(store: &mut Store, direction: Direction, slot: u64, memory: &Reservation, token: u64) {
    let pieces: Vec<_> =
        (0..memory.len() / PAGE).map(|index| Piece::new(memory.addr() + index * PAGE, PAGE)).collect();
    // SAFETY: the tests take every completion before they drop store and memory.
    unsafe { store.queue(direction, slot, &pieces, token).unwrap() };
}

fn await_one(store: &mut Store) -> Completion {
    store.submit().unwrap();
    loop {
        if let Some(completion) = store.complete() {
            return completion;
        }
        store.wait().unwrap();
    }
}

fn write(store: &mut Store, slot: u64, memory: &Reservation) -> Result<usize, Errno> {
    queue(store, Direction::Write, slot, memory, 1);
    await_one(store).result
}

fn read(store: &mut Store, slot: u64, memory: &Reservation) -> Result<usize, Errno> {
    queue(store, Direction::Read, slot, memory, 2);
    await_one(store).result
}

#[test]
fn what_was_written_is_read() {
    each(|mut store| {
        let (from, to) = (pages(16, 1), pages(16, 0));
        assert_eq!(write(&mut store, SLOTS - 16, &from), Ok(16 * PAGE));
        assert_eq!(read(&mut store, SLOTS - 16, &to), Ok(16 * PAGE));
        assert!((0..16).all(|index| content(&to, index) == Some(1 + index as u8)));
        // One from the middle.
        let one = pages(1, 0);
        assert_eq!(read(&mut store, SLOTS - 9, &one), Ok(PAGE));
        assert_eq!((content(&one, 0), store.latched()), (Some(8), None));
    });
}

#[test]
fn all_room_can_be_used_and_comes_back() {
    each(|mut store| {
        let memory = pages(1, 7);
        let room = store.room();
        for slot in 0..room as u64 {
            queue(&mut store, Direction::Write, slot, &memory, slot);
        }
        assert_eq!(store.room(), 0);
        let mut tokens: Vec<_> = (0..room).map(|_| await_one(&mut store).token).collect();
        tokens.sort_unstable();
        assert_eq!(tokens, (0..room as u64).collect::<Vec<_>>());
        assert_eq!(store.room(), room);
        assert!(store.complete().is_none());
    });
}

#[test]
#[should_panic(expected = "slots 1023..1025 of 1024")]
fn slots_beyond_the_last_are_a_mistake() {
    queue(&mut Store::memory(SLOTS, PAGE).unwrap(), Direction::Write, SLOTS - 1, &pages(2, 0), 1);
}

#[test]
fn punched_slots_give_their_blocks_back() {
    let mut store = on_threads();
    // The file has no name, but this process has it open.
    let blocks = || {
        let ours = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        ours.filter_map(|fd| {
            let path = std::fs::read_link(fd.path()).ok()?;
            let mine = path.starts_with(DISK) && path.to_string_lossy().ends_with("(deleted)");
            mine.then(|| std::fs::metadata(fd.path()).ok()).flatten()
        })
        .map(|facts| std::os::unix::fs::MetadataExt::blocks(&facts))
        .collect::<Vec<_>>()
    };
    assert!(blocks().contains(&0), "an empty store takes room: {:?}", blocks());
    let memory = pages(64, 3);
    // A size that no other test's file has, to know it among them.
    for slot in [100, 164, 228, 292] {
        assert_eq!(write(&mut store, slot, &memory), Ok(64 * PAGE));
    }
    let page_blocks = (PAGE / 512) as u64;
    assert!(blocks().contains(&(256 * page_blocks)), "{:?}", blocks());
    store.punch(110, 200).unwrap();
    assert!(blocks().contains(&(56 * page_blocks)), "{:?}", blocks());
    // The neighbours are untouched and the hole reads as zeros.
    let seen = pages(12, 50);
    assert_eq!(read(&mut store, 100, &seen), Ok(12 * PAGE));
    assert_eq!((content(&seen, 9), content(&seen, 10)), (Some(12), Some(0)));
}

#[test]
fn a_memory_store_forgets_what_is_punched() {
    let mut store = Store::memory(SLOTS, PAGE).unwrap();
    assert_eq!(write(&mut store, 4, &pages(3, 1)), Ok(3 * PAGE));
    store.punch(5, 1).unwrap();
    let seen = pages(3, 9);
    assert_eq!(read(&mut store, 4, &seen), Ok(3 * PAGE));
    assert_eq!([0, 1, 2].map(|index| content(&seen, index)), [Some(1), Some(0), Some(3)]);
}

#[test]
fn the_first_failed_write_latches_and_reads_go_on() {
    for (plan, error) in [("write-error@3", Errno::IO), ("full@3", Errno::NOSPC)] {
        let mut store = faulty(plan);
        let memory = pages(1, 5);
        assert_eq!(write(&mut store, 0, &memory), Ok(PAGE));
        assert_eq!(write(&mut store, 1, &memory), Ok(PAGE));
        assert_eq!(store.latched(), None);
        assert_eq!(write(&mut store, 2, &memory), Err(error));
        assert_eq!(store.latched(), Some(error));
        assert_eq!(write(&mut store, 0, &memory), Err(error));
        let seen = pages(1, 0);
        assert_eq!(read(&mut store, 1, &seen), Ok(PAGE));
        assert_eq!((content(&seen, 0), store.latched()), (Some(5), Some(error)));
    }
}

#[test]
fn a_failed_read_latches_nothing() {
    let mut store = faulty("read-error@2,corrupt-read@3");
    let (memory, seen) = (pages(1, 5), pages(1, 0));
    assert_eq!(write(&mut store, 0, &memory), Ok(PAGE));
    assert_eq!((read(&mut store, 0, &seen), content(&seen, 0)), (Ok(PAGE), Some(5)));
    assert_eq!(read(&mut store, 0, &seen), Err(Errno::IO));
    assert_eq!((read(&mut store, 0, &seen), content(&seen, 0)), (Ok(PAGE), None));
    assert_eq!((read(&mut store, 0, &seen), content(&seen, 0)), (Ok(PAGE), Some(5)));
    assert_eq!((write(&mut store, 1, &memory), store.latched()), (Ok(PAGE), None));
}

/// A real refusal of the kernel's, in place of a planned one.
#[test]
fn a_write_that_the_kernel_refuses_latches() {
    let mut store = on_threads();
    let memory = pages(1, 5);
    assert_eq!(write(&mut store, 0, &memory), Ok(PAGE));
    let crooked = Piece::new(memory.addr() + 1, PAGE - 1);
    if !store.direct() {
        eprintln!("skipped: {DISK} has no O_DIRECT to refuse a crooked write");
        return;
    }
    // SAFETY: the completion is taken below.
    unsafe { store.queue(Direction::Write, 1, &[crooked], 9).unwrap() };
    assert_eq!(await_one(&mut store).result, Err(Errno::INVAL));
    assert_eq!(store.latched(), Some(Errno::INVAL));
    assert_eq!(read(&mut store, 0, &pages(1, 0)), Ok(PAGE));
}

fn refusal(dir: &str) -> OpenError {
    Store::file(options(dir), Aio::threads(1, 1, || ()).unwrap()).map(|_| ()).expect_err(dir)
}

#[test]
fn places_that_cannot_hold_a_store_are_refused_with_advice() {
    let dir = |name: &str| Path::new(name).to_owned();
    assert_eq!(refusal("/dev/shm"), OpenError::InMemory(dir("/dev/shm")));
    assert!(refusal("/dev/shm").to_string().contains("choose a directory on a disk"));
    assert_eq!(refusal("/var/tmp/no/such"), OpenError::Missing(dir("/var/tmp/no/such")));
    assert!(refusal("/var/tmp/no/such").to_string().contains("create it"));
    assert_eq!(refusal("/etc/passwd"), OpenError::NotADirectory(dir("/etc/passwd")));
    // Nobody may make files there, root included.
    assert_eq!(refusal("/sys"), OpenError::NotWritable(dir("/sys")));
}

#[test]
fn a_swap_file_has_no_name() {
    let dir = tempfile::tempdir_in(DISK).unwrap();
    let mut store =
        Store::file(options(dir.path().to_str().unwrap()), Aio::threads(1, 1, || ()).unwrap()).unwrap();
    assert_eq!(write(&mut store, 0, &pages(1, 1)), Ok(PAGE));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
