#![expect(unsafe_code, reason = "transfers take addresses")]
//! Both kinds of transfers, on the same cases.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use sys::aio::{Aio, Completion, Direction, MAX_PIECES, Piece, QueueFull};
use sys::maps::Reservation;

const PAGE: usize = 4096;
const DEPTH: u32 = 8;

/// Runs `case` over a ring and over threads, each a new one.
fn both(case: impl Fn(Aio)) {
    match Aio::ring(DEPTH) {
        Ok(ring) => case(ring),
        // A container may forbid it; the threads are for that.
        Err(error @ (Errno::NOSYS | Errno::PERM)) => eprintln!("skipped: no io_uring: {error}"),
        Err(error) => panic!("no io_uring: {error}"),
    }
    case(Aio::threads(DEPTH, 2, || ()).unwrap());
}

fn file() -> OwnedFd {
    rustix::fs::memfd_create("aio", MemfdFlags::CLOEXEC).unwrap()
}

/// A file that bypasses the page cache.
fn direct_file() -> OwnedFd {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::DIRECT | OFlags::CLOEXEC;
    rustix::fs::open("/var/tmp", flags, Mode::RUSR | Mode::WUSR).unwrap()
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

/// What page `index` is full of; none if it is not full of one thing.
fn content(memory: &Reservation, index: usize) -> Option<u8> {
    // SAFETY: our own mapping, and no transfer is under way.
    let bytes = unsafe { std::slice::from_raw_parts((memory.addr() + index * PAGE) as *const u8, PAGE) };
    bytes.iter().all(|byte| *byte == bytes[0]).then_some(bytes[0])
}

fn page(memory: &Reservation, index: usize) -> Piece {
    Piece::new(memory.addr() + index * PAGE, PAGE)
}

fn queue(
    aio: &mut Aio,
    direction: Direction,
    fd: &OwnedFd,
    offset: usize,
    pieces: &[Piece],
    token: u64,
) -> Result<(), QueueFull> {
    // SAFETY: the tests take every completion before they drop file and memory.
    unsafe { aio.queue(direction, fd.as_fd(), offset as u64, pieces, token) }
}

fn await_one(aio: &mut Aio) -> Completion {
    loop {
        if let Some(completion) = aio.complete() {
            return completion;
        }
        aio.wait().unwrap();
    }
}

fn transfer(
    aio: &mut Aio,
    direction: Direction,
    fd: &OwnedFd,
    offset: usize,
    pieces: &[Piece],
) -> Result<usize, Errno> {
    queue(aio, direction, fd, offset, pieces, 77).unwrap();
    aio.submit().unwrap();
    let completion = await_one(aio);
    assert_eq!(completion.token, 77);
    completion.result
}

#[test]
fn scattered_pieces_are_consecutive_in_the_file() {
    both(|mut aio| {
        let file = direct_file();
        let (from, to) = (pages(MAX_PIECES, 1), pages(MAX_PIECES, 0));
        let backwards: Vec<_> = (0..MAX_PIECES).rev().map(|index| page(&from, index)).collect();
        let len = MAX_PIECES * PAGE;
        assert_eq!(transfer(&mut aio, Direction::Write, &file, PAGE, &backwards), Ok(len));
        let one = Piece::new(to.addr(), len);
        assert_eq!(transfer(&mut aio, Direction::Read, &file, PAGE, &[one]), Ok(len));
        for index in 0..MAX_PIECES {
            assert_eq!(content(&to, index), content(&from, MAX_PIECES - 1 - index), "page {index}");
        }
    });
}

#[test]
fn every_transfer_ends_once_whatever_the_order() {
    both(|mut aio| {
        let file = direct_file();
        let (from, to) = (pages(32, 1), pages(32, 100));
        for (direction, memory) in [(Direction::Write, &from), (Direction::Read, &to)] {
            let (mut next, mut ended) = (0, BTreeMap::new());
            while ended.len() < 32 {
                while next < 32 && aio.room() > 0 {
                    let slot = next * 7 % 32;
                    queue(&mut aio, direction, &file, slot * PAGE, &[page(memory, slot)], slot as u64)
                        .unwrap();
                    next += 1;
                }
                aio.submit().unwrap();
                let completion = await_one(&mut aio);
                assert_eq!(ended.insert(completion.token, completion.result), None);
            }
            assert!(ended.values().all(|result| *result == Ok(PAGE)), "{ended:?}");
        }
        assert!((0..32).all(|index| content(&to, index) == content(&from, index)));
        assert_eq!(aio.room(), DEPTH as usize);
        assert!(aio.complete().is_none());
    });
}

#[test]
fn a_full_queue_says_so_and_has_room_again() {
    both(|mut aio| {
        let (file, memory) = (file(), pages(1, 9));
        let piece = [page(&memory, 0)];
        let one = |aio: &mut Aio, token| queue(aio, Direction::Write, &file, 0, &piece, token);
        (0..u64::from(DEPTH)).for_each(|token| one(&mut aio, token).unwrap());
        assert_eq!((aio.room(), one(&mut aio, 99)), (0, Err(QueueFull)));
        aio.submit().unwrap();
        await_one(&mut aio);
        assert_eq!(aio.room(), 1);
        assert_eq!(one(&mut aio, 100), Ok(()));
        aio.submit().unwrap();
        (0..DEPTH).for_each(|_| assert_eq!(await_one(&mut aio).result, Ok(PAGE)));
    });
}

#[test]
fn the_end_of_the_file_is_an_error_not_a_short_read() {
    both(|mut aio| {
        let (file, memory) = (file(), pages(4, 1));
        let (first, all) = (Piece::new(memory.addr(), 3 * PAGE / 2), Piece::new(memory.addr(), 4 * PAGE));
        assert_eq!(transfer(&mut aio, Direction::Write, &file, 0, &[first]), Ok(3 * PAGE / 2));
        assert_eq!(transfer(&mut aio, Direction::Read, &file, 0, &[all]), Err(Errno::IO));
        let two = [page(&memory, 0), page(&memory, 1)];
        assert_eq!(transfer(&mut aio, Direction::Read, &file, 0, &two), Err(Errno::IO));
        assert_eq!(transfer(&mut aio, Direction::Read, &file, 9 * PAGE, &[all]), Err(Errno::IO));
        // What there is can be read.
        assert_eq!(transfer(&mut aio, Direction::Read, &file, 0, &[first]), Ok(3 * PAGE / 2));
    });
}

/// A pipe holds 64 KiB, so larger transfers end short and are continued.
#[test]
fn short_transfers_are_continued() {
    let Ok(mut aio) = Aio::ring(DEPTH) else { return };
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let (from, to) = (pages(48, 1), pages(48, 60));
    let pieces = |memory| (0..48).map(|index| page(memory, index)).collect::<Vec<_>>();
    queue(&mut aio, Direction::Read, &reader, 0, &pieces(&to), 1).unwrap();
    queue(&mut aio, Direction::Write, &writer, 0, &pieces(&from), 2).unwrap();
    aio.submit().unwrap();
    let mut ended = [await_one(&mut aio), await_one(&mut aio)];
    ended.sort_by_key(|completion| completion.token);
    assert_eq!(ended.map(|completion| completion.result), [Ok(48 * PAGE); 2]);
    assert!((0..48).all(|index| content(&to, index) == content(&from, index)));
}

#[test]
fn the_kernels_errors_come_through() {
    both(|mut aio| {
        let memory = pages(1, 1);
        let read_only: OwnedFd = std::fs::File::open("/proc/self/exe").unwrap().into();
        let written = transfer(&mut aio, Direction::Write, &read_only, 0, &[page(&memory, 0)]);
        assert_eq!(written, Err(Errno::BADF));
        let full: OwnedFd = std::fs::File::options().write(true).open("/dev/full").unwrap().into();
        let written = transfer(&mut aio, Direction::Write, &full, 0, &[page(&memory, 0)]);
        assert_eq!(written, Err(Errno::NOSPC));
        // Nowhere near a block's boundary, past the page cache.
        let file = direct_file();
        let crooked = Piece::new(memory.addr() + 1, 100);
        assert_eq!(transfer(&mut aio, Direction::Write, &file, 1, &[crooked]), Err(Errno::INVAL));
    });
}

#[test]
fn the_descriptor_is_readable_once_something_has_ended() {
    both(|mut aio| {
        let (file, memory) = (direct_file(), pages(1, 1));
        for token in 0..100 {
            queue(&mut aio, Direction::Write, &file, 0, &[page(&memory, 0)], token).unwrap();
            aio.submit().unwrap();
            let completion = loop {
                // May be said once too often, never once too seldom.
                poll(&mut [PollFd::from_borrowed_fd(aio.as_fd(), PollFlags::IN)], None).unwrap();
                if let Some(completion) = aio.complete() {
                    break completion;
                }
            };
            assert_eq!((completion.token, completion.result), (token, Ok(PAGE)));
        }
    });
}

#[test]
fn waiting_for_nothing_does_not_wait() {
    both(|mut aio| aio.wait().unwrap());
}
