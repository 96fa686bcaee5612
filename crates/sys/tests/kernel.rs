#![expect(unsafe_code, reason = "page faults, on purpose")]
//! What this crate says of the kernel, asked of the kernel.
//!
//! Where the full userfaultfd is not to be had a test says so and passes, except
//! under CI, whose machines must offer it.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::env;
use std::os::fd::AsFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use sys::maps::{self, PageState, Pagemap, Reservation, Statm};
use sys::uffd::{
    Access, Cause, CopyFlags, Event, EventBuffer, Features, Protect, Register, Source, Stop, Transfer, Uffd,
    Waking, Witness, probe,
};

const PAGE: usize = 4096;
const LONG: Duration = Duration::from_secs(20);

/// The full userfaultfd with `want`, or none where the test cannot run.
fn open(want: Features) -> Option<Uffd> {
    let refusal = match probe(Source::Device) {
        Ok(offered) if offered.contains(want) => match Uffd::open(Source::Device, want) {
            Ok((uffd, _)) => return Some(uffd),
            Err(error) => format!("/dev/userfaultfd refuses {want:?}: {error}"),
        },
        Ok(offered) => format!("this kernel has not {:?}", want.difference(offered)),
        Err(error) => format!("/dev/userfaultfd: {error}"),
    };
    assert!(env::var_os("CI").is_none(), "under CI the kernel must offer this: {refusal}");
    eprintln!("skipped: {refusal}");
    None
}

/// Small pages of our own, which a test that forks beside this one does not share.
fn memory(pages: usize) -> Reservation {
    let memory = inherited_memory(pages);
    memory.dont_fork().unwrap();
    memory
}

/// Small pages that children get.
fn inherited_memory(pages: usize) -> Reservation {
    let memory = Reservation::new(pages * PAGE).unwrap();
    memory.no_huge_pages().unwrap();
    memory
}

/// Held by who forks, and by who must not hear of another test's fork.
static FORKING: Mutex<()> = Mutex::new(());

fn alone_in_forking() -> MutexGuard<'static, ()> {
    FORKING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every page of `memory` begins with its number and `tag`.
fn fill(memory: &Reservation, tag: u64) {
    for page in 0..memory.len() / PAGE {
        poke(memory.addr() + page * PAGE, tag + page as u64);
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

/// Waits until something is announced.
fn await_events(uffd: &Uffd) {
    let timeout = rustix::time::Timespec { tv_sec: LONG.as_secs() as i64, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(uffd, PollFlags::IN)], Some(&timeout)).unwrap();
    assert_eq!(ready, 1, "nothing was announced in {LONG:?}");
}

fn next_event(uffd: &Uffd) -> Event {
    await_events(uffd);
    let mut events = EventBuffer::new();
    assert_eq!(uffd.read_events(&mut events).unwrap(), 1);
    events.take(0)
}

/// `work` in a thread; its result must come in time, or the test fails instead of hanging.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    start(work).recv_timeout(LONG).expect("a call that must not wait is waiting")
}

fn start<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> mpsc::Receiver<T> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // The receiver is gone when the test has already failed.
        let _ = sender.send(work());
    });
    receiver
}

fn whole(pages: usize) -> Transfer {
    Transfer { done: pages * PAGE, stop: None }
}

fn stopped(pages: usize, stop: Stop) -> Transfer {
    Transfer { done: pages * PAGE, stop: Some(stop) }
}

/// A forked child that lives, without touching anything, until this is dropped.
struct Child {
    pid: libc::pid_t,
    _ends_it: Option<rustix::fd::OwnedFd>,
}

impl Child {
    fn fork() -> Self {
        let (stay, ends_it) = rustix::pipe::pipe().unwrap();
        Self::that(Some(ends_it), || {
            let _ = rustix::io::read(&stay, &mut [0]);
            0
        })
    }

    /// Ends with what `work` says, which must need no lock.
    fn that(ends_it: Option<rustix::fd::OwnedFd>, work: impl FnOnce() -> u8) -> Self {
        // SAFETY: the child makes system calls, and allocates, which it may with glibc.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork failed");
        if pid == 0 {
            drop(ends_it);
            let status = work();
            // SAFETY: leaves without running anything of the parent's.
            unsafe { libc::_exit(status.into()) }
        }
        Self { pid, _ends_it: ends_it }
    }

