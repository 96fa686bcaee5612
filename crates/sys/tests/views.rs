#![expect(unsafe_code, reason = "page faults, on purpose")]
//! What paging shared memory relies on: pages are filled past the views of it, and mapped
//! into, taken from and dropped under them. As the other kernel tests, these say what they
//! skip, and fail under CI where the kernel must offer it.

use rustix::fs::{Mode, OFlags};
use std::env;
use std::ptr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use sys::aio::{Aio, Direction, Piece};
use sys::maps;
use sys::uffd::{Access, Cause, Event, EventBuffer, Features, Register, Source, Stop, Uffd, Waking, probe};
use sys::views::{self, Rights, ViewedMemory};

const PAGE: usize = 4096;
const PAGES: usize = 16;
const LONG: Duration = Duration::from_secs(20);

/// Shared memory, mapped once where nothing is registered and twice as a view.
struct Views {
    uffd: Uffd,
    alias: usize,
    view: usize,
    other: usize,
    _memory: ViewedMemory,
}

impl Views {
    /// None where the test cannot run.
    fn new(rights: Rights) -> Option<Self> {
        let want = Features::MISSING_SHMEM | Features::MINOR_SHMEM | Features::POISON | Features::THREAD_ID;
        let refusal = match probe(Source::Device) {
            Ok(offered) if offered.contains(want) => String::new(),
            Ok(offered) => format!("this kernel has not {:?}", want.difference(offered)),
            Err(error) => format!("/dev/userfaultfd: {error}"),
        };
        if !refusal.is_empty() {
            assert!(env::var_os("CI").is_none(), "under CI the kernel must offer this: {refusal}");
            eprintln!("SKIPPED: {refusal}");
            return None;
        }
        let (uffd, _) = Uffd::open(Source::Device, want).unwrap();
        let memory = ViewedMemory::new(c"test", (PAGES * PAGE) as u64).unwrap();
        let map = |rights| memory.map(0, PAGES * PAGE, rights).unwrap();
        let (alias, view, other) = (map(Rights::ReadWrite), map(rights), map(rights));
        for addr in [view, other] {
            // SAFETY: the tests serve what they touch.
            unsafe { uffd.register(addr, PAGES * PAGE, Register::MissingAndMinor).unwrap() };
        }
        Some(Self { uffd, alias, view, other, _memory: memory })
    }

    /// The fault that somebody waits for: address, access and cause.
    fn fault(&self) -> (usize, Access, Cause) {
        let timeout = rustix::time::Timespec { tv_sec: LONG.as_secs() as i64, tv_nsec: 0 };
        let ready = rustix::event::poll(
            &mut [rustix::event::PollFd::new(&self.uffd, rustix::event::PollFlags::IN)],
            Some(&timeout),
        );
        assert_eq!(ready, Ok(1), "nothing was announced in {LONG:?}");
        let mut events = EventBuffer::new();
        assert_eq!(self.uffd.read_events(&mut events), Ok(1));
        let Event::Fault { addr, access, cause, .. } = events.take(0) else { panic!("not a fault") };
        (addr, access, cause)
    }

    /// Maps pages that are there.
    fn resume(&self, addr: usize, pages: usize) -> (usize, Option<Stop>) {
        // SAFETY: the test knows the bytes.
        let mapped = unsafe { self.uffd.resume(addr, pages * PAGE, Waking::Now) };
        (mapped.done / PAGE, mapped.stop)
    }
}

fn poke(addr: usize, value: u64) {
    // SAFETY: the tests pass addresses of their own mappings.
    unsafe { ptr::write_volatile(addr as *mut u64, value) }
}

fn peek(addr: usize) -> u64 {
    // SAFETY: as above.
    unsafe { ptr::read_volatile(addr as *const u64) }
}

fn start<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> mpsc::Receiver<T> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || drop(sender.send(work())));
    receiver
}

