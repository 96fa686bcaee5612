#![expect(unsafe_code, reason = "pthread_atfork, mappings and a signal handler in a forked child")]
//! What a forked child finds where its parent has paged memory: nothing, said aloud.
//!
//! Paged memory is not inherited. A child has neither its parent's pager nor the pages
//! that are in the store, and must not read zeros there. In its place the child has
//! inaccessible memory, and who touches that is told so before the signal takes its course.

use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use rustix::mm::{MapFlags, ProtFlags};
use std::sync::Once;

/// Reserved ranges at once: two for each heap, one for each arena.
pub(crate) const MOST_RANGES: usize = 4096;

struct Range {
    start: AtomicUsize,
    /// 0 while the place is free; 1 while it is being written.
    len: AtomicUsize,
}

static RANGES: [Range; MOST_RANGES] =
    [const { Range { start: AtomicUsize::new(0), len: AtomicUsize::new(0) } }; MOST_RANGES];

/// Places below this have been used.
static USED: AtomicUsize = AtomicUsize::new(0);

/// Forks between the process that was started and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// What this process is told apart by from those that it forked from.
pub(crate) fn generation() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// A range that forked children do not have. Where it is listed.
#[derive(Debug)]
pub(crate) struct Listed(usize);

impl Listed {
    /// Lists a range; none when [`MOST_RANGES`] are.
    pub(crate) fn new(start: usize, len: usize) -> Option<Self> {
        let free =
            |range: &Range| range.len.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let place = RANGES.iter().position(free)?;
        RANGES[place].start.store(start, Ordering::Relaxed);
        RANGES[place].len.store(len, Ordering::Release);
        USED.fetch_max(place + 1, Ordering::AcqRel);
        Some(Self(place))
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        RANGES[self.0].len.store(0, Ordering::Release);
    }
}

fn listed() -> impl Iterator<Item = (usize, usize)> {
    let used = &RANGES[..USED.load(Ordering::Acquire)];
    used.iter()
        .map(|range| (range.len.load(Ordering::Acquire), range.start.load(Ordering::Relaxed)))
        .filter(|(len, _)| *len > 1)
        .map(|(len, start)| (start, len))
}

/// Has children find out what they have not got; whether that is possible.
pub(crate) fn watch() -> bool {
    static WATCH: Once = Once::new();
    static WATCHES: AtomicU32 = AtomicU32::new(0);
    WATCH.call_once(|| {
        // SAFETY: the handler lives as long as the program: where this library can be
        // unloaded, the C library removes the handlers of what it unloads.
        let failed = unsafe { libc::pthread_atfork(None, None, Some(child)) };
        WATCHES.store(u32::from(failed == 0), Ordering::Release);
    });
    WATCHES.load(Ordering::Acquire) == 1
}

/// In the child, right after the fork: makes system calls, and uses atomics, only.
unsafe extern "C" fn child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    let mut any = false;
    for (start, len) in listed() {
        any = true;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
        let start: *mut c_void = ptr::with_exposed_provenance_mut(start);
        // SAFETY: nothing is replaced. Refused, there is nothing either, only less to say.
        let _ = unsafe { rustix::mm::mmap_anonymous(start, len, ProtFlags::empty(), flags) };
    }
    if any {
        handle_faults();
    }
}

/// What was to be done about SIGSEGV before.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());
static mut BEFORE_PLACE: MaybeUninit<libc::sigaction> = MaybeUninit::uninit();

fn handle_faults() {
    // SAFETY: a child that was just forked has one thread, which alone uses the place; the
    // handler reads it after it was written.
    unsafe {
        let before: *mut libc::sigaction = (&raw mut BEFORE_PLACE).cast();
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = on_fault as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        let handler_is_ours = !BEFORE.load(Ordering::Acquire).is_null();
        if !handler_is_ours && libc::sigaction(libc::SIGSEGV, &action, before) == 0 {
            BEFORE.store(before, Ordering::Release);
        }
    }
}

/// Says what happened, puts back what was to be done before, and lets it happen again.
unsafe extern "C" fn on_fault(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes what it says, for this signal.
    let addr = unsafe { (*info).si_addr() }.addr();
    if listed().any(|(start, len)| addr.wrapping_sub(start) < len) {
        const TEXT: &[u8] = b"outcore: a forked child touched paged memory, which children do not have: \
            execute another program, or make a heap in the child\n";
        // SAFETY: our own bytes. Where nobody listens nothing more can be done.
        let _ = unsafe { libc::write(2, TEXT.as_ptr().cast(), TEXT.len()) };
    }
    let before = BEFORE.swap(ptr::null_mut(), Ordering::AcqRel);
    if !before.is_null() {
        // SAFETY: written by sigaction(2) before the handler could run. If this fails the
        // signal comes again, and then takes the default course.
        unsafe {
            if libc::sigaction(libc::SIGSEGV, before, ptr::null_mut()) != 0 {
                libc::signal(libc::SIGSEGV, libc::SIG_DFL);
            }
        }
    }
}