    /// How it ended, if it does within `patience`.
    fn status(&self, patience: Duration) -> Option<i32> {
        let start = Instant::now();
        let mut status = 0;
        // SAFETY: the kernel fills `status`; what is asked for is left to be waited for.
        while unsafe { libc::waitpid(self.pid, &raw mut status, libc::WNOHANG) } == 0 {
            if start.elapsed() > patience {
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        }
        Some(libc::WEXITSTATUS(status))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: our own child. Killed, for its end of the pipe may not be the only one:
        // a command that somebody starts beside this has them all until it runs.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, ptr::null_mut(), 0);
        }
    }
}

#[test]
fn a_missing_fault_is_answered_by_a_move() {
    let Some(uffd) = open(Features::MOVE | Features::THREAD_ID) else { return };
    let (arena, pool) = (memory(4), memory(1));
    fill(&pool, 0xabc);
    let addr = arena.addr();
    // SAFETY: served below.
    unsafe { uffd.register(addr, arena.len(), Register::Missing).unwrap() };
    let toucher = start(move || (peek(addr + 2 * PAGE), rustix::thread::gettid()));
    let Event::Fault { addr: at, access, cause, thread } = next_event(&uffd) else {
        panic!("not a fault");
    };
    assert_eq!((at, access, cause), (addr + 2 * PAGE, Access::Read, Cause::Missing));
    // SAFETY: both are ours, and the toucher waits for these bytes.
    let moved = unsafe { uffd.move_pages(at, pool.addr(), PAGE, Waking::Now, Witness::Source) };
    assert_eq!(moved, whole(1));
    let (value, tid) = toucher.recv_timeout(LONG).unwrap();
    assert_eq!((value, tid.as_raw_nonzero().get() as u32), (0xabc, thread));
    let pagemap = Pagemap::open().unwrap();
    assert_eq!(pagemap.present(pool.addr()).unwrap(), PageState::Absent);
    assert_eq!(pagemap.present(at).unwrap(), PageState::Present);
}

#[test]
fn copies_and_zero_pages_stop_at_what_is_there() {
    let Some(uffd) = open(Features::empty()) else { return };
    let (arena, bytes) = (memory(4), memory(4));
    fill(&bytes, 100);
    let (dst, src) = (arena.addr(), bytes.addr());
    // SAFETY: no other thread knows the range.
    unsafe {
        uffd.register(dst, arena.len(), Register::Missing).unwrap();
        assert_eq!(uffd.copy(dst + 2 * PAGE, src, PAGE, CopyFlags::empty()), whole(1));
        assert_eq!(uffd.copy(dst + 2 * PAGE, src, PAGE, CopyFlags::empty()), stopped(0, Stop::Exists));
        // Some is done: the kernel says how much, and "again" in place of the reason.
        assert_eq!(uffd.copy(dst, src, 4 * PAGE, CopyFlags::empty()), stopped(2, Stop::Again));
        assert_eq!(uffd.zero_page(dst + 2 * PAGE, PAGE), stopped(0, Stop::Exists));
        assert_eq!(uffd.zero_page(dst + 3 * PAGE, PAGE), whole(1));
        assert_eq!(uffd.copy(dst + 1, src, PAGE, CopyFlags::empty()), stopped(0, Stop::Invalid));
    }
    assert_eq!((peek(dst), peek(dst + PAGE), peek(dst + 2 * PAGE), peek(dst + 3 * PAGE)), (100, 101, 100, 0));
    uffd.wake(dst, 4 * PAGE).unwrap();
}

#[test]
fn a_move_stops_at_a_hole_and_says_how_far_it_came() {
    let Some(uffd) = open(Features::MOVE) else { return };
    let (arena, pool) = (memory(4), memory(4));
    fill(&pool, 7);
    maps::dont_need(pool.addr() + 2 * PAGE, PAGE).unwrap();
    let (dst, src) = (arena.addr(), pool.addr());
    // SAFETY: no other thread knows the ranges.
    unsafe {
        uffd.register(dst, arena.len(), Register::Missing).unwrap();
        assert_eq!(
            uffd.move_pages(dst, src, 4 * PAGE, Waking::Now, Witness::Destination),
            stopped(2, Stop::Absent)
        );
        assert_eq!(
            uffd.move_pages(dst + 3 * PAGE, src + 3 * PAGE, PAGE, Waking::Now, Witness::Source),
            whole(1)
        );
        poke(src, 1);
        assert_eq!(uffd.move_pages(dst, src, PAGE, Waking::Now, Witness::Source), stopped(0, Stop::Exists));
    }
    assert_eq!((peek(dst), peek(dst + PAGE), peek(dst + 3 * PAGE)), (7, 8, 10));
}