#[test]
fn a_page_that_was_read_through_the_alias_is_mapped_into_views() {
    let Some(views) = Views::new(Rights::ReadWrite) else { return };
    let file = tempfile::tempfile_in("/var/tmp").unwrap();
    let bytes: Vec<u8> = (0..PAGES * PAGE).map(|n| (n / 8 % 251) as u8).collect();
    rustix::io::pwrite(&file, &bytes, 0).unwrap();
    rustix::fs::fsync(&file).unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let direct = rustix::fs::open(&*path, OFlags::RDWR | OFlags::DIRECT, Mode::empty()).unwrap();
    let view = views.view;
    let toucher = start(move || peek(view + 3 * PAGE));
    assert_eq!(views.fault(), (view + 3 * PAGE, Access::Read, Cause::Missing));
    let mut aio = Aio::ring(4).unwrap();
    let pieces = [Piece::new(views.alias, PAGES * PAGE)];
    // SAFETY: nobody else touches the alias meanwhile.
    unsafe { aio.queue(Direction::Read, std::os::fd::AsFd::as_fd(&direct), 0, &pieces, 1).unwrap() };
    aio.submit().unwrap();
    aio.wait().unwrap();
    assert_eq!(aio.complete().unwrap().result, Ok(PAGES * PAGE));
    // What is there is still not mapped without our leave.
    let second = start(move || peek(view + 4 * PAGE));
    assert_eq!(views.fault(), (view + 4 * PAGE, Access::Read, Cause::Minor));
    assert_eq!(views.resume(view + 2 * PAGE, 3), (3, None));
    let word = |page: usize| u64::from_ne_bytes(bytes[page * PAGE..][..8].try_into().unwrap());
    assert_eq!(toucher.recv_timeout(LONG), Ok(word(3)));
    assert_eq!(second.recv_timeout(LONG), Ok(word(4)));
    // Written in one view, seen in the other and through the alias.
    poke(view + 2 * PAGE, 77);
    assert_eq!(views.resume(views.other + 2 * PAGE, 1), (1, None));
    assert_eq!((peek(views.other + 2 * PAGE), peek(views.alias + 2 * PAGE)), (77, 77));
    assert_eq!(views.resume(view + PAGE, 3), (1, Some(Stop::Again)), "some is done");
    assert_eq!(views.resume(view + 2 * PAGE, 3), (0, Some(Stop::Exists)));
    // SAFETY: as above; a write of what the views have written.
    unsafe { aio.queue(Direction::Write, std::os::fd::AsFd::as_fd(&direct), 0, &pieces, 2).unwrap() };
    aio.submit().unwrap();
    aio.wait().unwrap();
    assert_eq!(aio.complete().unwrap().result, Ok(PAGES * PAGE));
    let mut written = [0; 8];
    rustix::io::pread(&file, &mut written, 2 * PAGE as u64).unwrap();
    assert_eq!(u64::from_ne_bytes(written), 77);
}

#[test]
fn a_page_taken_from_its_views_stays_and_its_touch_is_minor() {
    let Some(views) = Views::new(Rights::ReadWrite) else { return };
    poke(views.alias + PAGE, 5);
    assert_eq!(views.resume(views.view + PAGE, 1), (1, None));
    poke(views.view + PAGE, 6);
    // By who serves the faults: nothing is announced, so nothing waits.
    maps::dont_need(views.view, PAGES * PAGE).unwrap();
    assert_eq!(peek(views.alias + PAGE), 6);
    let view = views.view;
    let toucher = start(move || poke(view + PAGE, 7));
    assert_eq!(views.fault(), (view + PAGE, Access::Write, Cause::Minor));
    assert_eq!(views.resume(view + PAGE, 1), (1, None));
    toucher.recv_timeout(LONG).unwrap();
    assert_eq!(peek(views.alias + PAGE), 7);
}

#[test]
fn a_page_that_was_dropped_is_missing_everywhere() {
    let Some(views) = Views::new(Rights::ReadWrite) else { return };
    poke(views.alias, 1);
    poke(views.alias + PAGE, 2);
    assert_eq!(views.resume(views.view, 2), (2, None));
    // SAFETY: nobody wants the bytes.
    unsafe { views::remove(views.alias, PAGE).unwrap() };
    let view = views.view;
    let toucher = start(move || peek(view));
    assert_eq!(views.fault(), (view, Access::Read, Cause::Missing));
    assert_eq!(views.resume(view, 1), (0, Some(Stop::Absent)));
    poke(views.alias, 3);
    assert_eq!(views.resume(view, 1), (1, None));
    assert_eq!(toucher.recv_timeout(LONG), Ok(3));
    assert_eq!(peek(view + PAGE), 2);
}

#[test]
fn views_may_be_read_only_and_pages_poisoned() {
    let Some(views) = Views::new(Rights::Read) else { return };
    poke(views.alias, 9);
    assert_eq!(views.resume(views.view, 1), (1, None));
    assert_eq!(peek(views.view), 9);
    // SAFETY: nobody wants the bytes.
    unsafe {
        assert_eq!(views.uffd.poison(views.view, PAGE), Err(rustix::io::Errno::EXIST));
        assert_eq!(views.uffd.poison(views.view + PAGE, PAGE), Ok(()));
    }
    // A system call is told in place of a signal.
    let (read, write) = rustix::pipe::pipe().unwrap();
    // SAFETY: a page of the test's own.
    let poisoned = unsafe { core::slice::from_raw_parts((views.view + PAGE) as *const u8, 1) };
    assert_eq!(rustix::io::write(&write, poisoned), Err(rustix::io::Errno::FAULT));
    drop(read);
    // Discarded, it is missing again.
    maps::dont_need(views.view + PAGE, PAGE).unwrap();
    let view = views.view;
    let toucher = start(move || peek(view + PAGE));
    assert_eq!(views.fault(), (view + PAGE, Access::Read, Cause::Missing));
    poke(views.alias + PAGE, 4);
    assert_eq!(views.resume(view + PAGE, 1), (1, None));
    assert_eq!(toucher.recv_timeout(LONG), Ok(4));
}