#[test]
fn a_page_shared_by_fork_is_busy_until_it_is_written() {
    let Some(uffd) = open(Features::MOVE) else { return };
    let _alone = alone_in_forking();
    let (arena, pool) = (inherited_memory(1), memory(1));
    fill(&arena, 5);
    // SAFETY: no other thread knows the ranges.
    unsafe { uffd.register(pool.addr(), PAGE, Register::WriteProtect).unwrap() };
    let child = Child::fork();
    let evict = || {
        // SAFETY: as above.
        unsafe { uffd.move_pages(pool.addr(), arena.addr(), PAGE, Waking::Now, Witness::Source) }
    };
    assert_eq!(evict(), stopped(0, Stop::Busy));
    maps::populate_write(arena.addr(), PAGE).unwrap();
    assert_eq!(evict(), whole(1));
    assert_eq!(peek(pool.addr()), 5);
    drop(child);
}

#[test]
fn what_is_absent_reads_as_zeros_without_its_userfaultfd_unless_that_is_kept_open() {
    if open(Features::empty()).is_none() {
        return;
    }
    let _alone = alone_in_forking();
    let touch = |kept: bool| {
        Child::that(None, || {
            let (Some(uffd), memory) = (open(Features::empty()), memory(1)) else { return 2 };
            // SAFETY: the memory is this test's own.
            unsafe { uffd.register(memory.addr(), PAGE, Register::Missing).unwrap() };
            if kept {
                sys::anchor::keep_open(&[uffd.as_fd()]).unwrap();
            }
            // All descriptors go, as if their process had been killed.
            // SAFETY: nothing is used of them any more.
            unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
            std::mem::forget(uffd);
            u8::from(peek(memory.addr()) != 0)
        })
    };
    assert_eq!(touch(false).status(LONG), Some(0), "a page without its userfaultfd is not zeros");
    assert_eq!(touch(true).status(Duration::from_millis(300)), None, "a page was read that nobody served");
}

#[test]
fn a_write_to_a_protected_page_waits() {
    let Some(uffd) = open(Features::PAGEFAULT_FLAG_WP) else { return };
    let arena = memory(1);
    fill(&arena, 5);
    let addr = arena.addr();
    // SAFETY: served below.
    unsafe {
        uffd.register(addr, PAGE, Register::MissingAndWriteProtect).unwrap();
        uffd.write_protect(addr, PAGE, Protect::On).unwrap();
    }
    let writer = start(move || poke(addr, 6));
    let event = next_event(&uffd);
    assert!(
        matches!(event, Event::Fault { access: Access::Write, cause: Cause::Protected, thread: 0, .. }),
        "{event:?}"
    );
    assert_eq!(peek(addr), 5);
    // SAFETY: lets the writer go on.
    unsafe { uffd.write_protect(addr, PAGE, Protect::Off).unwrap() };
    writer.recv_timeout(LONG).unwrap();
    assert_eq!(peek(addr), 6);
}

#[test]
fn discards_moves_and_unmaps_are_announced_and_wait_to_be_heard() {
    let Some(uffd) = open(Features::EVENT_REMOVE | Features::EVENT_UNMAP | Features::EVENT_REMAP) else {
        return;
    };
    let (arena, doomed, moving, elsewhere) = (memory(8), memory(1), memory(1), memory(1));
    let (addr, gone, from, to) = (arena.addr(), doomed.addr(), moving.addr(), elsewhere.addr());
    for range in [&arena, &doomed, &moving] {
        // SAFETY: no absent page is touched.
        unsafe { uffd.register(range.addr(), range.len(), Register::Missing).unwrap() };
    }

    let discard = start(move || maps::dont_need(addr + PAGE, PAGE));
    await_events(&uffd);
    // SAFETY: the page is absent; the announcement forbids it all the same.
    let early = unsafe { uffd.zero_page(addr, PAGE) };
    assert_eq!(early, stopped(0, Stop::Again));
    assert!(discard.try_recv().is_err(), "the discard did not wait");
    let event = next_event(&uffd);
    assert!(
        matches!(event, Event::Remove { start, end } if (start, end) == (addr + PAGE, addr + 2 * PAGE)),
        "{event:?}"
    );
    discard.recv_timeout(LONG).unwrap().unwrap();

    let unmap = start(move || drop(doomed));
    let event = next_event(&uffd);
    assert!(matches!(event, Event::Unmap { start, end } if (start, end) == (gone, gone + PAGE)), "{event:?}");
    unmap.recv_timeout(LONG).unwrap();

    // Its addresses are anybody's afterwards, so it must not unmap them again.
    std::mem::forget(moving);
    let remap = start(move || {
        let flags = rustix::mm::MremapFlags::MAYMOVE;
        // SAFETY: both ranges are the test's and nobody uses them.
        unsafe {
            rustix::mm::mremap_fixed(from as *mut _, PAGE, PAGE, flags, to as *mut _).map(|at| at as usize)
        }
    });
    let event = next_event(&uffd);
    assert!(
        matches!(event, Event::Remap { from: left, to: at, len } if (left, at, len) == (from, to, PAGE)),
        "{event:?}"
    );
    // The place that was left is announced as unmapped.
    let event = next_event(&uffd);
    assert!(matches!(event, Event::Unmap { start, .. } if start == from), "{event:?}");
    assert_eq!(remap.recv_timeout(LONG).unwrap().unwrap(), to);
    // Or the drops would wait for this thread.
    drop(uffd);
}

#[test]
fn a_fork_event_carries_the_child_once() {
    let Some(uffd) = open(Features::EVENT_FORK) else { return };
    let _alone = alone_in_forking();
    let arena = inherited_memory(1);
    // SAFETY: nobody touches the range.
    unsafe { uffd.register(arena.addr(), PAGE, Register::Missing).unwrap() };
    let forker = start(Child::fork);
    await_events(&uffd);
    let mut events = EventBuffer::new();
    assert_eq!(uffd.read_events(&mut events).unwrap(), 1);
    let Event::Fork(childs) = events.take(0) else { panic!("not a fork") };
    assert!(matches!(events.take(0), Event::Unknown(_)));
    let child = forker.recv_timeout(LONG).unwrap();
    let bytes = memory(1);
    // SAFETY: a page of the child's that the child does not use.
    let copied = unsafe { childs.copy(arena.addr(), bytes.addr(), PAGE, CopyFlags::empty()) };
    assert_eq!(copied, whole(1));
    drop(child);
    // SAFETY: as above.
    let late = unsafe { childs.copy(arena.addr(), bytes.addr(), PAGE, CopyFlags::empty()) };
    assert_eq!(late, stopped(0, Stop::Gone));
}

/// A copy puts bytes where a touch was to be SIGBUS: who poisons must remember it.
#[test]
fn poison_stops_moves_but_not_copies() {
    let Some(uffd) = open(Features::POISON | Features::MOVE) else { return };
    let (arena, bytes) = (memory(1), memory(1));
    fill(&bytes, 5);
    let (dst, src) = (arena.addr(), bytes.addr());
    // SAFETY: nobody touches the range before it has bytes.
    unsafe {
        uffd.register(dst, PAGE, Register::Missing).unwrap();
        uffd.poison(dst, PAGE).unwrap();
        assert_eq!(uffd.poison(dst, PAGE), Err(Errno::EXIST));
        assert_eq!(uffd.move_pages(dst, src, PAGE, Waking::Now, Witness::Source), stopped(0, Stop::Exists));
        assert_eq!(uffd.zero_page(dst, PAGE), stopped(0, Stop::Exists));
        assert_eq!(uffd.copy(dst, src, PAGE, CopyFlags::empty()), whole(1));
    }
    assert_eq!(peek(dst), 5);
}

#[test]
fn an_unregistered_page_reads_as_zeros() {
    let Some(uffd) = open(Features::empty()) else { return };
    let arena = memory(1);
    let addr = arena.addr();
    // SAFETY: nobody has bytes there.
    unsafe {
        uffd.register(addr, PAGE, Register::Missing).unwrap();
        uffd.unregister(addr, PAGE).unwrap();
    }
    assert_eq!(in_time(move || peek(addr)), 0);
}

#[test]
fn what_no_kernel_has_is_refused() {
    if open(Features::empty()).is_none() {
        return;
    }
    let unheard_of = Features::from_bits_retain(1 << 60);
    assert_eq!(Uffd::open(Source::Device, unheard_of).map(|_| ()), Err(Errno::INVAL));
}

/// Linux 6.18 loses count of pages that it moves while compaction migrates them.
#[test]
fn no_page_is_lost_that_is_moved_under_compaction() {
    const PAGES: usize = 64;
    const ROUNDS: usize = 20_000;
    // The arena's pages lie scattered between others, so that compaction wants them moved.
    let others = memory(128 << 8);
    fill(&others, 0);
    for page in (0..128 << 8).step_by(2) {
        maps::dont_need(others.addr() + page * PAGE, PAGE).unwrap();
    }
    let Some(a) = open(Features::MOVE) else { return };
    let Some(b) = open(Features::MOVE | Features::PAGEFAULT_FLAG_WP) else { return };
    let (arena, pool) = (memory(PAGES), memory(PAGES));
    let (in_arena, in_pool, len) = (arena.addr(), pool.addr(), PAGES * PAGE);
    fill(&arena, 0);
    // SAFETY: what the writer touches comes back in every round; the pool reports no
    // absent pages, and nothing in it is protected.
    unsafe {
        a.register(in_arena, len, Register::Missing).unwrap();
        b.register(in_pool, len, Register::WriteProtect).unwrap();
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = [0u64; PAGES];
            while !done.load(Ordering::Relaxed) {
                for (page, written) in written.iter_mut().enumerate() {
                    let at = in_arena + page * PAGE + 8;
                    assert_eq!(peek(at), *written, "page {page}");
                    *written += 1;
                    poke(at, *written);
                }
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if let Err(error) = std::fs::write("/proc/sys/vm/compact_memory", "1") {
                    eprintln!("memory is not compacted meanwhile: {error}");
                    break;
                }
            }
        });
        let mut outcome = Ok(());
        for round in 0..ROUNDS {
            // SAFETY: the writer expects every byte where it left it.
            let out = unsafe { b.move_pages(in_pool, in_arena, len, Waking::Now, Witness::Destination) };
            // SAFETY: as above.
            let back = unsafe { a.move_pages(in_arena, in_pool, len, Waking::Now, Witness::Source) };
            if (out, back) != (whole(PAGES), whole(PAGES)) {
                outcome = Err((round, out, back));
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        // SAFETY: whatever is still away stays so: the writer is to see zeros and fail.
        let _ = unsafe { a.unregister(in_arena, len) };
        assert_eq!(outcome, Ok(()), "a move did not move all");
        writer.join().unwrap();
    });
}

/// The engine's layout: the arena's userfaultfd announces changes of the address space,
/// the pool's does not, and serves nothing but as a destination of moves.
#[test]
fn two_userfaultfds_move_pages_between_arena_and_pool() {
    let announced = Features::EVENT_REMOVE | Features::EVENT_UNMAP | Features::EVENT_REMAP;
    let Some(a) = open(Features::MOVE | announced) else { return };
    let Some(b) = open(Features::MOVE | Features::PAGEFAULT_FLAG_WP) else { return };
    let (arena, pool) = (memory(64), memory(64));
    let (in_arena, in_pool, len) = (arena.addr(), pool.addr(), 64 * PAGE);
    fill(&arena, 1000);
    // SAFETY: no absent page of the arena is touched but where that is served below;
    // the pool reports no absent pages, and nothing in it is protected.
    unsafe {
        a.register(in_arena, len, Register::Missing).unwrap();
        b.register(in_pool, len, Register::WriteProtect).unwrap();
    }
    // SAFETY: both ranges are this test's.
    let out = || unsafe { b.move_pages(in_pool, in_arena, len, Waking::Now, Witness::Destination) };
    // SAFETY: as above.
    let back = || unsafe { a.move_pages(in_arena, in_pool, len, Waking::Now, Witness::Source) };
    // SAFETY: as above.
    let wrong = unsafe { a.move_pages(in_pool, in_arena, len, Waking::Now, Witness::Destination) };
    assert_eq!(wrong, stopped(0, Stop::Invalid), "the destination must be the userfaultfd's own");

    assert_eq!(out(), whole(64), "arena to pool through the pool's");
    assert_eq!((peek(in_pool), peek(in_pool + 63 * PAGE)), (1000, 1063));
    assert_eq!(back(), whole(64), "pool to arena through the arena's");
    assert_eq!((peek(in_arena), peek(in_arena + 63 * PAGE)), (1000, 1063));

    // The pool's holes are the kernel's business: a touch of one waits for nobody.
    in_time(move || maps::populate_write(in_pool, len)).unwrap();
    in_time(move || maps::dont_need(in_pool, len)).unwrap();
    assert_eq!(in_time(move || peek(in_pool)), 0);
    in_time(move || maps::dont_need(in_pool, len)).unwrap();

    // While a discard in the arena waits to be heard, moves into the arena are refused.
    // Moves out of it are not, nor is the pool disturbed.
    let discard = start(move || maps::dont_need(in_arena, PAGE));
    await_events(&a);
    in_time(move || maps::populate_write(in_pool, PAGE)).unwrap();
    // SAFETY: as above.
    let refused = unsafe { a.move_pages(in_arena, in_pool, PAGE, Waking::Now, Witness::Source) };
    assert_eq!(refused, stopped(0, Stop::Again));
    in_time(move || maps::dont_need(in_pool, len)).unwrap();
    assert_eq!(out(), whole(64), "out of the arena while a discard of it is announced");
    assert!(discard.try_recv().is_err(), "the discard did not wait");
    assert!(matches!(next_event(&a), Event::Remove { .. }));
    discard.recv_timeout(LONG).unwrap().unwrap();

    // A touch of what has left is told to the arena's and ended by its move.
    let toucher = start(move || peek(in_arena + 9 * PAGE));
    assert!(matches!(next_event(&a), Event::Fault { .. }));
    assert_eq!(back(), whole(64));
    assert_eq!(toucher.recv_timeout(LONG).unwrap(), 1009);

    // The pool's has announced nothing.
    assert_eq!(b.read_events(&mut EventBuffer::new()).unwrap(), 0);
    // Or dropping the arena would wait for this thread.
    drop(a);
}

#[test]
fn a_scan_finds_runs_in_a_terabyte_at_once() {
    let huge = Reservation::new(1 << 40).unwrap();
    huge.no_huge_pages().unwrap();
    huge.dont_dump().unwrap();
    let at = |page: usize| huge.addr() + page * PAGE;
    // More runs than one call of the kernel's gives, then one that is longer than a
    // page table, far away.
    let mut expected: Vec<_> = (0..1000).map(|run| (at(4 * run), at(4 * run + 1))).collect();
    expected.push((at((1 << 27) - 100), at((1 << 27) + 1000)));
    for (start, end) in &expected {
        maps::populate_write(*start, end - start).unwrap();
    }
    let pagemap = Pagemap::open().unwrap();
    let (mut found, begun) = (Vec::new(), Instant::now());
    pagemap.scan_present(at(0), huge.addr() + huge.len(), |start, end| found.push((start, end))).unwrap();
    let took = begun.elapsed();
    assert_eq!(found, expected);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(pagemap.present(at(4)).unwrap(), PageState::Present);
    assert_eq!(pagemap.present(at(5)).unwrap(), PageState::Absent);
}

#[test]
fn statm_sees_what_is_touched() {
    const BYTES: usize = 64 << 20;
    let statm = Statm::open().unwrap();
    let memory = Reservation::new(BYTES).unwrap();
    let before = statm.read().unwrap();
    maps::populate_write(memory.addr(), BYTES).unwrap();
    let after = statm.read().unwrap();
    // The kernel's counters lag by some pages a core, and tests run beside this one.
    assert!(after.resident_bytes >= before.resident_bytes + (BYTES as u64) * 3 / 4, "{before:?} {after:?}");
    assert!(after.size_bytes >= after.resident_bytes && after.resident_bytes >= after.shared_bytes);
}

#[test]
fn a_reservation_kept_from_children_is_not_theirs() {
    let _alone = alone_in_forking();
    let memory = inherited_memory(1);
    memory.dont_fork().unwrap();
    fill(&memory, 3);
    let child = Child::fork();
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", child.pid)).unwrap();
    let inside = |line: &str| {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        (number(start)..number(end)).contains(&memory.addr())
    };
    assert!(!maps.lines().any(inside));
}
